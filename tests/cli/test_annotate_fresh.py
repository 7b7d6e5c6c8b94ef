"""A job replaces and removes only what its record names, inside --out; what is of others is never touched."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest
from annotating import BOATS, GRASS, annotate, files, scenes

from lisa.annotation.written import Written

WORK = {".lisa/plan.json", ".lisa/finished.json"}


@pytest.fixture(autouse=True)
def _one_model(kept_lisa, monkeypatch):
    monkeypatch.setattr("lisa.cli.flags.ModelFlags.load", lambda flags: kept_lisa)


@pytest.fixture
def folder(tmp_path, example):
    return scenes(tmp_path / "photos", example, "a.png", "sub/b.jpg")


def run(folder, out, format_, *flags):
    return annotate(folder, out, "--format", format_, *flags, prompts=BOATS)


WOULD_WRITE = {
    "coco": ["annotations.json", "bad_files.txt"],
    "jsonl": ["annotations.jsonl", "bad_files.txt"],
    "labelme": ["a.json", "sub/b.json", "sub"],
    "png": ["annotations.jsonl", "masks", "masks/a.png", "masks/sub/b.jpg/001_01.png"],
}
"""Files of somebody else that are in a job's way."""


@pytest.mark.parametrize(("format_", "name"), [(one, name) for one, names in WOULD_WRITE.items() for name in names])
@pytest.mark.parametrize("link", [False, True])
def test_what_is_in_the_way_is_refused_and_stays(folder, tmp_path, format_, name, link):
    out = tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    if link:
        (out / name).symlink_to(tmp_path / "nowhere")
    else:
        (out / name).write_text("mine")
    before = files(tmp_path)
    with pytest.raises(ValueError, match=r"in the way: this job would write|behind a link, in .*, outside --out"):
        run(folder, out, format_, "--fresh")
    assert files(tmp_path) == before | {"prompts.txt": BOATS.encode()}
    assert not (out / ".lisa").exists()


@pytest.mark.parametrize("then", WOULD_WRITE)
@pytest.mark.parametrize("first", WOULD_WRITE)
def test_begun_anew_it_removes_its_own_files_alone(folder, tmp_path, first, then):
    out, clean = tmp_path / "out", tmp_path / "clean"
    assert run(folder, out, first) == 0
    mine = {"mine.json": b"1", "masks/mine.txt": b"2", "masks/a.png/mine.png": b"3", "sub/c.json": b"4"}
    for name, data in mine.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)
    assert run(folder, out, then, "--fresh") == 0
    assert run(folder, clean, then) == 0
    expected = files(clean) | mine
    assert files(out).keys() == expected.keys()
    assert all(data == expected[name] for name, data in files(out).items() if name not in WORK)


@pytest.mark.parametrize("format_", ["labelme", "png"])
def test_the_output_may_be_the_folder_itself_and_is_not_annotated(folder, format_, capsys):
    images = files(folder)
    if format_ != "labelme":  # which looks for its files there
        with pytest.raises(ValueError, match="holds files of something else"):
            run(folder, folder, format_)
    assert run(folder, folder, format_, *["--fresh"] * (format_ != "labelme")) == 0
    first = files(folder)
    assert run(folder, folder, format_) == 0
    assert run(folder, folder, format_, "--fresh") == 0
    assert files(folder).keys() == first.keys()
    assert images.items() <= files(folder).items()
    plan = json.loads((folder / ".lisa" / "plan.json").read_text())
    assert [name for name, *_ in plan["images"]] == ["a.png", "sub/b.jpg"]
    if format_ == "png":
        assert "left out: 2 x written by `lisa annotate`" in capsys.readouterr().err


def test_what_another_job_wrote_below_the_folder_is_not_annotated(folder):
    assert run(folder, folder / "sub" / "masks of before", "png") == 0
    assert run(folder, folder / "masks", "png") == 0
    lines = (folder / "masks" / "annotations.jsonl").read_text().splitlines()
    assert [json.loads(line)["image"] for line in lines] == ["a.png", "sub/b.jpg"]


