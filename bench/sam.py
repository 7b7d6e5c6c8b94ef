"""SAM's two halves against the package as it is: `python bench/sam.py [--config medium] [--out sam.json]`.

sam_encoder: 2 pictures, a: the package's encoder, one by one, b: ours, in one batch. mask_decoder: 8 pictures with 3
prompts each, a: picture by picture as the package does it, b: one call.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # our `datasets` comes before Hugging Face's

import torch
import tyro
from torch import Tensor

from bench.models import pictures
from bench.pairs import (
    PairFlags,
    finish,
    make_row,
    measure_pairs,
    predictor_for,
    relative_difference,
    require_same,
)
from lisa.allocator import keep_freed_memory
from lisa.processing import Batch
from sam_bridge import Embeddings, MaskModel, build_sam, decode_masks, dense_positions, encode_images
from sam_bridge.attention import use_package_attention

PICTURES_ENCODED = 2
PICTURES_DECODED, PROMPTS = 8, 3


def main(argv: Sequence[str] | None = None) -> dict:
    """Measure, print a table, write JSON."""
    flags = tyro.cli(PairFlags, args=argv, prog="bench/sam.py", description=__doc__)
    keep_freed_memory()
    predictor = predictor_for(flags)
    model = predictor.model
    batch = predictor.processor(pictures(PICTURES_ENCODED), [[]] * PICTURES_ENCODED).to(model.device)
    package = build_sam(model.config.sam_size).to(model.device, model.dtype)
    package.load_state_dict(model.sam.state_dict())
    use_package_attention(package.image_encoder)
    with torch.inference_mode():
        rows = [_encoder_row(package, model.sam, batch, flags), _decoder_row(model.sam, flags)]
    return finish("SAM", rows, flags)


def _encoder_row(package: MaskModel, ours: MaskModel, batch: Batch, flags: PairFlags) -> dict:
    def one_by_one() -> Tensor:
        return torch.cat([encode_images(package, pixels[None]).image for pixels in batch.sam_pixels])

    difference = relative_difference(encode_images(ours, batch.sam_pixels).image, one_by_one())
    require_same("sam_encoder", difference, flags)
    seconds = measure_pairs(one_by_one, lambda: encode_images(ours, batch.sam_pixels), flags.pairs)
    return make_row("sam_encoder", seconds, difference)


def _decoder_row(sam: MaskModel, flags: PairFlags) -> dict:
    weight = sam.prompt_encoder.no_mask_embed.weight
    width, grid = weight.shape[1], sam.prompt_encoder.image_embedding_size
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(PICTURES_DECODED, width, *grid, generator=generator).to(weight)
    prompts = torch.randn(PICTURES_DECODED * PROMPTS, width, generator=generator).to(weight)
    image_of = torch.arange(PICTURES_DECODED, device=weight.device).repeat_interleave(PROMPTS)

    def by_picture() -> Tensor:
        parts = prompts.split(PROMPTS)
        return torch.cat([_package_masks(sam, *pair) for pair in zip(embeddings, parts, strict=True)])

    def in_one_call() -> Tensor:
        return decode_masks(sam, Embeddings(embeddings), prompts, image_of)[0]

    difference = relative_difference(in_one_call(), by_picture())
    require_same("mask_decoder", difference, flags)
    return make_row("mask_decoder", measure_pairs(by_picture, in_one_call, flags.pairs), difference)


def _package_masks(sam: MaskModel, embedding: Tensor, prompts: Tensor) -> Tensor:
    """(N, 4g, 4g) low-res logits of one picture (E, g, g), by the package's own road."""
    _, dense = sam.prompt_encoder(points=None, boxes=None, masks=None)
    low_res, _ = sam.mask_decoder(
        image_embeddings=embedding[None],
        image_pe=dense_positions(sam.prompt_encoder).to(embedding.dtype),
        sparse_prompt_embeddings=prompts[:, None],
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )
    return low_res[:, 0]


if __name__ == "__main__":
    main()
