"""Convert a checkpoint: released LISA -> our folder, or our folder -> released LISA.

python -m lisa.convert xinlai/LISA-7B-v1 lisa-7b

python -m lisa.convert pytorch_model.bin lisa-mine --base llava-7b (after zero_to_fp32.py of the reference)

python -m lisa.convert lisa-7b lisa-7b-released --to released
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lisa.cli.exits import exit_with_sentence
from lisa.flag_ranges import check_command


@dataclass(frozen=True, kw_only=True)
class ConvertArgs:
    """Convert a checkpoint between the released LISA format and ours.

    lisa convert xinlai/LISA-7B-v1 lisa-7b

    lisa convert pytorch_model.bin lisa-mine --base llava-7b

    lisa convert lisa-7b lisa-7b-released --to released
    """

    source: Annotated[str, tyro.conf.Positional]
    """What to convert: the folder or hub id of a released LISA, weights of the reference's training (with --base), or, with --to released, a folder of ours."""
    out: Annotated[Path, tyro.conf.Positional]
    """Folder to write; it is made whole beside its place, and moved there."""
    to: Literal["ours", "released"] = "ours"
    """Format to write."""
    dtype: Literal["keep", "fp32", "bf16", "fp16"] = "keep"
    """Precision to write; keep leaves every weight in the one it has."""
    vision_tower: str = ""
    """Folder or hub id of the vision tower; default: the one that config.json names, beside the checkpoint or on the hub. With --to released: its name in config.json."""
    sam: str = ""
    """Size of the SAM: vit_h, vit_l, vit_b, or a file like sam_config.json; default: sam_config.json in the folder, else what the weights' shapes say."""
    base: str = ""
    """Folder or hub id with the config and tokenizer that training began with, for checkpoints of the reference's training, which have neither."""
    lora_alpha: float = 16.0
    """LoRA's scale is lora_alpha over its rank, as it was in training."""
    conv_type: Literal["llava_v1", "llava_llama_2"] = "llava_v1"
    """Template of the conversations; every released LISA was trained with llava_v1."""
    model_max_length: int = 512
    """Longest conversation in tokens, image tokens included."""

    def run(self) -> int:
        """Convert, and tell where."""
        convert(self)
        print(f"wrote {self.out}")
        return 0


def convert(args: ConvertArgs) -> None:
    """Write `args.out`; ValueError or FileNotFoundError say what does not fit."""
    # Imported late: --help should not wait for torch.
    from lisa.released import Released, ReleasedOptions, holds_released, resolve
    from lisa.released.export import convert_released, export_released

    dtype = "" if args.dtype == "keep" else args.dtype
    source = resolve(args.source)
    if args.to == "released":
        export_released(source, args.out, dtype, args.vision_tower)
        return
    if not source.exists():
        raise FileNotFoundError(f"nothing at {source}; give a folder, a file of weights, or a hub id")
    if not args.base and not holds_released(source):
        raise ValueError(
            f"{source} is no released LISA (its config.json tells); weights of the reference's training need the LLaVA "
            "that it began with, by --base"
        )
    options = ReleasedOptions(
        vision_tower=args.vision_tower,
        sam=args.sam,
        base=str(resolve(args.base)) if args.base else "",
        lora_alpha=args.lora_alpha,
        template=args.conv_type,
        model_max_length=args.model_max_length,
    )
    convert_released(Released(source, options), args.out, dtype)


def main(argv: list[str] | None = None) -> None:
    """Flags -> a converted folder."""
    args = tyro.cli(ConvertArgs, args=argv, description=__doc__, prog="python -m lisa.convert")
    check_command(args)
    args.run()


if __name__ == "__main__":
    exit_with_sentence(main)
