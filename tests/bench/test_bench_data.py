"""The benchmark of large annotation files runs, and both of its sides give the same masks."""

import json

from bench import data


def test_the_benchmark_of_annotation_files_writes_its_figures(tmp_path):
    out = tmp_path / "data.json"
    flags = ["--megabytes", "1", "--pairs", "1", "--workers", "1", "--samples", "3", "--out", str(out)]
    result = data.main(flags)
    assert json.loads(out.read_text()) == result
    assert result.keys() == {"device", "commit", "megabytes", "pictures", "rows"}
    opened, samples, memory = result["rows"]
    assert [row["name"] for row in result["rows"]] == ["open_again", "samples", "memory_per_worker"]
    assert opened["max_rel_diff"] == samples["max_rel_diff"] == 0
    assert all(row["ratio"] > 0 for row in (opened, samples, memory))
