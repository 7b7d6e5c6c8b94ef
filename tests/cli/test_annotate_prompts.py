"""A line of the file of prompts is `name: question` or a question."""

from __future__ import annotations

import pytest

from lisa.annotation.prompts import Prompt, parse_prompt, read_prompts

WHERE = "Where is it?"


@pytest.mark.parametrize(
    ("line", "name", "question"),
    [
        ("boats: Where is it?", "boats", WHERE),
        ("  red traffic light :   Where is it?  ", "red traffic light", WHERE),
        ("Boot: Wo ist es: links?", "Boot", "Wo ist es: links?"),
        ("Where is it?", WHERE, WHERE),
        (": Look here: where is it?", "Look here: where is it?", "Look here: where is it?"),
        ("Look at this image here: where is it?", None, None),  # four words are no name
        ("Please, look: where is it?", None, None),  # nor is what has a comma
        ("What is at 12:30?", None, None),  # no blank follows
        ("See http://example.org for it.", None, None),
        ("n" * 41 + ": Where is it?", None, None),
    ],
)
def test_the_name_is_what_stands_before_the_first_colon_if_it_is_short(line, name, question):
    assert parse_prompt(line) == Prompt(name=name or line, question=question or line)


def test_all_problems_of_a_file_are_told_at_once(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text(
        "boats: Where?\n# no question\nboats: Who?\nmen: Where?\n[SEG]\nmen: <image>\n: \nmen:  \n__ignore__: What?\n"
    )
    with pytest.raises(ValueError, match="prompts") as caught:
        read_prompts(path)
    lines = str(caught.value).splitlines()
    assert [line.removeprefix(f"--prompts {path}: line ")[:1] for line in lines] == ["3", "4", "5", "6", "7", "8", "9"]
    problems = ("the name 'boats'", "asks again", "[SEG]", "<image>", "empty", "empty", "of its own in LabelMe")
    assert all(problem in line for line, problem in zip(lines, problems, strict=True))
