"""Folders of pictures and masks; and which format a path is taken for."""

from __future__ import annotations

import json

import numpy as np
import pytest

from datasets.mixture import MixtureOptions, open_mixture
from datasets.validation import open_validation

LABELS = np.repeat(np.array([[0, 1, 1, 2, 255, 0]], np.uint8), 8, axis=0)


@pytest.fixture
def folder(tmp_path, save_picture, save_mask):
    """solar_panel/ with a.jpg and its label map."""
    root = tmp_path / "solar_panel"
    save_picture(root / "images/a.jpg", np.zeros((8, 6, 3), np.uint8))
    save_mask(root / "masks/a.png", LABELS)
    return root


def test_without_classes_the_folder_s_name_is_asked_for(folder, draw, rows):
    (sample,) = draw(folder)
    assert sample.names == ("solar panel",)
    assert "solar panel" in sample.conversations[0].turns[0].text
    assert rows(sample.masks[0]) == [".xxxx."] * 8
    assert not sample.ignore.any()


@pytest.mark.parametrize("name", ["classes.json", "labels.txt"])
def test_with_classes_the_mask_is_a_label_map(folder, draw, rows, name):
    text = json.dumps({"1": "rust", "2": "dent", "3": "crack"}) if name.endswith("json") else "rust\ndent\ncrack\n"
    (folder / name).write_text(text)
    (sample,) = draw(folder)
    masks = dict(zip(sample.names, map(rows, sample.masks), strict=True))
    assert masks == {"rust": [".xx..."] * 8, "dent": ["...x.."] * 8}
    assert rows(sample.ignore) == ["....x."] * 8


def test_classes_may_name_0_and_255_and_share_a_name(folder, draw, rows):
    (folder / "classes.json").write_text(json.dumps({"0": "wall", "1": "fault", "2": "fault", "255": "label"}))
    (sample,) = draw(folder)
    masks = dict(zip(sample.names, map(rows, sample.masks), strict=True))
    assert masks == {"wall": ["x....x"] * 8, "fault": [".xxx.."] * 8, "label": ["....x."] * 8}
    assert not sample.ignore.any()


def test_where_no_class_is_there_all_are_asked_for_with_empty_masks(folder, save_mask, draw):
    (folder / "labels.txt").write_text("rust\ndent\n")
    save_mask(folder / "masks/a.png", np.zeros((8, 6), np.uint8))
    (sample,) = draw(folder)
    assert sorted(sample.names) == ["dent", "rust"]
    assert not sample.masks.any()
    assert open_validation(folder, f"own|{folder}").num_samples == 2


def test_masks_and_pictures_may_lie_in_two_folders(folder, draw):
    (folder / "masks").rename(folder / "rust")
    (folder / "images").rename(folder / "photos")
    (sample,) = draw(f"{folder / 'rust'}|{folder / 'photos'}")
    assert sample.names == ("rust",)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("classes.json", '{"1": "rust"}', r"a\.png: holds the value 2, which no class has; known: \[1\]"),
        ("classes.json", "[]", "must be like"),
        ("classes.json", "{}", "names no class"),
        ("classes.json", '{"one": "rust"}', "'one': 'rust' is not a pixel value and a name"),
        ("classes.json", '{"1": 1}', "is not a pixel value and a name"),
        ("classes.json", '{"1": ""}', "class 1: the text is empty"),
        ("labels.txt", "rust\n\ndent", "line 2: the text is empty"),
    ],
)
def test_wrong_classes_are_refused(folder, draw, name, text, message):
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        draw(folder)


def test_two_class_files_are_refused(folder, draw):
    (folder / "labels.txt").write_text("rust\n")
    (folder / "classes.json").write_text('{"1": "rust"}')
    with pytest.raises(ValueError, match=r"has both classes\.json and labels\.txt; remove one"):
        draw(folder)


def test_labels_in_a_file_that_is_no_text_are_refused(folder, draw):
    (folder / "labels.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match=r"labels\.txt: 'utf-8' codec"):
        draw(folder)


def test_a_coloured_label_map_is_refused(folder, save_mask, draw):
    (folder / "labels.txt").write_text("rust\n")
    save_mask(folder / "masks/a.png", np.zeros((8, 6, 3), np.uint8))
    with pytest.raises(ValueError, match=r"a\.png: pixels of mode RGB are ambiguous"):
        draw(folder)


def test_files_without_counterpart_of_another_size_or_kind_are_refused(folder, save_picture, save_mask, draw):
    extra = save_picture(folder / "images/b.jpg", np.zeros((8, 6, 3), np.uint8))
    with pytest.raises(FileNotFoundError, match=r"b\.jpg: has no counterpart in .*masks \(2 pictures, 1 masks\)"):
        draw(folder)
    mask = save_mask(folder / "masks/b.png", np.zeros((8, 7), np.uint8))
    with pytest.raises(ValueError, match=r"b\.png is for 7 x 8 pixels .*has 6 x 8"):
        draw(folder)
    mask.rename(folder / "masks/b.jpg")
    with pytest.raises(ValueError, match=r"b\.jpg: a mask is a PNG file"):
        draw(folder)
    extra.rename(folder / "images/a.jpeg")
    with pytest.raises(ValueError, match=r"a\.jpg: there is also a\.jpeg"):
        draw(folder)
    for path in (folder / "images").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="holds no picture"):
        draw(folder)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "--own_data is empty: give a path"),
        ("nowhere.jsonl", r"nowhere\.jsonl: not found \(looked for from (.|\n)*FILE\.jsonl"),
        ("notes.txt", r"notes\.txt: files of this kind are not read. Own data is one of(.|\n)*LabelMe"),
        ("empty", "empty: holds neither LabelMe json files nor images/ and masks/"),
        ("notes.txt|nowhere", "nowhere: not a folder"),
    ],
)
def test_a_path_that_is_none_of_the_formats_is_refused_with_all_of_them(tmp_path, monkeypatch, draw, source, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        draw(source)


def test_own_data_is_mixed_with_the_official_families(refcoco, folder):
    names = {"refer_seg_data": "refcoco", "own_data": f"{folder}||{folder}"}
    mixed = MixtureOptions(dataset="refer_seg||own", sample_rates="1,1", **names)
    mixture = open_mixture(refcoco.root, mixed, seed=0)
    assert {mixture.sample(0, i).data for i in range(20)} == {"refcoco|unc|train", f"own|{folder}"}


def test_one_family_needs_no_rates(folder):
    mixture = open_mixture(folder, MixtureOptions(dataset="own", own_data=str(folder)), seed=0)
    assert mixture.sample(0, 0).names == ("solar panel",)


def test_several_sources_may_each_name_their_pictures(folder):
    source = f"{folder / 'masks'}|{folder / 'images'}"
    assert open_validation(folder, f"own|{source}").spec == f"own|{source}"
    options = MixtureOptions(dataset="own", own_data=f"{source}||{folder}")
    mixture = open_mixture(folder, options, seed=0)
    assert {mixture.sample(0, i).data for i in range(20)} == {f"own|{source}", f"own|{folder}"}
