"""Everything that can be known to be wrong with the flags of train_ds.py before any data is read.

Each function returns sentences, so that all of them are told at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lisa.flag_ranges import number_problems
from lisa.model_settings import HEADS, ModelSettings
from sam_bridge.sizes import SAM_PRESETS

if TYPE_CHECKING:
    from lisa.arguments import TrainArgs

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


def flag_problems(args: TrainArgs) -> list[str]:
    """What contradicts itself or is out of range; no file but that of --sam is looked at."""
    return [*number_problems(args), *_part_problems(args), *_stage_problems(args), *_run_problems(args)]


def _part_problems(args: TrainArgs) -> Iterator[str]:
    """What is trained, and how."""
    parts = args.trainable_parts
    if args.optimizer == "muon" and (args.zero_stage or args.precision in ("bf16", "fp16")):
        yield (
            "--optimizer muon needs whole matrices in full precision: add --zero_stage 0 and "
            "--precision fp32 or bf16_mixed, or use --optimizer adamw"
        )
    if args.precision == "fp16" and not _has_gpu():
        yield "--precision fp16 needs a GPU: take bf16, fp32 or auto"
    if args.sam not in (*SAM_PRESETS, "auto") and not Path(args.sam).is_file():
        yield f"--sam {args.sam!r} is no size of SAM and no file; choose from auto, {', '.join(SAM_PRESETS)}"
    unknown = sorted(set(parts) - set(PARTS))
    if unknown or not parts:
        yield (
            f"--trainable {args.trainable!r}: {', '.join(unknown) or 'nothing'} is no part; "
            f"choose from {', '.join(PARTS)}, or all"
        )
    if "lora" in parts and not [name for name in args.lora_target_modules.split(",") if name.strip()]:
        yield "--lora_target_modules is empty: name layers, as in q_proj,v_proj, or take lora out of --trainable"
    if args.cache_sam and "image_encoder" in parts:
        yield (
            f"--cache_sam keeps what SAM's image encoder gives, but --trainable {args.trainable} lets it learn: "
            "leave --cache_sam out, or name parts in --trainable without image_encoder"
        )
    if "new_tokens" in parts and args.weight_decay:
        yield "--weight_decay would shrink the frozen rows beside --trainable new_tokens; set it to 0"
    if not (args.ce_loss_weight or args.bce_loss_weight or args.dice_loss_weight):
        yield "--ce_loss_weight, --bce_loss_weight and --dice_loss_weight are all 0: nothing would be learned"


def _has_gpu() -> bool:
    import torch  # only where a flag asks for it: the other checks are quick

    return torch.cuda.is_available()


def _stage_problems(args: TrainArgs) -> Iterator[str]:
    if (args.vision_steps or args.grounding_steps) and not args.ground_loss_weight:
        yield "--vision_steps and --grounding_steps learn from the grounding loss: add --ground_loss_weight 1"
    if args.vision_steps and not {"vision_tower", "projector", "embeddings"} & set(args.trainable_parts):
        yield "--vision_steps teach the vision tower: add vision_tower or projector to --trainable"


def _run_problems(args: TrainArgs) -> Iterator[str]:
    """The run, its folder and its validation."""
    if args.eval_only and args.starts_from_nothing:
        yield "--eval_only validates a trained model: give its folder with --version"
    if args.eval_only and args.no_eval:
        yield "--eval_only validates and --no_eval does not; choose one"
    if args.resume and args.overwrite:
        yield "--resume continues a run and --overwrite deletes it; choose one"
    # The folder is deleted by --overwrite: a name must not lead out of --log_base_dir.
    if Path(args.exp_name).name != args.exp_name or args.exp_name in ("", ".", "..") or "\\" in args.exp_name:
        yield f"--exp_name {args.exp_name!r} is no name of a folder; choose one without / and dots alone"
    for flag in ("log_base_dir", "index_dir", "cache_sam"):
        value = getattr(args, flag)
        if value and (wrong := _first_file(Path(value))):
            yield f"--{flag} {value}: {wrong} is a file; name a folder"


def _first_file(path: Path) -> Path | None:
    """The part of a path that is a file where a folder is needed."""
    return next((part for part in (path, *path.parents) if part.exists() and not part.is_dir()), None)


def model_problems(args: TrainArgs, settings: ModelSettings | None, given: frozenset[str]) -> Iterator[str]:
    """What the model to start from contradicts; `given` names the flags that stand on the command line.

    settings is None for a model that is built from nothing.
    """
    yield from _file_problems(args, settings)
    if settings is None:
        return
    for name, value in settings.fixed.items():
        if name in given and getattr(args, name) != value:
            yield (
                f"--{name} {getattr(args, name)}: --version {args.version} was trained with {name} {value}; "
                f"leave --{name} out"
            )
    if settings.max_positions and args.model_max_length > settings.max_positions:
        yield (
            f"--model_max_length {args.model_max_length}: the language model of --version {args.version} can tell "
            f"{settings.max_positions} places apart; give at most that"
        )
    if settings.image_tokens is not None and args.model_max_length <= settings.image_tokens:
        yield (
            f"--model_max_length {args.model_max_length}: an image alone has {settings.image_tokens} tokens in "
            f"--version {args.version}; give more than that, with room for words"
        )
    if settings.kind in ("vlm", "lisa") and (lacking := settings.lacks_tokens_of(args.conv_type)):
        yield (
            f"--conv_type {args.conv_type} is written with {', '.join(lacking)}, which the tokenizer of --version "
            f"{args.version} does not have; choose another template"
        )
    if settings.kind in ("lisa", "released"):
        yield from _head_problems(args, settings)


def _head_problems(args: TrainArgs, settings: ModelSettings) -> Iterator[str]:
    """A trained model has the heads that it was trained with, no more and no less."""
    if (args.vision_steps or args.grounding_steps) and not settings.defaults["ground_loss_weight"]:
        yield (
            f"--version {args.version} was built without the grounding loss, which --vision_steps and "
            "--grounding_steps learn from: leave them out"
        )
    for name in HEADS:
        weight, trained = getattr(args, name), settings.defaults[name]
        if bool(weight) != bool(trained):
            yield (
                f"--{name} {weight}: --version {args.version} was built {'with' if trained else 'without'} the head of "
                f"that loss; {'give a weight above 0, or ' if trained else ''}leave --{name} out"
            )


def _file_problems(args: TrainArgs, settings: ModelSettings | None) -> Iterator[str]:
    """Weights of a SAM and a vision tower that the flags name."""
    weights = args.vision_pretrained
    if weights and not Path(weights).exists():
        yield f"--vision_pretrained {weights}: there is no such file or folder"
    if not weights and settings is not None and settings.kind in ("old_llava", "vlm"):
        yield f"--version {args.version} is a vision-language model: give SAM weights with --vision_pretrained"
    tower = args.vision_tower
    if tower and (tower.startswith((".", "/", "~")) or tower.count("/") != 1) and not Path(tower).expanduser().is_dir():
        yield f"--vision_tower {tower}: there is no such folder"
