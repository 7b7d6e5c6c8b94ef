"""What users type: from every start, in every precision, a run ends with a model that loads and answers."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch
from families import FAMILIES, ask, picture, toy_lisa
from PIL import Image
from small_sams import SIZES

import train_ds
from lisa import load
from lisa.arguments import parse
from lisa.checkpoint import merged_state_dict, save
from lisa.weights import DTYPES, in_dtype
from sam_bridge import SAM_PRESETS, build_sam

CHECKOUT = Path(__file__).resolve().parents[2]
SHORT = ["--no_eval"]
for name, value in {"epochs": 1, "steps_per_epoch": 1, "grad_accumulation_steps": 1, "workers": 0}.items():
    SHORT += [f"--{name}", str(value)]
BY_FAMILY = list(zip(FAMILIES, itertools.cycle(("tiny", "tiny-hq", "tiny-sam2")), strict=False))


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Two pictures, one question with a mask and one that is answered in words."""
    folder = tmp_path_factory.mktemp("own")
    for name in "ab":
        Image.fromarray(picture(40, 50, seed=ord(name))).save(folder / f"{name}.png")
    lines = [
        {"image": "a.png", "question": "Where is the red ball?", "answer": "[SEG].", "masks": [[5, 5, 30, 5, 30, 30]]},
        {"image": "b.png", "question": "Is there a dog?", "answer": "There is no dog."},
    ]
    (folder / "own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "own.jsonl"


def flags(own: Path, folder: Path, *more: str) -> list[str]:
    return ["--dataset", "own", "--own_data", str(own), "--log_base_dir", str(folder), *SHORT, *more]


def answers(folder: Path) -> None:
    """The model in the folder loads and answers, and what it says is of the picture's size."""
    predictor = load(folder, device="cpu")
    ((answer,),) = predictor.generate([picture(30, 40)], [[ask("Where is the red ball?")]], 4)
    assert answer.masks.shape[1:] == (30, 40)
    assert isinstance(answer.text, str)


def trained(own: Path, folder: Path, *more: str):
    """A run in this process -> model and processor as they are at its end."""
    args = parse(flags(own, folder, *more))
    mixture, _ = train_ds.open_data(args)
    model, processor = train_ds.make_model(args, mixture)
    args.run_dir.mkdir(parents=True)
    train_ds.train(args, model, processor, mixture, [])
    return model, processor, args.run_dir / "model"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A LISA of our own, with every head."""
    folder = tmp_path_factory.mktemp("small")
    heads = {f"{term}_loss_weight": 1.0 for term in ("dense", "ground", "look")}
    save(*toy_lisa(FAMILIES["llava, SigLIP"], **heads), folder)
    return folder


@pytest.mark.parametrize("zero_stage", ["0", "1", "2"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "bf16_mixed"])
def test_every_precision_and_stage_of_zero_writes_a_model_in_every_type(own, small, tmp_path, precision, zero_stage):
    options = ("--version", str(small), "--precision", precision, "--zero_stage", zero_stage)
    model, processor, written = trained(own, tmp_path, *options)
    answers(written)
    weights = merged_state_dict(model)
    for dtype in DTYPES:
        save(model, processor, tmp_path / dtype, dtype)
        loaded = load(tmp_path / dtype, device="cpu", dtype=dtype).model.state_dict()
        assert loaded.keys() == weights.keys()
        for name, tensor in loaded.items():
            assert torch.equal(tensor, in_dtype(name, weights[name], dtype)), name


@pytest.mark.parametrize(("family", "sam"), BY_FAMILY)
def test_every_family_and_sam_ends_with_a_model_by_the_flags_defaults(own, tmp_path, family, sam):
    model, processor = toy_lisa(FAMILIES[family])
    base = tmp_path / "base"
    model.vlm.save_pretrained(base)
    processor.tokenizer.save_pretrained(base)
    processor.image_processor.save_pretrained(base)
    torch.save(build_sam(SAM_PRESETS[sam]).state_dict(), base / "sam.pth")
    sam_flags = ("--vision_pretrained", str(base / "sam.pth"), "--sam", sam)
    train_ds.main(flags(own, tmp_path, "--version", str(base), "--conv_type", "plain", *sam_flags))
    answers(tmp_path / "lisa" / "model")


@pytest.mark.parametrize("sam", list(SIZES))
@pytest.mark.parametrize("trainable", ["", "all"])
def test_every_kept_model_can_be_tuned_again(own, tmp_path, sam, trainable):
    save(*toy_lisa(FAMILIES["llava"], sam=SIZES[sam]), tmp_path / "kept")
    more = ("--trainable", trainable) if trainable else ()
    train_ds.main(flags(own, tmp_path, "--version", str(tmp_path / "kept"), *more))
    train_ds.main(flags(own, tmp_path, "--version", str(tmp_path / "lisa" / "model"), "--exp_name", "again", *more))
    answers(tmp_path / "again" / "model")


@pytest.mark.parametrize("start", ["the tiny model", "a released LISA"])
def test_what_comes_with_the_library_and_what_is_released_are_tuned_by_the_flags_defaults(own, lisa_a, tmp_path, start):
    version = CHECKOUT / "models" / "tiny" if start == "the tiny model" else lisa_a / "tiny_lisa_A"
    train_ds.main(flags(own, tmp_path, "--version", str(version)))
    answers(tmp_path / "lisa" / "model")
