"""The model that comes with the repository, by the commands of the README."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import chat
from datasets.images import read_image
from datasets.validation import open_validation
from eval import reason_seg, refcoco
from eval.benchmark import evaluate
from lisa import load
from lisa.conversation import Conversation

CHECKOUT = Path(__file__).resolve().parents[1]
KEPT = CHECKOUT / "models" / "tiny"
EXAMPLE = CHECKOUT / "docs" / "example.jpg"


def test_it_is_small_and_holds_no_pickle():
    files = [path for path in KEPT.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 12e6
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md"}


def test_its_card_tells_what_made_it():
    card = (KEPT / "README.md").read_text(encoding="utf-8")
    report = json.loads((KEPT / "report.json").read_text(encoding="utf-8"))
    assert "uv run train_ds.py" in card
    assert report["commit"] in card
    for result in report["results"]:
        assert f"{result['giou']:.3f}" in card, result["data"]


def test_chat_answers_about_the_example_and_writes_masks(tmp_path, capsys):
    question = "What could carry people over the water? Please output segmentation mask."
    chat.main(["--image", str(EXAMPLE), "--prompt", question, "--out", str(tmp_path), "--device", "cpu"])
    assert "[SEG]" in capsys.readouterr().out
    masks = [np.asarray(Image.open(path)) for path in sorted(tmp_path.glob("*_mask_*.png"))]
    assert masks
    assert all(mask.shape == read_image(EXAMPLE).shape[:2] for mask in masks)
    assert any(mask.any() for mask in masks)


def test_the_readme_in_python():
    predictor = load("tiny", device="cpu")
    question = Conversation.of("<image>\nPlease segment the boats in this image.")
    [[answer]] = predictor.generate([read_image(str(EXAMPLE))], [[question]])
    assert "[SEG]" in answer.text
    assert len(answer.masks) == len(answer.phrases) == answer.text.count("[SEG]")


@pytest.mark.parametrize("data", ["refcoco|unc|val", "refcoco|unc|testA", "refcoco|unc|composition"])
def test_it_does_what_no_guess_does_on_pictures_of_another_world(data, world):
    """The world of the tests has another seed than what the model learned from."""
    result = evaluate(load("tiny", device="cpu"), open_validation(world, data), "generated", blind=False)
    guesses = [result["baselines"][name]["giou"] for name in ("nothing", "everything", "largest", "mean_mask")]
    assert result["giou"] > 1.5 * max(guesses)


@pytest.mark.parametrize(("script", "data"), [(refcoco, "refcoco|unc|val"), (reason_seg, "ReasonSeg|val")])
def test_the_evaluation_scripts_take_it_when_no_model_is_named(script, data, world, tmp_path):
    script.main(
        ["--dataset_dir", str(world), "--data", data, "--out", str(tmp_path / "report.json"), "--mode", "generated"]
    )
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["model"] == "models/tiny"
    assert [result["data"] for result in report["results"]] == [data]


def test_clicks_lead_it_to_another_thing_and_spoil_nothing(world):
    """On pictures of another world: IoU of the thing asked for, and of another one that is clicked on."""
    import train_clicks

    args = train_clicks.ClickArgs(dataset_dir=world, val_data="refcoco|unc|val", pictures=20, clicks=3)
    predictor = load("tiny", device="cpu")
    known = train_clicks.collect(predictor, world, args.val_data, args.pictures)
    asked, other = (train_clicks.measure(predictor, known, args, share) for share in (0.0, 1.0))
    assert min(asked[1:]) > asked[0] - 0.05
    assert other[3] > other[0] + 0.15
