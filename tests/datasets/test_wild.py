"""Official data as people have it: known flaws, files of the system, names of Windows, formats under false endings."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.check.__main__ import main as diagnose
from datasets.collected import Collected
from datasets.files import inside, open_json
from datasets.images import check_picture, read_picture
from datasets.mixture import MixtureOptions, open_mixture
from datasets.reason_seg import load_reason_split
from datasets.refer import load_refer
from datasets.shapes import draw_shapes, parse_shape
from datasets.validation import open_validation
from lisa.image_files import is_junk, list_below, list_folder

CHECKOUT = Path(__file__).parents[2]
APPLE_DOUBLE = b"\0\x05\x16\x07\0\x02\0\0Mac OS X        " + b"\0" * 100
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 8\n%%EndComments\nshowpage\n%%EOF\n"


def problems_of(root: Path, tmp_path: Path) -> tuple[list[dict], list[dict]]:
    """What the doctor calls a problem, and its notes."""
    out = tmp_path / "found.json"
    try:
        diagnose(["--dataset_dir", str(root), "--json", str(out), "--workers", "1"])
    except SystemExit as stop:
        assert stop.code in (0, 1)  # noqa: PT017
    found = json.loads(out.read_text())
    return found["problems"], found["notes"]


def test_refs_without_a_sentence_are_left_out_and_told(refcoco, tmp_path_factory, capsys):
    empty = refcoco.ref | {"ref_id": 71, "sentences": []}
    blank = refcoco.ref | {"ref_id": 72, "sentences": [{"sent": " "}, {"sent": "the roof"}]}
    refcoco.refs += [empty, blank]
    refcoco.write()
    (picture,) = load_refer(refcoco.root, "refcoco", "unc", "train")
    assert [[s.text for s in target.sentences] for target in picture.targets] == [
        ["the left half", "dark side"],
        ["the roof"],
    ]
    assert "1 of the 3 refs of split 'train' have no sentence and are left out (the first is ref 71)" in (
        capsys.readouterr().err
    )
    problems, notes = problems_of(refcoco.root, tmp_path_factory.mktemp("out"))
    assert problems == []
    assert sorted(note["record"] for note in notes if note["kind"] == "sentence") == ["ref 71", "ref 72: sentences[0]"]


def test_files_of_the_system_are_no_data_in_any_official_folder(minidata, tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "tree"
    shutil.copytree(minidata, root, copy_function=shutil.copyfile)
    before = problems_of(root, tmp_path_factory.mktemp("out"))
    for path in [path for path in root.rglob("*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(APPLE_DOUBLE)
    for folder in [path for path in (root, *root.rglob("*")) if path.is_dir()]:
        for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
            (folder / name).write_bytes(b"\0")
        (folder / "__MACOSX").mkdir()
        (folder / "__MACOSX/._a.jpg").write_bytes(APPLE_DOUBLE)
    assert problems_of(root, tmp_path_factory.mktemp("out")) == before
    options = {"dataset": "sem_seg||refer_seg||vqa||reason_seg", "sample_rates": "1,1,1,1"}
    mixtures = [open_mixture(place, MixtureOptions(**options), seed=0) for place in (minidata, root)]
    for index in range(24):
        plain, with_junk = (mixture.sample(0, index) for mixture in mixtures)
        assert plain.image_path.relative_to(minidata) == with_junk.image_path.relative_to(root)


@pytest.mark.parametrize("name", ["._a.jpg", ".DS_Store", "Thumbs.db", "__MACOSX", "desktop.ini", ".hidden", "@eaDir"])
def test_junk_is_told_by_its_name(name):
    assert is_junk(name)
    assert not is_junk(name.strip("._@") + ".jpg")


def test_one_function_lists_folders(tmp_path):
    (tmp_path / "b/deep").mkdir(parents=True)
    for name in ("a.JPG", "b/c.jpg", "b/deep/d.jpeg", "b/._c.jpg", "z.txt"):
        (tmp_path / name).touch()
    (tmp_path / "b/deep/round").symlink_to(tmp_path)
    assert [path.name for path in list_folder(tmp_path, ".jpg")] == ["a.JPG"]
    assert [path.name for path in list_below(tmp_path, ".jpg", ".jpeg")] == ["a.JPG", "c.jpg", "d.jpeg"]
    assert list_folder(tmp_path / "nowhere") == []


def test_no_reader_of_data_lists_a_folder_by_itself():
    for path in [*(CHECKOUT / "datasets").glob("*.py"), *(CHECKOUT / "datasets").glob("[co]*/*.py")]:
        called = {
            n.func.attr
            for n in ast.walk(ast.parse(path.read_text()))
            if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)
        }
        assert not called & {"glob", "rglob", "iterdir", "listdir", "scandir", "walk"}, path


def test_every_image_is_opened_with_a_list_of_formats():
    sources = [p for f in ("lisa", "datasets", "eval", "bench", "sam_bridge") for p in (CHECKOUT / f).rglob("*.py")]
    found = 0
    for path in [*sources, *CHECKOUT.glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Image.open", "PIL.Image.open"):
                found += 1
                assert any(keyword.arg == "formats" for keyword in node.keywords), f"{path}: line {node.lineno}"
    assert found


@pytest.mark.parametrize("ending", [".jpg", ".png", ".eps"])
def test_postscript_starts_no_program(tmp_path, monkeypatch, ending):
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/it_ran\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    path = tmp_path / f"a{ending}"
    path.write_bytes(EPS)
    for read in (read_picture, check_picture):
        with pytest.raises(ValueError, match="cannot be read as a picture \\(no known format\\)"):
            read(path)
    assert not (tmp_path / "it_ran").exists()


def test_a_gif_with_the_ending_of_a_jpeg_is_read(tmp_path):
    """As 19579.jpg of refCLEF is."""
    Image.new("P", (6, 8)).save(tmp_path / "19579.jpg", "GIF")
    assert check_picture(tmp_path / "19579.jpg").size == (8, 6)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_images_of_any_mode_are_read_as_rgb(tmp_path, mode):
    kind = {"CMYK": "jpg", "YCbCr": "jpg", "PA": "tif"}.get(mode, "png")
    image = Image.new(mode, (6, 8))
    if mode == "PA":
        image = image.convert("RGBA")
    image.save(tmp_path / f"a.{kind}")
    assert read_picture(tmp_path / f"a.{kind}").pixels.shape == (8, 6, 3)


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "bmp", "tif", "gif"])
def test_a_file_that_was_cut_off_is_told_before_training(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 48, 3), dtype=np.uint8)).save(path)
    assert check_picture(path).size == (64, 48)
    path.write_bytes(path.read_bytes()[: -path.stat().st_size // 3])
    with pytest.raises(ValueError, match=rf"a\.{kind}: cannot be read as a picture"):
        check_picture(path)


def test_a_damaged_exif_block_is_passed_over(tmp_path):
    Image.new("RGB", (6, 8)).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + b"no tiff at all")
    assert read_picture(tmp_path / "a.jpg").size == (8, 6)


@pytest.mark.parametrize(
    ("written", "there"),
    [
        ("images\\cow.png", "images/cow.png"),
        ("images\\cow.png", "images\\cow.png"),  # as written comes first
        ("caf\u00e9.jpg", "cafe\u0301.jpg"),
        ("a b\\cafe\u0301.jpg", "a b/caf\u00e9.jpg"),
    ],
)
def test_a_name_of_another_system_finds_its_file(tmp_path, written, there):
    (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / there).touch()
    assert inside(tmp_path, written) == tmp_path / there


@pytest.mark.parametrize("name", ["..\\a.jpg", "b\\..\\..\\a.jpg", "\\\\host\\a.jpg", "C:\\a.jpg", "b/..\\..\\a.jpg"])
def test_backslashes_lead_nowhere_out(tmp_path, name):
    with pytest.raises(ValueError, match="leads out of"):
        inside(tmp_path / "data", name)


def test_backslashes_in_official_records(refcoco, tmp_path_factory):
    (refcoco.image.parent / "sub").mkdir()
    refcoco.image.rename(refcoco.image.parent / "sub/a.jpg")
    refcoco.picture["file_name"] = "sub\\a.jpg"
    refcoco.write()
    (picture,) = load_refer(refcoco.root, "refcoco", "unc", "train")
    assert picture.path == refcoco.image.parent / "sub/a.jpg"
    assert problems_of(refcoco.root, tmp_path_factory.mktemp("out"))[0] == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_json_of_windows_is_read(tmp_path, encoding):
    (tmp_path / "a.json").write_bytes('{"text":\r\n "café"}\r\n'.encode(encoding))
    assert open_json(tmp_path / "a.json") == {"text": "café"}


BOX = [[1, 2], [4, 6]]


@pytest.mark.parametrize(
    ("shape", "pixels"),
    [
        ({"shape_type": "rectangle", "points": BOX}, 4 * 5),
        ({"shape_type": "rectangle", "points": [[1, 2], [4, 2], [4, 6], [1, 6]]}, 4 * 5),
        ({"shape_type": "polygon", "points": [[1, 2], [4, 2], [4, 6], [1, 6]]}, 4 * 5),
        ({"points": BOX}, 6),  # no type: a polygon, here a line, as the official masks have it
        ({"shape_type": "circle", "points": [[3, 3], [3, 4]]}, 5),
    ],
)
def test_a_reasoning_shape_is_what_its_type_says(reason_seg, tmp_path_factory, shape, pixels):
    reason_seg.record["shapes"] = [{"label": "target", **shape}]
    reason_seg.write()
    sample = open_validation(reason_seg.root, "ReasonSeg|train").sample(0)
    assert sample.masks.sum() == pytest.approx(pixels, abs=4 if shape.get("shape_type") == "circle" else 0)
    problems, notes = problems_of(reason_seg.root, tmp_path_factory.mktemp("out"))
    assert problems == []
    assert any(note["kind"] == "line" for note in notes) == ("shape_type" not in shape)


def test_all_wrong_shapes_of_a_split_are_told_at_once(reason_seg, tmp_path_factory):
    reason_seg.record["shapes"] = [
        {"label": "target", "shape_type": "cuboid", "points": BOX},
        {"label": "target", "shape_type": "rectangle", "points": [[1, 2]]},
    ]
    reason_seg.write()
    shutil.copy(reason_seg.split / "a.jpg", reason_seg.split / "b.jpg")
    with pytest.raises(
        ValueError, match=r"(?s)shapes\[0\]: a shape of type 'cuboid' .*shapes\[1\]: .*b\.jpg: there is no"
    ):
        load_reason_split(reason_seg.folder, "train")
    assert problems_of(reason_seg.root, tmp_path_factory.mktemp("out"))[0]


@pytest.mark.parametrize(
    ("kind", "points", "rows"),
    [
        ("point", [[7, 7]], 11),
        ("line", [[2, 7], [12, 7]], 10),
        ("linestrip", [[2, 7], [7, 7], [12, 7]], 10),
        ("circle", [[7, 7], [7, 10]], 7),
        ("oriented_rectangle", [[7, 2], [12, 7], [7, 12], [2, 7]], 11),
        ("rotation", [[7, 2], [12, 7], [7, 12], [2, 7]], 11),
        ("rectangle", [[12, 10], [2, 4]], 7),
    ],
)
def test_shapes_are_as_wide_as_labelme_draws_them(kind, points, rows):
    """LabelMe: points have a radius of 5, lines a width of 10, and every border is drawn."""
    shape = parse_shape({"shape_type": kind, "points": points}, (16, 16), "x")
    assert draw_shapes([shape], 16, 16).any(axis=1).sum() == pytest.approx(rows, abs=1 if "line" in kind else 0)


def test_problems_beyond_the_first_fifty_are_counted():
    problems = Collected()
    for number in range(60):
        with problems.guard(f"record {number}"):
            raise ValueError("is wrong; mend it")
    with pytest.raises(ValueError, match=r"(?s)my\.json: 60 problems.*record 49: is wrong.*\.\.\. and 10 more"):
        problems.refuse("my.json")
