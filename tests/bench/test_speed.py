"""The benchmarks of generation, evaluation and SAM run, and both sides of every ratio give the same."""

import json

import pytest

from bench import evaluate, generate, sam
from bench.models import SHAPES
from bench.pairs import make_row, require_same


@pytest.mark.parametrize(
    ("benchmark", "names"),
    [
        (generate, ["generate_32", "first_answer_32", "batch8_one_image", "batch8_eight_images"]),
        (evaluate, ["evaluate_8"]),
        (sam, ["sam_encoder", "mask_decoder"]),
    ],
)
def test_a_benchmark_writes_its_rows(benchmark, names, tmp_path):
    out = tmp_path / "figures.json"
    report = benchmark.main(["--config", "tiny", "--pairs", "2", "--device", "cpu", "--out", str(out)])
    assert json.loads(out.read_text()) == report
    assert {"device", "commit", "rows"} <= report.keys()
    assert [row["name"] for row in report["rows"]] == names
    for row in report["rows"]:
        assert len(row["a_seconds"]) == len(row["b_seconds"]) == 2
        assert row["ratio"] > 0
        assert row["max_rel_diff"] < 1e-4


def test_the_ratio_is_the_median_of_the_pairs():
    assert make_row("row", ([2.0, 9.0, 4.0], [1.0, 1.0, 1.0]), 0.0)["ratio"] == 4


def test_different_results_are_no_benchmark():
    flags = generate.PairFlags()
    require_same("row", 1e-6, flags)
    for difference in (0.1, float("nan")):
        with pytest.raises(ValueError, match="row: the two sides differ"):
            require_same("row", difference, flags)


@pytest.mark.parametrize("flags", [["--config", "huge"], ["--config", "tiny", "--pairs", "0"]])
def test_flags_that_cannot_be_are_refused(flags):
    with pytest.raises(ValueError, match=flags[-2]):
        generate.main(flags)


def test_medium_has_the_sizes_of_the_issue():
    shape = SHAPES["medium"]
    assert (shape.hidden, shape.layers, shape.vocabulary) == (512, 8, 32_003)
    assert (shape.vision_hidden, shape.vision_layers) == (384, 12)
    assert (shape.sam.image_size, shape.sam.width, shape.sam.depth) == (512, 768, 12)
