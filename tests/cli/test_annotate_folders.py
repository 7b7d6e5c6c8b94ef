"""No entry of a folder ends a job: what can be used is used, what cannot is listed with its reason."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from annotating import BOATS, annotate, files, scenes
from backbones.families import FAMILIES, toy_lisa
from PIL import Image

from datasets.files import inside
from lisa import Lisa
from lisa.annotation.listing import escaped, list_images
from lisa.annotation.plan import split_by_format
from lisa.cli.annotate import SOME_BAD
from lisa.generation import Predictor

LONGEST = "n" * 251 + ".png"
"""255 bytes, the most that a name may have; LabelMe's file would have one more."""


@pytest.fixture(autouse=True)
def _one_model(kept_lisa, monkeypatch):
    monkeypatch.setattr("lisa.cli.flags.ModelFlags.load", lambda flags: kept_lisa)


@pytest.fixture
def folder(tmp_path, example):
    return scenes(tmp_path / "photos", example, "good.png", "sub/also good.jpg")


def png_of(width: int, height: int) -> bytes:
    """A PNG file that says it is so large, of a few bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def a_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the address of a socket may have 100 bytes only
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


BAD = {
    "empty.jpg": (lambda path: path.write_bytes(b""), "cannot be read"),
    "text.png": (lambda path: path.write_text("no image"), "no known format"),
    "cut.jpg": (lambda path: path.write_bytes(b"\xff\xd8\xff\xe0 cut off"), "cannot be read"),
    "huge.png": (lambda path: path.write_bytes(png_of(20_000, 20_000)), "megapixels"),
    "eps.jpg": (lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "no known format"),
    "pipe.jpg": (os.mkfifo, "a pipe or a socket"),
    "socket.jpg": (a_socket, "a pipe or a socket"),
    "gone.jpg": (lambda path: path.symlink_to("nowhere"), "a link to what is not there"),
    "circle.jpg": (lambda path: path.symlink_to("circle.jpg"), "symbolic links"),
    "folder.jpg": (os.mkdir, "a folder, not an image"),
    "film.gif": (
        lambda path: Image.new("L", (9, 9)).save(path, save_all=True, append_images=[Image.new("L", (9, 9), 99)]),
        "several pictures",
    ),
    "no utf-8 \udcff.jpg": (lambda path: shutil.copyfile(path.parent / "good.png", path), "not UTF-8"),
    "new\nline, no image\\.jpg": (lambda path: path.write_bytes(b"x"), "cannot be read"),
}
"""Name -> what makes such an entry, and the reason that is given."""
SHOWN = {"no utf-8 \udcff.jpg": r"no utf-8 \xff.jpg", "new\nline, no image\\.jpg": r"new\nline, no image\\.jpg"}


def listed(out: Path) -> dict[str, str]:
    """The lines of bad_files.txt: name -> reason."""
    lines = (out / "bad_files.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t") for line in lines)


@pytest.mark.parametrize("format_", ["coco", "labelme", "png"])
def test_every_kind_of_bad_entry_is_listed_and_the_job_goes_on(folder, tmp_path, capsys, format_):
    for name, (make, _) in BAD.items():
        make(folder / name)
    for name in ("new\nline.png", LONGEST):
        shutil.copyfile(folder / "good.png", folder / name)
    wide = Image.new("RGB", (3000, 1))
    wide.save(folder / "wide.png")
    shutil.copyfile(folder / "good.png", folder / ".hidden.png")
    out = tmp_path / "out"
    assert annotate(folder, out, "--format", format_, prompts=BOATS) == SOME_BAD
    expected = {SHOWN.get(name, name): reason for name, (_, reason) in BAD.items()}
    if format_ == "labelme":
        expected |= {LONGEST: "longer name", r"new\nline, no image\\.jpg": "takes a backslash"}
    found = listed(out)
    assert found.keys() == expected.keys()
    for name, reason in expected.items():
        assert reason in found[name], name
        assert str(tmp_path) not in found[name]
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{5 - (format_ == 'labelme')} images, ")
    assert "left out: 1 x hidden" in captured.err
    before = files(out)
    assert annotate(folder, out, "--format", format_, prompts=BOATS) == SOME_BAD
    assert files(out) == before


@contextlib.contextmanager
def as_nobody():
    """Without the rights of root, who may read everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_may_not_be_read_is_listed(example):
    with tempfile.TemporaryDirectory() as place:  # pytest's own folders are closed to others
        folder = scenes(Path(place, "photos"), example, "good.png", "closed/inside.png", "blind/b.png")
        for path in (Path(place), folder):
            path.chmod(0o755)
        (folder / "closed").chmod(0o000)
        (folder / "blind").chmod(0o444)  # its entries can be listed, but not opened
        (folder / "into closed.png").symlink_to("closed/inside.png")
        with as_nobody():
            listing = list_images(folder, folder.parent / "out")
        assert [name for name, *_ in listing.images] == ["good.png"]
        assert {name: reason.split("(")[-1] for name, reason in listing.unusable} == dict.fromkeys(
            ("blind/b.png", "closed/", "into closed.png"), "Permission denied)"
        )
        for name in ("closed", "blind"):
            (folder / name).chmod(0o755)


