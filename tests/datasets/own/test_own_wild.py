"""Own data as tools and systems leave it."""

from __future__ import annotations

import base64
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from datasets.own.__main__ import main as read_own
from datasets.validation import open_validation

APPLE_DOUBLE = b"\0\x05\x16\x07\0\x02\0\0Mac OS X        " + b"\0" * 100
QUESTION = "Please segment the boats in this image."
BOX = [[1, 2], [4, 2], [4, 6], [1, 6]]
FLAT = [coordinate for point in BOX for coordinate in point]


def png(size: tuple[int, int] = (6, 8), mode: str = "RGB", kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind)
    return file.getvalue()


def write(path: Path, data: bytes | str | dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = json.dumps(data) if isinstance(data, dict) else data
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def labelme(image: str | None, label: str = "boat", **more: object) -> dict:
    shape = {"label": label, "points": BOX, "shape_type": "polygon", "flags": {}, "group_id": None}
    size = {"imageHeight": 8, "imageWidth": 6}
    return {"version": "5.5.0", "flags": {}, "shapes": [shape], "imagePath": image, "imageData": None} | size | more


def coco(*segmentations: object, file_name: str = "a.png") -> dict:
    return {
        "images": [{"id": 1, "file_name": file_name, "height": 8, "width": 6}],
        "categories": [{"id": 1, "name": "cow"}],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": 1, "segmentation": segmentation}
            for number, segmentation in enumerate(segmentations, start=1)
        ],
    }


def line(image: str, mask: object) -> str:
    return json.dumps({"image": image, "question": "Where?", "answer": "[SEG].", "masks": [mask]}) + "\n"


