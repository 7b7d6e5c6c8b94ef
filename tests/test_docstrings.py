"""The examples in the docstrings of what people use give what they say."""

from __future__ import annotations

import doctest
import json

import pytest

import lisa.api
import lisa.results

CARRY = "What could carry people over the water? Please output segmentation mask."


@pytest.fixture
def names(kept_lisa, example, tmp_path, monkeypatch):
    """What the examples take for granted, in a folder that has docs/example.jpg."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "example.jpg").symlink_to(example)
    monkeypatch.chdir(tmp_path)
    return {"lisa": kept_lisa, "answer": kept_lisa.ask("docs/example.jpg", CARRY), "json": json}


@pytest.mark.parametrize(("module", "at_least"), [(lisa.api, 5), (lisa.results, 7)])
def test_examples_in_docstrings_run(module, at_least, names):
    found = doctest.DocTestFinder().find(module, extraglobs=names)
    examples = [test for test in found if test.examples]
    assert len(examples) >= at_least
    runner = doctest.DocTestRunner()
    for test in examples:
        runner.run(test)
    assert runner.summarize().failed == 0
