"""Teaching clicks, as a user meets it: only what answers never use is changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import train_clicks
from lisa import load
from lisa.arguments import parse
from lisa.checkpoint import save
from lisa.start import start_model

LEARNED = ("click_decoder.", "sam.prompt_encoder.mask_downscaling.", "sam.prompt_encoder.point_embeddings.0.",
           "sam.prompt_encoder.point_embeddings.1.", "sam.prompt_encoder.not_a_point_embed.")  # fmt: skip


@pytest.fixture(params=["tiny-hq", "tiny-sam2"])
def other_decoder(request, tmp_path):
    """Folder of a model with random weights, and another mask decoder than the kept one's."""
    model, processor = start_model(parse(["--sam", request.param]), lambda: ["Where is the red ball?", "Sure, [SEG]."])
    save(model, processor, tmp_path / "start")
    return str(tmp_path / "start")


def check_what_changes(model: str, world, out, *flags: str) -> None:
    flags = [*flags, "--dataset_dir", str(world), "--pictures", "2", "--batch_size", "2", "--clicks", "2"]
    measured = train_clicks.main([*flags, "--model", model, "--dtype", "fp32", "--out", str(out)])
    assert len(measured) == 3
    before, after = (load(one, device="cpu").model.state_dict() for one in (model, out))
    changed = {name for name in after if name not in before or not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith(LEARNED) for name in changed)
    decoder = {name.removeprefix("click_decoder."): name for name in after if name.startswith("click_decoder.")}
    assert not all(torch.equal(after[f"sam.mask_decoder.{name}"], after[click]) for name, click in decoder.items())


def test_only_the_embeddings_of_clicks_and_masks_change(world, tmp_path, capsys):
    check_what_changes("tiny", world, tmp_path / "model", "--steps", "3")
    printed = capsys.readouterr()
    assert "after 0, 1, ... clicks, before" in printed.out
    assert "learning: 3/3, loss" in printed.err


def test_clicks_are_taught_to_every_kind_of_mask_decoder(other_decoder, world, tmp_path):
    check_what_changes(other_decoder, world, tmp_path / "model", "--steps", "2")


def test_a_click_falls_into_the_largest_error_and_tells_its_side():
    rng = np.random.default_rng(0)
    target = np.zeros((16, 16), np.float32)
    target[2:10, 2:10] = 1
    logits = np.where(target > 0, 1.0, -1.0)
    assert train_clicks.click(logits, target, rng) is None
    logits[2:10, 2:6] = -1  # missed: 32 cells
    logits[13:15, 13:15] = 1  # too much: 4 cells
    for _ in range(20):
        x, y, inside = train_clicks.click(logits, target, rng)
        assert inside
        assert 2 <= x < 6
        assert 2 <= y < 10
    logits[11:16, 0:12] = 1  # too much: 60 cells
    assert not train_clicks.click(logits, target, rng)[2]


@pytest.mark.parametrize(("said", "wanted", "expected"), [(1, 1, 1), (1, 0, 0), (0, 0, 1)])
def test_overlap_of_nothing_with_nothing_is_whole(said, wanted, expected):
    logits, target = torch.full((1, 4, 4), said - 0.5), torch.full((1, 4, 4), float(wanted))
    assert train_clicks.overlap(logits, target).item() == expected
