"""The examples in the docstrings of what people use give what they say; so does the Python of docs/use.md."""

from __future__ import annotations

import doctest
import json
import re
import shlex
from pathlib import Path

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


PAGE = (Path(__file__).resolve().parents[1] / "docs" / "use.md").read_text(encoding="utf-8")


def test_the_python_of_the_page_runs_and_gives_what_its_comments_say(names):
    (code,) = re.findall("```python\n(.*?)```", PAGE, re.DOTALL)
    said = {}
    exec(code, said)
    assert said["answer"].question == "What is in this picture?"
    assert "# 'Sure, the purple boat at the bottom [SEG].'" in code
    assert names["answer"].text == "Sure, the purple boat at the bottom [SEG]."


def test_the_commands_of_the_page_are_known():
    """Their flags are; what they do is tested elsewhere."""
    import tyro

    from lisa.cli.main import COMMANDS

    blocks = "".join(re.findall("```bash\n(.*?)```", PAGE, re.DOTALL))
    lines = [shlex.split(line) for line in blocks.splitlines() if line.startswith("lisa ")]
    assert {words[1] for words in lines} == set(COMMANDS)
    for words in lines:
        tyro.cli(COMMANDS[words[1]], args=words[2:])
