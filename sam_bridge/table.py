"""What the mask decoders are, as a table: `python -m sam_bridge.table` prints the one in docs/sam.md."""

from __future__ import annotations

import torch

from sam_bridge.build import build_sam
from sam_bridge.sizes import SAM_PRESETS, AnySize

_KINDS = {"sam": "SAM", "sam_hq": "SAM-HQ", "sam2": "SAM 2, 2.1"}
_GEOMETRIES = {"pad": "longest side, padded", "squash": "squashed"}
_LICENCE = "Apache-2.0"
"""Of code and released weights, of every kind."""


def make_table() -> str:
    """One row for each preset, in Markdown."""
    columns = (
        "`--sam`",
        "kind",
        "input, px",
        "geometry",
        "embedding",
        "further features",
        "low-res",
        "parameters: encoder",
        "mask decoder",
        "licence",
    )
    rows = [columns, ["---"] * len(columns), *(_row(name, size) for name, size in SAM_PRESETS.items())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(name: str, size: AnySize) -> list[str]:
    with torch.device("meta"):
        sam = build_sam(size)
    encoder, decoder = (sum(p.numel() for p in part.parameters()) for part in (sam.image_encoder, sam.mask_decoder))
    image, *fine = (" x ".join(map(str, shape)) for shape in size.embedding_shapes)
    return [
        f"`{name}`",
        _KINDS[size.family],
        str(size.image_size),
        _GEOMETRIES[size.geometry],
        image,
        ", ".join(fine) or "none",
        str(size.low_res),
        f"{encoder / 1e6:.1f} M",
        f"{decoder / 1e6:.2f} M",
        _LICENCE if size.image_size == 1024 else "ours",
    ]


if __name__ == "__main__":
    print(make_table())
