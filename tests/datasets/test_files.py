"""Paths and JSON files."""

import pytest

from datasets.files import field, inside, open_json


@pytest.mark.parametrize("name", ["../a.jpg", "x/../../a.jpg", "/etc/passwd", "C:\\a.jpg", "..\\a.jpg", "", "a\0"])
def test_a_file_name_that_leads_out_of_its_folder_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="leads out of"):
        inside(tmp_path, name)


@pytest.mark.parametrize("name", ["a.jpg", "00/images/25.jpg", "a..b.jpg"])
def test_a_file_name_below_its_folder_is_joined(tmp_path, name):
    assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_json_is_read_in_the_encodings_that_occur(tmp_path, encoding):
    (tmp_path / "a.json").write_bytes('{"text": "café"}'.encode(encoding))
    assert open_json(tmp_path / "a.json") == {"text": "café"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b'{"text": ', "not valid JSON"),
        (b'"\x81\xff"', "not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_json_that_cannot_be_read_is_named_with_the_mend(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.json: .*{message}.*restore it"):
        open_json(tmp_path / "a.json")


def test_a_missing_field_is_named():
    with pytest.raises(ValueError, match="x: no field 'sent'"):
        field({}, "sent", str, "x")
    with pytest.raises(ValueError, match="x: no field 'sent'"):
        field("text", "sent", str, "x")


def test_a_field_of_another_type_is_named():
    with pytest.raises(ValueError, match="x: field 'id' is None, not of type int or str"):
        field({"id": None}, "id", (int, str), "x")
