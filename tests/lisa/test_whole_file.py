"""Text files that are there whole or not at all."""

import pytest

from lisa.whole_file import whole_file, write_whole


def test_the_file_is_not_there_before_it_is_whole(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text("from an earlier run\n")
    with pytest.raises(TypeError), whole_file(path) as file:
        file.writelines(["half", None])
    assert path.read_text() == "from an earlier run\n"
    with whole_file(path) as file:
        file.write("é\n")
        assert path.read_text() == "from an earlier run\n"
    assert path.read_bytes() == "é\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_a_text_is_written_in_one_step(tmp_path):
    write_whole(tmp_path / "a.txt", "one\ntwo\n")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.txt", b"one\ntwo\n")]
