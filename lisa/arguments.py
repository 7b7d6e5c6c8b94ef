"""The flags of train_ds.py: one typed record, each field's docstring its help; checked together at the start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro

from sam_bridge.sizes import SAM_PRESETS

CHECKOUT = Path(__file__).resolve().parents[1]

PARTS = (
    "lora",
    "new_tokens",
    "embeddings",
    "projector",
    "vision_tower",
    "language_model",
    "text_hidden_fcs",
    "mask_decoder",
    "image_encoder",
)
"""What --trainable may name."""


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
    """Template of the conversations: chatml is that of Qwen-VL, InternVL and LLaVA-OneVision."""
    model_max_length: int = 512
    """Longest conversation in tokens, image tokens included."""
    use_mm_start_end: bool = True
    """Put <im_start> and <im_end> around the image tokens."""
    seg_state: Literal["before", "at"] = "before"
    """Read the state that predicts [SEG], as LISA does, or the state at [SEG]."""

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
    """Share of reasoning samples, among those with an explanation, that are answered in words only."""
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
    """Optimiser steps of a first stage, in which both image encoders learn to see (lisa/grounding.py)."""
    grounding_steps: int = 0
    """Optimiser steps of a second stage, in which questions are read without the picture (lisa/grounding.py)."""
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
    def run_dir(self) -> Path:
        """Folder of the run."""
        return self.log_base_dir / self.exp_name

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

    def check(self) -> None:
        """Refuse what contradicts itself; a ValueError says what, and how to mend it."""
        for name in (
            "epochs",
            "steps_per_epoch",
            "processes",
            "batch_size",
            "grad_accumulation_steps",
            "print_freq",
            "save_every",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} is {getattr(self, name)}; it must be at least 1")
        if self.profile < 0:
            raise ValueError(f"--profile is {self.profile}; it is a number of steps, or 0")
        for name in ("explanatory", "name_targets", "lora_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"--{name} is {getattr(self, name)}; it is a share between 0 and 1")
        if self.optimizer == "muon" and (self.zero_stage or self.precision in ("bf16", "fp16")):
            raise ValueError(
                "--optimizer muon needs whole matrices in full precision: add --zero_stage 0 and "
                "--precision fp32 or bf16_mixed, or use --optimizer adamw"
            )
        if self.eval_only and self.version in PRESETS:
            raise ValueError("--eval_only validates a trained model: give its folder with --version")
        if self.eval_only and self.no_eval:
            raise ValueError("--eval_only validates and --no_eval does not; choose one")
        if self.sam not in (*SAM_PRESETS, "auto") and not Path(self.sam).is_file():
            raise ValueError(
                f"--sam {self.sam!r} is no size of SAM and no file; choose from auto, {', '.join(SAM_PRESETS)}"
            )
        unknown = sorted(set(self.trainable_parts) - set(PARTS))
        if unknown or not self.trainable_parts:
            raise ValueError(
                f"--trainable {self.trainable!r}: {', '.join(unknown) or 'nothing'} is no part; "
                f"choose from {', '.join(PARTS)}, or all"
            )
        if self.cache_sam and "image_encoder" in self.trainable_parts:
            raise ValueError(
                f"--cache_sam keeps what SAM's image encoder gives, but --trainable {self.trainable} lets it learn: "
                "leave --cache_sam out, or name parts in --trainable without image_encoder"
            )
        if self.resume and self.overwrite:
            raise ValueError("--resume continues a run and --overwrite deletes it; choose one")
        if "new_tokens" in self.trainable and self.weight_decay:
            raise ValueError("--weight_decay would shrink the frozen rows beside --trainable new_tokens; set it to 0")
        if (self.vision_steps or self.grounding_steps) and not self.ground_loss_weight:
            raise ValueError(
                "--vision_steps and --grounding_steps learn from the grounding loss: add --ground_loss_weight 1"
            )
        if self.vision_steps and not {"vision_tower", "projector", "embeddings"} & set(self.trainable_parts):
            raise ValueError("--vision_steps teach the vision tower: add vision_tower or projector to --trainable")


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


def parse(argv: Sequence[str] | None = None) -> TrainArgs:
    """Flags -> arguments; a preset of --version changes the defaults of the others."""
    import sys

    argv = list(sys.argv[1:] if argv is None else argv)
    version = TrainArgs.version
    for flag, value in zip(argv, [*argv[1:], ""], strict=False):
        if flag.startswith("--version="):
            version = flag.partition("=")[2]
        elif flag == "--version":
            version = value
    default = PRESETS.get(version, replace(TrainArgs(), version=version))
    if default.processes > 1 and not {"-h", "--help"} & set(argv):
        default = _on_a_gpu(default)
    args = tyro.cli(TrainArgs, args=argv, default=default, prog="train_ds.py")
    args.check()
    return args


def _on_a_gpu(preset: TrainArgs) -> TrainArgs:
    """The same steps in one process, where there is a GPU; several processes are for a CPU's cores."""
    import torch

    if not torch.cuda.is_available():
        return preset
    return replace(preset, processes=1, batch_size=preset.processes * preset.batch_size)
