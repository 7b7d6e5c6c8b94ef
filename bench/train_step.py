"""How fast a training step is: `python bench/train_step.py [--config medium] [--pairs 5] [--out train_step.json]`.

`packed_c3_t256`: 3 conversations per picture and 256 image tokens, packed against one row for each conversation, on
vision tower, language model and mask decoder, forward and backward. `whole_step_*`: SAM, losses and optimiser too,
against the reference's way (`bench.reference_step`). `mfu_train_step`: share of the measured matmul rate. Weights are
random; what learns is what learns in the reference. Dropout, clipping and the recomputing of activations are as the
flags of train_ds.py have them by default, on both sides; results are compared without dropout, and nothing is
recomputed in `mfu_train_step`.
"""

from __future__ import annotations

import contextlib
import copy
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # our `datasets` comes before Hugging Face's

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor

from bench.measure import Side, alternate, peak_bytes, relative_difference
from bench.models import build, pictures, questions
from bench.reference_step import compute_as_the_reference, reference_terms
from lisa.allocator import keep_freed_memory
from lisa.arguments import TrainArgs
from lisa.modeling import LisaModel
from lisa.processing import Batch, LisaProcessor
from lisa.profiling import Profile
from lisa.trainable import choose_trainable, recompute_activations, train_mode
from sam_bridge import Embeddings, encode_images

LEARNS = "lora,embeddings,text_hidden_fcs,mask_decoder"
AUXILIARY = ("dense", "iou", "ground", "look")
"""Loss terms of the tiny preset that the reference does not have."""

PACKED = {f"packed_c{c}_t{t}": (c, t) for t in (256, 576) for c in (1, 3, 8)}
WHOLE = (
    "whole_step_c3_t256",
    "whole_step_c3_t256_sam_cached",
    "whole_step_c3_t256_bf16",
    "whole_step_c3_t256_1024px",
    "whole_step_c3_t256_1024px_bf16",
)
"""..._1024px: SAM at its own size, whatever the config's."""
DEFAULTS = TrainArgs(trainable=LEARNS)
MFU = "mfu_train_step"
PRODUCT, PRODUCTS = {"cpu": 2048, "cuda": 8192}, 5
"""Side of the square matrices whose products measure the machine, and how many of them."""


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Ratios of a training step's speed, both sides alternating in one process."""

    config: Literal["tiny", "medium", "lisa7b-layer", "lisa7b"] = "medium"
    """Which model of bench/models.py."""
    pairs: int = 5
    """Times that each side of a ratio is measured."""
    images: int = 2
    """Pictures per step."""
    rows: tuple[str, ...] = (*PACKED, *WHOLE, MFU)
    """Which rows of the table to measure."""
    out: Path | None = None
    """Also write the figures here, as JSON."""


class Given:
    """Image embeddings that are there already, in the place of a cache."""

    def __init__(self, embeddings: Embeddings) -> None:
        self.embeddings = embeddings

    def encode(self, sam, pixels: Tensor, keys=()) -> Embeddings:
        """The same, whatever the pixels."""
        return self.embeddings


class Case:
    """A model, and one batch about `images` pictures with `conversations` each, packed and not."""

    def __init__(self, flags: Flags, image_tokens: int, conversations: int, sam_pixels: int = 0) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model, processor = _learner(flags.config, image_tokens, sam_pixels)
        self.images = flags.images
        self.packed, self.unpacked = (_batch(processor, flags.images, conversations, packing) for packing in (1, 0))
        self.packed, self.unpacked = self.packed.to(self.device), self.unpacked.to(self.device)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]

    def in_bf16(self) -> Case:
        """The same with weights in bf16."""
        other = copy.copy(self)
        other.model = copy.deepcopy(self.model).to(torch.bfloat16)
        other.parameters = [p for p in other.model.parameters() if p.requires_grad]
        return other

    def side(self, terms: Callable[[], dict[str, Tensor]], *, reference: bool = False, steps: bool = False) -> Side:
        """Forward and backward; with `steps` clipping and AdamW too, at rate 0: the weights stay as they are."""
        optimizer = torch.optim.AdamW(self.parameters, lr=0.0, weight_decay=0.0, fused=True)

        def prepare() -> None:
            optimizer.zero_grad(set_to_none=True)
            compute_as_the_reference(self.model, reference)

        def run() -> Tensor:
            loss = terms()["loss"]
            loss.backward()
            if steps:
                torch.nn.utils.clip_grad_norm_(self.parameters, DEFAULTS.clip)
                optimizer.step()
            return loss

        return Side(prepare=prepare, run=run)

    def results(self, side: Side) -> list[Tensor]:
        """The loss without dropout, then its gradients; 0 where it does not reach."""
        with _without_dropout(self.model):
            loss = side().detach()
        return [loss, *(torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in self.parameters)]


