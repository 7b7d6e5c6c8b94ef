"""The size of a SAM, read off its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from sam_bridge.sizes import SAM_PRESETS, AnySize, Sam2Size, SamHqSize, SamSize

Shapes = Mapping[str, Sequence[int]]


def measure_sam(shapes: Shapes, decoder_heads: int = 8) -> AnySize:
    """The size of the SAM, SAM 2 or SAM-HQ that has weights of these shapes, by the names of `read_sam_weights`.

    Of a SAM or SAM-HQ everything can be read off but the decoder's number of heads; every released one has 8. A SAM 2
    must be a released one, since its windows leave no trace. ValueError names a weight without which no size can be
    told.
    """
    try:
        if "image_encoder.no_memory_embedding" in shapes:
            return _find_sam2(shapes)
        size = _measure(shapes, decoder_heads)
        return SamHqSize(**asdict(size)) if "mask_decoder.hf_token.weight" in shapes else size
    except KeyError as error:
        raise ValueError(
            f"the size of the SAM cannot be read off its weights, as {error} is missing; name it with --sam"
        ) from error
    except (IndexError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ValueError(
            f"the size of the SAM cannot be read off the shapes of its weights ({error}); name it with --sam"
        ) from error


def _measure(shapes: Shapes, decoder_heads: int) -> SamSize:
    width, _, patch_size, _ = shapes["image_encoder.patch_embed.proj.weight"]
    grid = shapes["image_encoder.pos_embed"][1]
    depth = _count(shapes, "image_encoder.blocks.{}.attn.rel_pos_h")
    # A block's table of relative positions has 2 n - 1 rows, n being the side that it attends over.
    tables = [shapes[f"image_encoder.blocks.{k}.attn.rel_pos_h"] for k in range(depth)]
    sides = [(rows + 1) // 2 for rows, _ in tables]
    return SamSize(
        image_size=grid * patch_size,
        patch_size=patch_size,
        width=width,
        depth=depth,
        heads=width // tables[0][1],
        global_blocks=tuple(k for k, side in enumerate(sides) if side == grid),
        window=min((side for side in sides if side != grid), default=0),
        prompt_width=shapes["mask_decoder.mask_tokens.weight"][1],
        decoder_depth=_count(shapes, "mask_decoder.transformer.layers.{}.norm1.weight"),
        decoder_heads=decoder_heads,
        decoder_mlp=shapes["mask_decoder.transformer.layers.0.mlp.lin1.weight"][0],
        iou_width=shapes["mask_decoder.iou_prediction_head.layers.0.weight"][0],
        mlp_ratio=shapes["image_encoder.blocks.0.mlp.lin1.weight"][0] / width,
        mask_width=shapes["prompt_encoder.mask_downscaling.3.weight"][0],
        iou_depth=_count(shapes, "mask_decoder.iou_prediction_head.layers.{}.weight"),
    )


def _find_sam2(shapes: Shapes) -> Sam2Size:
    """The released SAM 2 with so many channels and blocks."""
    backbone = "image_encoder.vision.backbone."
    width, blocks = shapes[f"{backbone}pos_embed"][1], _count(shapes, backbone + "blocks.{}.attn.qkv.weight")
    for size in SAM_PRESETS.values():
        if isinstance(size, Sam2Size) and (size.widths[0], sum(size.blocks)) == (width, blocks):
            return size
    raise ValueError(f"no released SAM 2 has {blocks} blocks that begin with {width} channels")


def _count(shapes: Shapes, name: str) -> int:
    """How many layers there are: `name` has {} where the layer's number stands."""
    return next(k for k in range(len(shapes) + 1) if name.format(k) not in shapes)
