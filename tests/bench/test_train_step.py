"""The benchmark of a training step runs, and both of its sides compute the same."""

import json
import time

import pytest
import torch

from bench import train_step
from bench.measure import Side, alternate, relative_difference


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    out = tmp_path_factory.mktemp("bench") / "train_step.json"
    names = ["packed_c3_t256", *train_step.WHOLE[:-1], train_step.MFU]  # the last one is two others at once
    result = train_step.main(["--config", "tiny", "--pairs", "1", "--images", "1", "--out", str(out), "--rows", *names])
    assert json.loads(out.read_text()) == result
    assert [row["name"] for row in result["rows"]] == names
    return result


def test_both_sides_of_every_row_give_the_same_loss_and_gradients(result):
    assert {"device", "commit", "config", "threads", "rows"} == result.keys()
    *rows, mfu = result["rows"]
    for row in rows:
        assert row["max_rel_diff"] < (0.1 if row["name"].endswith("bf16") else 1e-5), row["name"]
        assert len(row["a_seconds"]) == len(row["b_seconds"]) == 1
        assert row["ratio"] == row["a_seconds"][0] / row["b_seconds"][0]
        assert row["b_peak_mib"] > 0
    assert 0 < mfu["ratio"] < 1
    assert mfu["gflop"] == pytest.approx(sum(mfu["gflop_by_part"].values()))


def test_packed_rows_are_computed_faster_and_in_less_memory(result):
    packed = result["rows"][0]
    assert packed["a_peak_mib"] > packed["b_peak_mib"]
    assert packed["padding_share"] < 0.2


def test_an_unknown_row_is_refused():
    with pytest.raises(ValueError, match="--rows: there is no packed_c9; choose from packed_c1_t256"):
        train_step.main(["--rows", "packed_c9"])


def test_both_sides_take_turns_and_preparing_is_not_timed():
    done = []
    a = Side(prepare=lambda: time.sleep(0.05), run=lambda: done.append("a"))
    b = Side(run=lambda: done.append("b"))
    figures = alternate(a, b, 2, torch.device("cpu"))
    assert done == ["a", "b", "a", "b"]
    assert max(figures["a_seconds"]) < 0.05
    pairs = zip(figures["a_seconds"], figures["b_seconds"], strict=True)
    assert figures["ratio"] == pytest.approx(sum(x / y for x, y in pairs) / 2)


def test_tensors_are_compared_all_together():
    first, second = [torch.tensor([3.0]), torch.tensor([4.0])], [torch.tensor([3.0]), torch.tensor([4.5])]
    assert relative_difference(first, second) == pytest.approx(0.1)