def main(argv: list[str] | None = None) -> dict:
    """Measure, print a table, write JSON."""
    flags = tyro.cli(Flags, args=argv, prog="bench/train_step.py")
    unknown = set(flags.rows) - {*PACKED, *WHOLE, MFU}
    if unknown:
        raise ValueError(f"--rows: there is no {', '.join(unknown)}; choose from {', '.join((*PACKED, *WHOLE, MFU))}")
    keep_freed_memory()
    from bench.report import environment

    result = environment() | {"config": flags.config, "threads": torch.get_num_threads(), "rows": []}
    for name in flags.rows:
        measure = packed_row if name in PACKED else mfu_row if name == MFU else whole_row
        result["rows"].append(measure(name, flags))
        if flags.out:  # after every row: a whole table takes a while
            flags.out.write_text(json.dumps(result, indent=1) + "\n")
    _print(result)
    return result


def packed_row(name: str, flags: Flags) -> dict:
    """Packed against unpacked, SAM's embeddings given, mask losses on the decoder's grid."""
    conversations, image_tokens = PACKED[name]
    case = Case(flags, image_tokens, conversations)
    case.model.config.mask_loss_size = "low_res"
    with _embeddings_given(case):
        sides = [case.side(partial(case.model, batch)) for batch in (case.unpacked, case.packed)]
        return _row(name, flags, case, case, *sides)


def whole_row(name: str, flags: Flags) -> dict:
    """The reference's way in fp32 against ours."""
    theirs = Case(flags, 256, 3, 1024 if "1024px" in name else 0)
    ours = theirs.in_bf16() if name.endswith("bf16") else theirs
    theirs.model.config.mask_loss_size = ours.model.config.mask_loss_size = "original"
    a = theirs.side(partial(reference_terms, theirs.model, theirs.unpacked), reference=True, steps=True)
    b = ours.side(partial(ours.model, ours.packed), steps=True)
    if not name.endswith("sam_cached"):
        return _row(name, flags, theirs, ours, a, b)
    with _embeddings_given(ours):
        return _row(name, flags, theirs, ours, a, b)


def mfu_row(name: str, flags: Flags) -> dict:
    """FLOPs of our step over its time, against large matrix products in between; nothing is recomputed in it."""
    case = Case(flags, 256, 3)
    case.model.config.mask_loss_size = "original"
    side = case.side(partial(case.model, case.packed), steps=True)
    recompute_activations(case.model.vlm, False)
    side()
    profile = Profile(case.device)
    side.prepare()
    with profile.watch(flops=True):
        side.run()
    flops = sum(profile.flops.values())
    side_length = PRODUCT[case.device.type]
    square = torch.randn(side_length, side_length, device=case.device).to(case.model.dtype)
    product = Side(run=lambda: [square @ square for _ in range(PRODUCTS)])
    figures = alternate(product, side, flags.pairs, case.device)
    recompute_activations(case.model.vlm, True)
    # How many times as long the step takes as products of as many FLOPs would.
    as_products = flops / (PRODUCTS * 2 * side_length**3)
    return {
        "name": name,
        **figures,
        "ratio": as_products * figures["ratio"],
        "cpu_ratio": as_products * figures["cpu_ratio"],
        "max_rel_diff": 0.0,
        "gflop": flops / 1e9,
        "tflop_per_second": flops / statistics.median(figures["b_seconds"]) / 1e12,
        "matmul_tflop_per_second": PRODUCTS * 2 * side_length**3 / statistics.median(figures["a_seconds"]) / 1e12,
        "gflop_by_part": {part: count / 1e9 for part, count in profile.flops.items()},
        "images_per_second": case.images / statistics.median(figures["b_seconds"]),
    }


def _row(name: str, flags: Flags, theirs: Case, ours: Case, a: Side, b: Side) -> dict:
    wanted, given = theirs.results(a), ours.results(b)
    # The loss on its own: beside large gradients it would not be seen.
    apart = [relative_difference(wanted[part], given[part]) for part in (slice(0, 1), slice(1, None))]
    figures = alternate(a, b, flags.pairs, ours.device)
    segments = ours.packed.rows.segments
    return {
        "name": name,
        **figures,
        "max_rel_diff": max(apart),
        "a_peak_mib": peak_bytes(a, theirs.device) / 2**20,
        "b_peak_mib": peak_bytes(b, ours.device) / 2**20,
        "images_per_second": ours.images / statistics.median(figures["b_seconds"]),
        "padding_share": (segments < 0).float().mean().item(),
    }


