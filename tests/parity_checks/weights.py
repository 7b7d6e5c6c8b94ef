"""Weights: training checkpoints merged, the start of training, and the way there and back."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from lisa.arguments import TrainArgs
from lisa.convert import main as convert
from lisa.modeling import LisaModel
from lisa.released import Released, ReleasedOptions
from lisa.released.files import weight_files
from lisa.released.names import our_name, tower_name
from lisa.start import start_model
from parity_checks.report import Report
from sam_bridge import read_tensors

FILES = (
    "config.json",
    "generation_config.json",
    "added_tokens.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)


def check_merge(report: Report, lora: Path, base: Path, released: Path) -> None:
    """A training checkpoint of the reference, LoRA merged, is the released model, but for lm_head."""
    opened = Released(lora, ReleasedOptions(base=str(base), sam=_sam_file(released)))
    merged: dict[str, Tensor] = {}
    for part in opened.parts():
        merged |= part
    wanted = {our_name(name): tensor for file in weight_files(released) for name, tensor in read_tensors(file).items()}
    wanted.pop(None, None)
    report.line(lora.name, "LoRA", bool(opened.survey.lora), f"{len(opened.survey.lora)} adapted layers")
    for name in sorted(merged.keys() | wanted.keys()):
        if name.startswith("vlm.model.vision_tower."):
            continue
        if name == "vlm.lm_head.weight":
            same = torch.equal(merged[name].float(), wanted[name].float())
            report.listed(lora.name, name, f"it may have been fitted after the merge; {'equal' if same else 'differs'}")
        elif name not in merged or name not in wanted:
            report.fail(lora.name, name, "is in one of the two only")
        elif merged[name].shape != wanted[name].shape:
            report.fail(lora.name, name, f"shape {tuple(merged[name].shape)} instead of {tuple(wanted[name].shape)}")
        else:
            adapted = name in opened.survey.lora
            _check_rounded(report, lora.name, name, merged[name], wanted[name], 1.0 if adapted else 0.5)


def _check_rounded(report: Report, case: str, name: str, ours: Tensor, wanted: Tensor, roundings: float) -> None:
    """Equal, but for so many steps of the coarser of the two types."""
    eps = max(torch.finfo(tensor.dtype).eps for tensor in (ours, wanted))
    ours, wanted = ours.double(), wanted.double()
    if torch.equal(ours, wanted):
        report.line(case, name, True, "equal")
        return
    allowed = roundings * eps * wanted.abs() + 1e-7 * wanted.abs().max()
    share = ((ours - wanted).abs() / allowed).max().item()
    report.line(case, name, share <= 1, f"differs by {share:.2f} of one rounding to the stored type")


def check_tower_inside(report: Report, lora: Path, tower: Path) -> None:
    """The vision tower in a training checkpoint is the one in its folder, rounded."""
    outside = {tower_name(name): t for file in weight_files(tower) for name, t in read_tensors(file).items()}
    outside.pop(None, None)
    inside = {our_name(name): t for file in weight_files(lora) for name, t in read_tensors(file).items()}
    for name in sorted(outside):
        if name not in inside:
            report.fail(lora.name, name, "is missing")
        else:
            report.equal(lora.name, name, inside[name].float(), outside[name].to(inside[name].dtype).float())


def check_start(report: Report, base: Path, sam: Path, tower: Path, released: Path) -> None:
    """Training starts with every weight of the LLaVA base, of the vision tower and of SAM as it is."""
    arguments = TrainArgs(
        version=str(base), vision_pretrained=str(sam), vision_tower=str(tower), sam=_sam_file(released) or "auto"
    )
    model, processor = start_model(arguments, tuple)
    ours = model.state_dict()
    wanted = {f"sam.{name}": tensor for name, tensor in read_tensors(sam).items()}
    for folder, rename in ((base, our_name), (tower, tower_name)):
        for file in weight_files(folder):
            wanted |= {rename(name): tensor for name, tensor in read_tensors(file).items() if rename(name) is not None}
    case = f"start from {base.name}"
    for name in sorted(wanted):
        if name not in ours:
            report.fail(case, name, "is missing")
        else:
            # Rows of added tokens come after the base's.
            report.equal(case, name, ours[name][: len(wanted[name])], wanted[name].float())
    new = sorted(name for name in ours.keys() - wanted.keys())
    report.line(case, "new weights", all(name.startswith("text_hidden_fcs.") for name in new), ", ".join(new))
    added = json.loads((released / "added_tokens.json").read_text(encoding="utf-8"))
    vocabulary = processor.tokenizer.get_vocab()
    report.equal(case, "ids of the added tokens", {token: vocabulary.get(token) for token in added}, added)
    report.equal(case, "embeddings", model.vlm.get_input_embeddings().num_embeddings, len(processor.tokenizer))


def check_round_trip(report: Report, released: Path, tower: Path, model: LisaModel) -> None:
    """Released -> ours -> released: the same bits and the same JSON; ours is the model that was loaded."""
    case = f"{released.name} there and back"
    with tempfile.TemporaryDirectory() as folder:
        ours, back = Path(folder) / "ours", Path(folder) / "back"
        convert([str(released), str(ours), "--vision-tower", str(tower)])
        loaded = LisaModel.from_pretrained(ours, dtype=torch.float32).state_dict()
        same = all(torch.equal(tensor, loaded[name]) for name, tensor in model.state_dict().items())
        report.line(case, "our folder", same and len(loaded) == len(model.state_dict()), f"{len(loaded)} tensors")
        convert([str(ours), str(back), "--to", "released"])
        before, after = (
            {name: t for file in weight_files(place) for name, t in read_tensors(file).items()}
            for place in (released, back)
        )
        report.equal(case, "names", sorted(after), sorted(before))
        for name in sorted(before.keys() & after.keys()):
            bits = after[name].dtype == before[name].dtype and _bits(after[name]) == _bits(before[name])
            report.line(
                case, name, bits, "the same bits" if bits else f"{after[name].dtype} {before[name].dtype} differ"
            )
        for name in FILES:
            texts = [
                (place / name).read_text(encoding="utf-8") if (place / name).is_file() else "{}"
                for place in (back, released)
            ]
            report.equal(case, name, *map(json.loads, texts))
        same = (back / "tokenizer.model").read_bytes() == (released / "tokenizer.model").read_bytes()
        report.line(case, "tokenizer.model", same, "the same bytes" if same else "differs")


def _bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


def _sam_file(released: Path) -> str:
    file = released / "sam_config.json"
    return str(file) if file.is_file() else ""
