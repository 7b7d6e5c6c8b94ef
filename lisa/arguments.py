"""The flags of train_ds.py: one typed record, each field's docstring its help; checked together at the start."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro

from lisa.flag_ranges import refuse
from lisa.model_settings import ModelSettings, read_model_settings
from lisa.train_checks import PARTS, flag_problems, model_problems

CHECKOUT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Stage:
    """Optimiser steps `first` to `last` of the run, which learn in one way; each stage has its own rate schedule."""

    name: Literal["vision", "grounding", "answers"]
    first: int
    last: int


@dataclass(frozen=True, kw_only=True)
class TrainArgs:
    """Train a LISA. Without flags: a tiny model, from nothing, on a synthetic world, in minutes on a CPU."""

    # Model
    version: str = "tiny"
    """What to start from: "tiny" builds a small LLaVA from nothing, and tiny-siglip, tiny-paligemma, tiny-smolvlm, tiny-qwen-vl models of other families; else the folder or hub id of a vision-language model (docs/backbones.md), or of a LISA, ours or a released one, to fine-tune."""
    sam: str = "auto"
    """The mask decoder: vit_h, vit_l, vit_b, tiny (SAM), hq_vit_h, hq_vit_l, hq_vit_b, tiny-hq (SAM-HQ), sam2_large, sam2_base_plus, sam2_small, sam2_tiny, tiny-sam2 (SAM 2 and 2.1), or a file like a released model's sam_config.json; auto reads it off the weights of --vision_pretrained."""
    vision_tower: str = ""
    """Folder or hub id of the vision tower, where the config.json of --version only names it; default: that name, beside --version or on the hub."""
    vision_pretrained: str = ""
    """SAM weights (sam_vit_h_4b8939.pth, sam2.1_hiera_large.pt, sam_hq_vit_h.pth and their like, or transformers' folder); required with a pretrained --version."""
    conv_type: Literal["llava_v1", "llava_llama_2", "chatml", "smolvlm", "paligemma", "plain"] = "llava_v1"
    """Template of the conversations: chatml is that of Qwen-VL, InternVL and LLaVA-OneVision. Default: the one of --version, or of its family."""
    model_max_length: int = 512
    """Longest conversation in tokens, image tokens included. Default: that of --version if it is a LISA; more than 512 where an image of --version needs it."""
    use_mm_start_end: bool = True
    """Put <im_start> and <im_end> around the image tokens; a LISA keeps its own way."""
    seg_state: Literal["before", "at"] = "before"
    """Read the state that predicts [SEG], as LISA does, or the state at [SEG]; a LISA keeps its own way."""

    # What is trained
    trainable: str = "lora,new_tokens,text_hidden_fcs,mask_decoder"
    """Comma list of lora, new_tokens (rows of the added tokens only), embeddings (all rows, the reference's way), projector, vision_tower, language_model, text_hidden_fcs, mask_decoder, image_encoder; or all."""
    lora_r: int = 8
    """Rank of LoRA."""
    lora_alpha: int = 16
    """LoRA's scale is lora_alpha / lora_r."""
    lora_dropout: float = 0.05
    """Dropout before LoRA's first matrix."""
    lora_target_modules: str = "q_proj,v_proj"
    """Comma list of the language model's layers that get LoRA."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    """How the vision-language model computes attention: eager is the fastest for small models on a CPU."""
    gradient_checkpointing: bool = True
    """Recompute activations in the backward pass to save memory."""
    compile: bool = False
    """torch.compile the image encoders' blocks and the language model's MLPs: the first step takes minutes, the others less time."""

    # Data
    dataset_dir: Path = Path("./dataset")
    """Root of the data sets, in the official layout."""
    dataset: str = "sem_seg||refer_seg||vqa||reason_seg"
    """Families to mix, joined by ||."""
    sample_rates: str = "9,3,3,1"
    """How often each family is drawn, relative to the others."""
    sem_seg_data: str = "ade20k||cocostuff||pascal_part||paco_lvis||mapillary"
    """Semantic data sets, joined by ||."""
    refer_seg_data: str = "refclef||refcoco||refcoco+||refcocog"
    """Referring data sets, joined by ||; grefcoco is another one."""
    vqa_data: str = "llava_instruct_150k"
    """Instruction data sets, joined by ||."""
    reason_seg_data: str = "ReasonSeg|train"
    """Reasoning data and its splits, as in ReasonSeg|train_val."""
    own_data: str = ""
    """Your own data for the family own: a .jsonl file, COCO .json or folder, joined by ||; see docs/own-data.md."""
    val_dataset: str = "ReasonSeg|val"
    """Validation sets, joined by ||, as in refcoco|unc|val||ReasonSeg|val||own|my.jsonl."""
    elsewhere: str = ""
    """Folders of the tree that lie in another place, joined by ||, as in coco/train2017=/mnt/coco/train2017."""
    index_dir: Path = CHECKOUT / "runs" / "index"
    """Where indexes over large annotation files are kept for the next run."""
    ignored_is_background: bool = False
    """Count ignored pixels as background in training, as the reference does."""
    num_classes_per_sample: int = 3
    """At most so many classes or sentences, each a conversation, per picture."""
    explanatory: float = 0.1
    """Share of reasoning samples, among those with an explanation, that are answered in words only; -1 reads no explanations."""
    name_targets: float = 0.0
    """Share of answers that name the target before [SEG]; 0 is the reference."""
    cache_sam: str = ""
    """Folder in which SAM's image embeddings are kept (fp16), so that a picture is encoded once, in all runs; needs a frozen image encoder."""
    workers: int = 2
    """Processes that prepare data; 0 prepares it in the training process."""

    # Losses
    ce_loss_weight: float = 1.0
    """Weight of the answers' cross entropy."""
    bce_loss_weight: float = 2.0
    """Weight of the masks' binary cross entropy."""
    dice_loss_weight: float = 0.5
    """Weight of the masks' dice loss."""
    dense_loss_weight: float = 0.0
    """Weight of prompt against image embedding at each place, an auxiliary loss for mask decoders that start from nothing."""
    iou_loss_weight: float = 0.0
    """Weight of the decoder's own estimate of its IoU; the reference leaves the released one as it is."""
    ground_loss_weight: float = 0.0
    """Weight of image tokens against the names of masks (lisa/grounding.py), for vision towers that start from nothing."""
    look_loss_weight: float = 0.0
    """Weight of where the language model looks while it answers (lisa/grounding.py), for ones that start from nothing."""
    mask_loss_size: Literal["original", "low_res"] = "original"
    """Compute mask losses at the picture's size, as the reference does, or on the decoder's grid."""

    # Optimisation
    epochs: int = 10
    """Epochs of --steps_per_epoch steps."""
    steps_per_epoch: int = 500
    """Optimiser steps per epoch."""
    vision_steps: int = 0
    """Optimiser steps of a first stage, in which both image encoders learn to see (lisa/grounding.py). A preset's number shrinks with --epochs and --steps_per_epoch; 0 for own data without names."""
    grounding_steps: int = 0
    """Optimiser steps of a second stage, in which questions are read without the picture (lisa/grounding.py). A preset's number shrinks with --epochs and --steps_per_epoch."""
    processes: int = 1
    """Training processes to start on this machine, which share its cores; the batch grows with them. Leave it out under torchrun or deepspeed."""
    batch_size: int = 2
    """Pictures per process and micro-batch."""
    grad_accumulation_steps: int = 10
    """Micro-batches per step."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """AdamW, or Muon for the matrices (full precision weights and ZeRO stage 0 only)."""
    lr: float = 3e-4
    """Learning rate after the warm-up; it falls linearly to 0, in each stage anew."""
    muon_lr: float = 0.02
    """The same for the matrices, with --optimizer muon."""
    warmup_steps: int = 100
    """Steps in which the learning rate rises, in each stage."""
    beta1: float = 0.9
    """AdamW's first beta."""
    beta2: float = 0.95
    """AdamW's second beta."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    loss_normalization: Literal["step", "micro_batch"] = "step"
    """Average the losses over all masks (words, for the answers' cross entropy) of an optimiser step, over its micro-batches and processes, or within each micro-batch, as the reference does."""
    max_skipped_steps: int = 10
    """A step whose gradient is not finite is left out; stop after so many in a row."""
    precision: Literal["auto", "fp32", "bf16", "fp16", "bf16_mixed"] = "auto"
    """fp32; weights in bf16 or fp16; bf16_mixed: fp32 weights, bf16 products; or auto: where this device multiplies bf16 faster than fp32, which is measured, bf16 (bf16_mixed with --optimizer muon), else fp32."""
    zero_stage: Literal[0, 1, 2] = 2
    """DeepSpeed ZeRO stage."""
    packing: bool = True
    """Pass what the conversations of a picture share through the language model once."""

    # Run
    exp_name: str = "lisa"
    """Name of the run."""
    log_base_dir: Path = Path("./runs")
    """Where runs are written, each to its own folder."""
    seed: int = 0
    """Seed of everything that is drawn."""
    resume: bool = False
    """Continue the run of this name where its last checkpoint left it."""
    overwrite: bool = False
    """Start again although the run's folder holds an earlier run, which is deleted."""
    save_every: int = 100
    """Steps between checkpoints."""
    eval_every: int = 0
    """Epochs between validations; 0 validates at the end only."""
    no_eval: bool = False
    """Do not validate."""
    eval_only: bool = False
    """Validate --version and stop."""
    val_batch_size: int = 16
    """Pictures per validation batch."""
    val_limit: int = 0
    """Validate on the first so many pictures of each set; 0 takes all."""
    print_freq: int = 10
    """Steps between lines of metrics.jsonl and TensorBoard."""
    profile: int = 0
    """Print where the time of so many optimiser steps goes, after the first ones, and write it to profile.json; 0 does not."""
    save_dtype: Literal["fp32", "bf16", "fp16"] = "bf16"
    """Precision of the model that is written at the end."""
    local_rank: int = 0
    """Set by launchers."""

    @property
    def starts_from_nothing(self) -> bool:
        """Whether --version names a preset."""
        return self.version in PRESETS

    @property
    def run_dir(self) -> Path:
        """Folder of the run."""
        return self.log_base_dir / self.exp_name

    @property
    def text_notes(self) -> Path:
        """What was done with texts of official data that the model cannot read (see `datasets.texts`)."""
        return self.run_dir / "text_notes.jsonl"

    @property
    def total_steps(self) -> int:
        """Optimiser steps of all stages."""
        return self.vision_steps + self.grounding_steps + self.epochs * self.steps_per_epoch

    @property
    def stages(self) -> list[Stage]:
        """The stages that have steps, in order."""
        lengths = {
            "vision": self.vision_steps,
            "grounding": self.grounding_steps,
            "answers": self.epochs * self.steps_per_epoch,
        }
        stages, first = [], 0
        for name, length in lengths.items():
            if length:
                stages.append(Stage(name, first, first + length))
            first += length
        return stages

    @property
    def trainable_parts(self) -> list[str]:
        """The parts that --trainable names; "all" is every part but the adapters."""
        if self.trainable == "all":
            return list(PARTS[2:])
        return [name for name in self.trainable.split(",") if name]

    def summary(self) -> str:
        """What is going to run, in a few lines, with the values that flags and model lead to."""
        origin = "built from nothing" if self.starts_from_nothing else "pretrained"
        lines = [
            f"{self.version}, {origin}: template {self.conv_type}, at most {self.model_max_length} tokens, "
            f"[SEG] read {self.seg_state}, precision {self.precision}"
        ]
        if self.eval_only:
            return lines[0]
        steps = ", ".join(f"{stage.last - stage.first} {stage.name}" for stage in self.stages)
        images = self.batch_size * self.grad_accumulation_steps
        lines.append(f"{self.total_steps} optimiser steps ({steps}) of {images} images per process, in {self.run_dir}")
        if self.starts_from_nothing and self.dataset == "own":
            lines.append(
                f"note: {self.version} knows nothing before it learns from your data; --version models/tiny goes on "
                "from a small trained model"
            )
            if not self.vision_steps:
                lines.append(
                    "note: no mask of your data has a name, from which the stage vision would learn: it is left out"
                )
        shortest = min(stage.last - stage.first for stage in self.stages)
        if shortest < self.warmup_steps:
            lines.append(
                f"note: a stage of {shortest} steps ends within --warmup_steps {self.warmup_steps}, before the rate is "
                "--lr; give fewer"
            )
        return "\n".join(lines)


TINY = TrainArgs(
    sam="tiny",
    conv_type="plain",
    model_max_length=768,
    trainable="all",
    attention="eager",
    gradient_checkpointing=False,
    dataset_dir=CHECKOUT / "data" / "synthetic",
    log_base_dir=CHECKOUT / "runs",
    exp_name="tiny",
    sample_rates="1.5,6,0.5,4.5",
    sem_seg_data="ade20k",
    refer_seg_data="refcoco",
    val_dataset="refcoco|unc|val||ReasonSeg|val",
    num_classes_per_sample=8,
    workers=1,
    name_targets=0.25,
    dice_loss_weight=1.0,
    dense_loss_weight=2.0,
    ground_loss_weight=1.0,
    look_loss_weight=1.0,
    iou_loss_weight=0.1,
    mask_loss_size="low_res",
    vision_steps=700,
    grounding_steps=350,
    epochs=5,
    steps_per_epoch=200,
    processes=2,
    batch_size=4,
    grad_accumulation_steps=1,
    optimizer="muon",
    lr=3e-3,
    muon_lr=0.015,
    warmup_steps=40,
    zero_stage=0,
    save_dtype="fp16",
)

PRESETS = {"tiny": TINY} | {
    name: replace(TINY, version=name, exp_name=name)
    for name in ("tiny-siglip", "tiny-paligemma", "tiny-smolvlm", "tiny-qwen-vl")
}


def parse(argv: Sequence[str] | None = None, checks: Sequence[Callable[[TrainArgs], Iterable[str]]] = ()) -> TrainArgs:
    """Flags -> arguments, checked; `checks` give the problems that only the caller can know.

    A preset, or the model that --version names, changes the defaults of the others. ValueError tells all problems.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    version = _version_in(words)
    settings, problems = None, []
    if version not in PRESETS and not {"-h", "--help"} & set(words):
        try:
            settings = read_model_settings(version)
        except (ValueError, OSError) as error:
            problems.append(str(error))
    args = read_flags(words, settings)
    problems += flag_problems(args)
    problems += model_problems(args, settings, given_flags(words))
    for check in checks:
        problems += check(args)
    refuse(problems)
    return args


def read_flags(words: Sequence[str], settings: ModelSettings | None = None) -> TrainArgs:
    """Flags -> arguments that are not checked yet; `settings` are those of the model that --version names."""
    version = _version_in(words)
    default = PRESETS.get(version, replace(TrainArgs(), version=version))
    if settings is not None:
        default = replace(default, **settings.fixed, **settings.defaults)
    if default.processes > 1 and not {"-h", "--help"} & set(words):
        default = _on_a_gpu(default)
    args = tyro.cli(TrainArgs, args=list(words), default=default, prog="train_ds.py")
    return _shortened(args, default, given_flags(words))


def given_flags(words: Sequence[str]) -> frozenset[str]:
    """The names of the flags that stand on a command line, switches without their "no"."""
    names = (word[2:].partition("=")[0].replace("-", "_") for word in words if word.startswith("--"))
    return frozenset(name.removeprefix("no_") if name != "no_eval" else name for name in names)


def _version_in(words: Sequence[str]) -> str:
    version = TrainArgs.version
    for flag, value in zip(words, [*words[1:], ""], strict=False):
        if flag.startswith("--version="):
            version = flag.partition("=")[2]
        elif flag == "--version":
            version = value
    return version


def _shortened(args: TrainArgs, preset: TrainArgs, given: frozenset[str]) -> TrainArgs:
    """First stages of a preset that fit the run: shorter in proportion, unless the flags say how long they are."""
    share = min(1.0, args.epochs * args.steps_per_epoch / (preset.epochs * preset.steps_per_epoch))
    steps = {
        name: max(1, round(share * getattr(preset, name)))
        for name in ("vision_steps", "grounding_steps")
        if getattr(preset, name) and name not in given and share > 0
    }
    if "vision_steps" in steps and args.dataset == "own" and not _names_in(args.own_data):
        steps["vision_steps"] = 0  # this stage learns from the names of masks
    if args.resume:
        steps |= _recorded(args.run_dir / "flags.json", steps)
    return replace(args, **steps)


def _recorded(flags: Path, names: Iterable[str]) -> dict[str, int]:
    """The numbers of a run that is continued: its first stages stay as they were, however long it is to be now."""
    try:
        record = json.loads(flags.read_text(encoding="utf-8"))
        return {name: int(record[name]) for name in names}
    except (OSError, ValueError, KeyError, TypeError):  # what is wrong with it is told where the run is continued
        return {}


def _names_in(own_data: str) -> bool:
    """Whether masks of own data may have names; only json lines can lack them."""
    for source in own_data.split("||"):
        path = Path(source.partition("|")[0]).expanduser()
        if path.suffix.lower() != ".jsonl" or not path.is_file():
            return True
        with path.open("rb") as lines:
            if any(b'"names"' in line for line in lines):
                return True
    return False


def _on_a_gpu(preset: TrainArgs) -> TrainArgs:
    """The same steps in one process, where there is a GPU; several processes are for a CPU's cores."""
    import torch

    if not torch.cuda.is_available():
        return preset
    return replace(preset, processes=1, batch_size=preset.processes * preset.batch_size)