@cache
def _learner(config: str, image_tokens: int, sam_pixels: int = 0) -> tuple[LisaModel, LisaProcessor]:
    """Model and processor, with what learns in the reference."""
    on_gpu = torch.cuda.is_available()
    place = {"device": "cuda", "dtype": torch.bfloat16} if on_gpu else {}
    model, processor = build(config, image_tokens, sam_pixels, **place)
    if config == "tiny":
        model, processor = _tiny(processor, image_tokens)
    choose_trainable(model, processor, DEFAULTS)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at the start: nothing would reach lora_A
            torch.nn.init.normal_(parameter, std=0.02)
    if on_gpu:
        model.to("cuda", torch.bfloat16)  # adapters, and the preset
    train_mode(model)
    return model, processor


@contextlib.contextmanager
def _without_dropout(model: LisaModel) -> Iterator[None]:
    """Inside, both sides compute the same."""
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    rates = [layer.p for layer in layers]
    for layer in layers:
        layer.p = 0.0
    try:
        yield
    finally:
        for layer, rate in zip(layers, rates, strict=True):
            layer.p = rate


def _tiny(processor: LisaProcessor, image_tokens: int) -> tuple[LisaModel, LisaProcessor]:
    """The preset with so many image tokens and the reference's losses."""
    config, images = processor.config, processor.image_processor
    vlm = config.vlm_config
    side = int(image_tokens**0.5) * vlm.merge_patches * vlm.vision_config.patch_size
    vlm.vision_config.image_size, vlm.image_seq_length = side, image_tokens
    vlm.text_config.max_position_embeddings = config.model_max_length = 2048
    images.size = images.crop_size = {"height": side, "width": side}
    for term in AUXILIARY:
        setattr(config, f"{term}_loss_weight", 0.0)
    return LisaModel(config), LisaProcessor(config, processor.tokenizer, images)


def _batch(processor: LisaProcessor, images: int, conversations: int, packing: bool) -> Batch:
    """Pictures with one box to find for each conversation."""
    seen = pictures(images)
    masks = [np.zeros((conversations, *picture.shape[:2]), bool) for picture in seen]
    for group in masks:
        for k, mask in enumerate(group):
            mask[20 * k : 100 + 20 * k, 50:250] = True
    ignore = [np.zeros(picture.shape[:2], bool) for picture in seen]
    talk = [questions(conversations, answered=True)] * images
    other = LisaProcessor(processor.config, processor.tokenizer, processor.image_processor, packing=bool(packing))
    # Either side may be asked for either resolution of the mask losses.
    processor.config.mask_loss_size = "original"
    return other(seen, talk, masks=masks, ignore=ignore)


@contextlib.contextmanager
def _embeddings_given(case: Case) -> Iterator[None]:
    """Inside, SAM's embeddings of the case's pictures are there already."""
    with torch.no_grad():
        case.model.embedding_cache = Given(encode_images(case.model.sam, case.packed.sam_pixels))
    try:
        yield
    finally:
        case.model.embedding_cache = None


def _print(result: dict) -> None:
    table = Table(title=f"training step, {result['config']}, {result['threads']} threads, {result['device']}")
    for column in (
        "",
        "before",
        "after",
        "ratio",
        "CPU ratio",
        "apart",
        "MiB before",
        "MiB after",
        "images/s",
        "padding",
    ):
        table.add_column(column, justify="right" if column else "left")
    for row in result["rows"]:
        before, after = (f"{statistics.median(row[side]):.2f} s" for side in ("a_seconds", "b_seconds"))
        memory = [f"{row[side]:.0f}" if side in row else "" for side in ("a_peak_mib", "b_peak_mib")]
        padding = f"{row['padding_share']:.1%}" if "padding_share" in row else ""
        apart, pace = f"{row['max_rel_diff']:.0e}", f"{row['images_per_second']:.2f}"
        ratios = [f"{row[kind]:.2f}" for kind in ("ratio", "cpu_ratio")]
        table.add_row(row["name"], before, after, *ratios, apart, *memory, pace, padding)
    # Wider than a terminal may be, so that a log shows it whole.
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