def test_what_was_corrected_by_hand_stays(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(folder, out, "labelme") == 0
    (out / "a.json").write_text("corrected")
    assert run(folder, out, "labelme") == 0  # it is done
    with pytest.raises(ValueError, match=r"a\.json is in the way"):
        run(folder, out, "labelme", "--fresh")
    assert (out / "sub" / "b.json").is_file()
    capsys.readouterr()
    assert run(folder, out, "coco", "--fresh") == 0
    assert "left alone, since changed by hand: a.json" in capsys.readouterr().err
    assert (out / "a.json").read_text() == "corrected"
    assert files(out).keys() == {"a.json", "annotations.json"} | WORK


@pytest.mark.parametrize("path", ["../victim.txt", "sub/../../victim.txt", "link/victim.txt", "{place}/victim.txt"])
def test_a_record_from_elsewhere_reaches_nothing_outside(folder, tmp_path, path):
    out = tmp_path / "out"
    assert run(folder, out, "jsonl") == 0
    victim = tmp_path / "victim.txt"
    shutil.copyfile(out / "annotations.jsonl", victim)  # with the very hash of the record
    (out / "link").symlink_to(tmp_path)
    finished = json.loads((out / ".lisa" / "finished.json").read_text())
    finished["files"] = {path.format(place=tmp_path): finished["files"]["annotations.jsonl"]}
    (out / ".lisa" / "finished.json").write_text(json.dumps(finished))
    (out / "annotations.jsonl").unlink()
    plan = json.loads((out / ".lisa" / "plan.json").read_text())
    plan |= {"images": [["../victim.png", 1, 1]], "format": "labelme"}
    (out / ".lisa" / "plan.json").write_text(json.dumps(plan))
    assert run(folder, out, "coco", "--fresh") == 0
    assert victim.is_file()


@pytest.mark.parametrize("name", ["plan.json", "finished.json", "written.jsonl"])
@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"[1]\n", b'{"of": "somebody else"}\n', b"[" * 9999 + b"\n"])
def test_files_of_others_in_the_place_of_its_own_are_refused(folder, tmp_path, name, text):
    out = tmp_path / "out"
    (out / ".lisa").mkdir(parents=True)
    (out / ".lisa" / name).write_bytes(text)
    if name == "written.jsonl" and not text.endswith(b"\n"):
        return  # an empty record, or one whose only line was cut by a kill
    for flags in ((), ("--fresh",)):
        with pytest.raises(ValueError, match="is not what `lisa annotate` writes there"):
            run(folder, out, "coco", *flags)
    assert (out / ".lisa" / name).read_bytes() == text


def test_a_link_in_the_place_of_its_own_folder_is_refused(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".lisa").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="is not the folder of a job"):
        run(folder, tmp_path / "out", "coco", "--fresh")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="outside --out"):
        run(folder, tmp_path / "linked", "labelme", "--fresh")
    assert not any((tmp_path / "elsewhere").iterdir())


def test_other_prompts_begin_another_job(folder, tmp_path):
    assert run(folder, tmp_path / "out", "coco") == 0
    with pytest.raises(ValueError, match="was begun with other prompts"):
        annotate(folder, tmp_path / "out", prompts=f"boats: {BOATS}")
    with pytest.raises(ValueError, match="was begun with other prompts"):
        annotate(folder, tmp_path / "out", prompts=f"{BOATS}\n{GRASS}")


def test_a_record_that_a_kill_has_cut_goes_on(tmp_path):
    work = tmp_path / ".lisa"
    work.mkdir()
    hashes = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("a", "b", "c")}
    lines = [json.dumps({"file": name, "sha256": value}) + "\n" for name, value in hashes.items()]
    (tmp_path / "a").write_text("a")
    (work / "written.jsonl").write_text(lines[0] + lines[1][:20])
    written = Written(tmp_path)
    assert "a" in written
    written.write({"b": b"b", "sub/c": b"c"})
    assert (work / "written.jsonl").read_text() == lines[0] + lines[1] + lines[2].replace('"c"', '"sub/c"')
    again = Written(tmp_path)
    assert all(name in again for name in ("a", "b", "sub/c"))
    (tmp_path / "b").write_text("of somebody else now")
    with pytest.raises(ValueError, match="b is in the way"):
        again.write({"sub/d": b"d", "b": b"b"})
    assert again.clear() == ["b"]
    assert files(tmp_path) == {"b": b"of somebody else now"}