def with_junk(folder: Path) -> Path:
    """What Macs and Windows add to a folder that is packed or looked at."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(APPLE_DOUBLE)
    for name in (".DS_Store", "Thumbs.db", "__MACOSX/._a.json", "__MACOSX/._a.jpg"):
        write(folder / name, APPLE_DOUBLE)
    return folder


@pytest.mark.parametrize("kind", ["pairs", "labelme", "nested labelme"])
def test_files_of_the_system_are_no_data(tmp_path, draw, kind):
    if kind == "pairs":
        write(tmp_path / "d/images/a.png", png())
        write(tmp_path / "d/masks/a.png", png(mode="L"))
    else:
        place = tmp_path / "d" / ("deep" if "nested" in kind else "")
        write(place / "a.png", png())
        write(place / "a.json", labelme("a.png"))
    assert [sample.image_path.name for sample in draw(with_junk(tmp_path / "d"))] == ["a.png"]


@pytest.mark.parametrize("kind", ["coco", "jsonl", "labelme"])
def test_backslashes_in_names_are_read_by_every_reader(tmp_path, draw, kind):
    write(tmp_path / "images/sub/a.png", png())
    write(tmp_path / "drawn/a.png", png(mode="L"))
    name = "images\\sub\\a.png"
    source = {
        "coco": lambda: write(tmp_path / "d.json", coco([FLAT], file_name=name)),
        "jsonl": lambda: write(tmp_path / "d.jsonl", line(name, "drawn\\a.png")),
        "labelme": lambda: write(tmp_path / "a.json", labelme(name)).parent,
    }[kind]()
    (sample,) = draw(source)
    assert sample.image_path == tmp_path / "images/sub/a.png"


@pytest.mark.parametrize(
    ("segmentation", "mend"),
    [
        ([FLAT, [3, 4]], r"part 2 of 2: a polygon of 1 point has no area; remove this part, the others may stay"),
        ([[1, 1, 2, 2]], "a polygon of 2 points has no area; outline the thing with 3 points or more, or remove"),
        ([], "the segmentation is empty, .*outline the instance or remove the annotation"),
        (FLAT, r"one flat list of 8 numbers; .*one more pair of brackets around it: \[\[x, y"),
        (BOX, r"a list of 4 points \[x, y\]; write them one after the other"),
        ([[1, 1, 2, 2, float("nan"), 3]], "not a finite number"),
        (None, "the segmentation is empty, .*outline the instance or remove the annotation"),
    ],
)
def test_every_wrong_segmentation_of_a_file_is_told_with_its_mend(tmp_path, draw, capsys, segmentation, mend):
    write(tmp_path / "a.png", png())
    source = write(tmp_path / "d.json", coco([FLAT], segmentation, [[9]]))
    with pytest.raises(ValueError, match=rf"(?s)2 problems.*annotation 2: .*{mend}.*annotation 3: ") as error:
        draw(source)
    assert "annotation 1" not in str(error.value)
    assert read_own([str(source)]) == 1
    assert "annotation 3" in capsys.readouterr().err


def test_all_problems_of_every_format_are_told_at_once(tmp_path, draw):
    write(tmp_path / "a.png", png())
    lines = line("a.png", FLAT) + line("b.png", FLAT) + line("a.png", [[1, 1]]) + "{\n" + line("a.png", FLAT)
    with pytest.raises(
        ValueError, match=r"(?s)3 problems.*line 2: .*no such picture.*line 3: .*line 4: not valid JSON"
    ):
        draw(write(tmp_path / "d.jsonl", lines))
    both = json.dumps({"image": "a.png", "question": " ", "answer": "[SEG]", "masks": [[1, 1]], "type": 3})
    with pytest.raises(ValueError, match=r"(?s)text is empty.*field 'type' is 3.*masks\[0\]"):
        draw(write(tmp_path / "e.jsonl", both))
    shapes = [{"label": "x", "shape_type": "cuboid", "points": BOX}, {"label": " ", "points": BOX}]
    write(tmp_path / "l/a.json", labelme("../a.png", shapes=shapes))
    write(tmp_path / "l/b.json", "{")
    with pytest.raises(ValueError, match=r"(?s)shapes\[0\]: .*'cuboid' is not known.*shapes\[1\].*b\.json: not valid"):
        draw(f"{tmp_path / 'l'}|{tmp_path}")
    for name in ("a", "b", "c"):
        write(tmp_path / f"p/images/{name}.png", png())
    write(tmp_path / "p/masks/a.png", png((5, 5), "L"))
    with pytest.raises(ValueError, match=r"(?s)3 problems.*b\.png: has no counterpart.*c\.png: has no.*5 x 5 pixels"):
        draw(tmp_path / "p")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
@pytest.mark.parametrize("path", [None, "", "gone.png", "C:\\Users\\me\\a.png"])
def test_an_image_in_the_json_file_is_read(tmp_path, draw, kind, path):
    data = base64.b64encode(png(kind=kind)).decode()
    write(tmp_path / "a.json", labelme(path, imageData=data))
    (sample,) = draw(tmp_path)
    assert sample.image.shape == (8, 6, 3)
    assert sample.masks.sum() == 20
    assert len(open_validation(tmp_path, f"own|{tmp_path}")) == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("%%%", "imageData is no base64"),
        (base64.b64encode(b"%!PS-Adobe-3.0 EPSF-3.0\n").decode(), "cannot be read as a picture .no known format"),
        (base64.b64encode(png()[:-30]).decode(), "cannot be read as a picture"),
        (base64.b64encode(png((7, 8))).decode(), "the file is for 6 x 8 pixels"),
        (7, "field 'imageData' is 7"),
    ],
)
def test_wrong_image_data_is_told(tmp_path, draw, data, message):
    write(tmp_path / "a.json", labelme("gone.png", imageData=data))
    with pytest.raises(ValueError, match=rf"a\.json: (?s:.*){message}"):
        draw(tmp_path)


def nested(root: Path) -> list[str]:
    """Four images below root/photos, two of one name."""
    names = ["top.png", "cam1/a.png", "cam2/a.png", "cam2/deep/b.png"]
    for name in names:
        write(root / "photos" / name, png())
    return names


@pytest.mark.parametrize("out", ["photos", "out", "data/labels"])
def test_labels_of_nested_folders_find_their_images(tmp_path, draw, out):
    names = nested(tmp_path)
    for name in names:
        path = tmp_path / out / Path(name).with_suffix(".json")
        write(path, labelme(os.path.relpath(tmp_path / "photos" / name, path.parent), QUESTION))
    source = tmp_path / out if out == "photos" else f"{tmp_path / out}|{tmp_path / 'photos'}"
    samples = draw(source)
    assert {sample.image_path.relative_to(tmp_path / "photos").as_posix() for sample in samples} == set(names)
    assert len({sample.image_id for sample in samples}) == 4
    assert all(sample.masks.sum() == 20 for sample in samples)
    if out != "photos":
        with pytest.raises(ValueError, match=r"leads out of .*name the folder of the pictures"):
            draw(tmp_path / out)
    else:
        assert len(draw(tmp_path)) == 4


def test_of_two_images_of_one_name_the_one_that_is_named_is_taken(tmp_path, draw):
    nested(tmp_path)
    write(tmp_path / "photos/a.png", png())
    write(tmp_path / "labels/x.json", labelme("..\\..\\elsewhere\\photos\\cam1\\a.png"))
    (sample,) = draw(f"{tmp_path / 'labels'}|{tmp_path / 'photos'}")
    assert sample.image_path == tmp_path / "photos/cam1/a.png"


@pytest.mark.parametrize(
    ("label", "whole"),
    [
        (QUESTION, True),
        ("What keeps the rain off?", True),
        ("where are the boats", True),
        ("\u732b\u306f\u3069\u3053\u3067\u3059\u304b\uff1f", True),
        ("boat", False),
        ("Dr.", False),
        ("the boat on the left", False),
        ("can opener", False),
    ],
)
def test_a_label_that_is_a_whole_question_is_asked_as_it_stands(tmp_path, draw, label, whole):
    write(tmp_path / "a.png", png())
    write(tmp_path / "l/a.json", labelme("../a.png", label))
    content = coco([FLAT])
    content["categories"][0]["name"] = label
    sources = (f"{tmp_path / 'l'}|{tmp_path}", write(tmp_path / "d.json", content))
    for source in sources:
        (sample,) = draw(source)
        asked = sample.conversations[0].turns[0].text
        assert (asked == f"<image>\n{label}") == whole
        assert label.lower() in asked.lower()
        assert sample.names == ("" if whole else label,)
        checked = open_validation(tmp_path, f"own|{source}").sample(0).conversations[0].turns[0].text
        assert (checked == f"<image>\n{label}") == whole


def test_masks_come_back_pixel_for_pixel_in_every_format(tmp_path, draw):
    """As `lisa annotate` writes them: run-length codes, boxes of a PNG in base64, PNG files; into another folder."""
    names = nested(tmp_path)
    masks = np.random.default_rng(0).random((4, 8, 6)) < 0.5
    codes, records = [], coco(*[[]] * 4)
    for mask in masks:
        code = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
        codes.append({"size": code["size"], "counts": code["counts"].decode()})
    records["images"] = [{"id": i, "file_name": n, "height": 8, "width": 6} for i, n in enumerate(names, 1)]
    for number, (annotation, code) in enumerate(zip(records["annotations"], codes, strict=True), start=1):
        annotation |= {"image_id": number, "segmentation": code}
    out, photos = tmp_path / "out", tmp_path / "photos"
    write(out / "c/annotations.json", records)
    write(out / "j/annotations.jsonl", "".join(map(line, names, codes)))
    for name, mask in zip(names, masks, strict=True):
        file = io.BytesIO()
        Image.fromarray(mask.astype(np.uint8) * 255).save(file, "PNG")
        write(out / f"p/masks/{name}/001_01.png", file.getvalue())
        text = base64.b64encode(file.getvalue()).decode()
        shape = {"label": "boat", "points": [[0, 0], [5, 7]], "shape_type": "mask", "mask": text}
        path = out / "l" / Path(name).with_suffix(".json")
        write(path, labelme(os.path.relpath(photos / name, path.parent), shapes=[shape]))
    write(out / "p/annotations.jsonl", "".join(line(name, f"masks/{name}/001_01.png") for name in names))
    for source in ("c/annotations.json", "j/annotations.jsonl", "l", "p/annotations.jsonl"):
        found = {s.image_path.relative_to(photos).as_posix(): s.masks for s in draw(f"{out / source}|{photos}")}
        assert found.keys() == set(names), source
        for name, mask in zip(names, masks, strict=True):
            np.testing.assert_array_equal(found[name], mask[None])


@pytest.mark.parametrize("name", ["a b.JPG", "caf\u00e9.PNG", "\u732b.jpeg", "x.jfif", "x.GIF", "x.avif"])
def test_names_and_endings_of_every_kind_are_read(tmp_path, draw, name):
    kind = {".gif": "GIF", ".png": "PNG", ".avif": "AVIF"}.get(Path(name).suffix.lower(), "JPEG")
    if kind not in Image.registered_extensions().values():
        kind = "PNG"
    write(tmp_path / "d/images" / name, png(kind=kind))
    write(tmp_path / "d/masks" / Path(name).with_suffix(".PNG"), png(mode="L"))
    assert draw(tmp_path / "d")[0].image.shape == (8, 6, 3)


def test_an_accent_that_a_mac_took_apart_still_pairs(tmp_path, draw):
    write(tmp_path / "d/images/cafe\u0301.png", png())
    write(tmp_path / "d/masks/caf\u00e9.png", png(mode="L"))
    write(tmp_path / "d/labels.txt", "rust\r\ndent\r\n\r\n")
    assert len(draw(tmp_path / "d")) == 1