def test_an_image_that_may_not_be_opened_is_listed(example):
    from lisa.annotation.job import _read

    with tempfile.TemporaryDirectory() as place:
        folder = scenes(Path(place, "photos"), example, "good.png", "closed.png")
        for path in (Path(place), folder):
            path.chmod(0o755)
        (folder / "closed.png").chmod(0o000)
        with as_nobody():
            assert isinstance(_read(folder, "good.png"), np.ndarray)
            assert "Permission denied" in _read(folder, "closed.png")


def test_linked_folders_are_followed_and_each_folder_is_listed_once(folder, tmp_path, example):
    elsewhere = scenes(tmp_path / "elsewhere", example, "far.png", "below/farther.png")
    (folder / "link").symlink_to(elsewhere)
    (folder / "a again").symlink_to(folder / "sub")  # sorted before the folder itself
    (folder / "sub" / "up").symlink_to(folder)
    (elsewhere / "loop").symlink_to(elsewhere)
    (folder / "one.png").symlink_to(elsewhere / "far.png")
    listing = list_images(folder, tmp_path / "out")
    assert [name for name, *_ in listing.images] == [
        "good.png",
        "link/below/farther.png",
        "link/far.png",
        "one.png",
        "sub/also good.jpg",
    ]
    assert listing.unusable == []
    assert listing.left_out == {"a folder that is listed under another path, or the output": 3}


def test_a_folder_of_which_nothing_can_be_used_is_a_job_too(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "gone.jpg").symlink_to("nowhere")
    assert annotate(tmp_path / "photos", tmp_path / "out", prompts=BOATS) == SOME_BAD
    assert listed(tmp_path / "out") == {"gone.jpg": "a link to what is not there"}
    (tmp_path / "photos" / "gone.jpg").unlink()
    with pytest.raises(ValueError, match="no image in it"):
        annotate(tmp_path / "photos", tmp_path / "new", prompts=BOATS)


def test_an_image_that_the_model_refuses_is_listed(folder, tmp_path, monkeypatch):
    """The vision tower of Qwen takes no image that is 200 times as wide as it is high."""
    Image.new("RGB", (500, 1)).save(folder / "wide.png")
    qwen = Lisa(Predictor(*toy_lisa(FAMILIES["qwen2_5_vl"])))
    monkeypatch.setattr("lisa.cli.flags.ModelFlags.load", lambda flags: qwen)
    assert annotate(folder, tmp_path / "out", "--max-new-tokens", "2", prompts="Where?") == SOME_BAD
    assert "aspect ratio" in listed(tmp_path / "out").pop("wide.png")


@pytest.mark.parametrize("format_", ["coco", "labelme", "png", "jsonl"])
@pytest.mark.parametrize("name", ["C:\\y.jpg", "C:y.jpg", "sub\\..\\y.jpg", "\\y.jpg"])
def test_a_name_that_no_reader_of_ours_would_take_is_listed_and_the_others_are_done(tmp_path, format_, name):
    good, unusable = split_by_format([["2.jpg", 1, 1], [name, 1, 1]], tmp_path, format_)
    with pytest.raises(ValueError, match="leads out of"):
        inside(tmp_path, name)
    assert [image[0] for image in good] == ["2.jpg"]
    assert [(path, "rename it" in reason) for path, reason in unusable] == [(escaped(name), True)]
