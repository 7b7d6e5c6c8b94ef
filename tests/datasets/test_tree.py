"""Where the folders of a tree are, and indexes over its files."""

import json
import os
import pickle
from pathlib import Path

import pytest

from datasets.index import RecordIndex
from datasets.mixture import MixtureOptions, open_mixture
from datasets.tree import Tree
from datasets.validation import open_validation


def test_a_folder_that_was_moved_is_found_with_all_below_it(tmp_path):
    tree = Tree.at(Path("root"), f"coco={tmp_path}||vlpart/paco={tmp_path}", None)
    assert tree / "coco/train2017" == tmp_path / "train2017"
    assert tree / "coco" == tmp_path
    assert tree / "vlpart/paco/annotations" == tmp_path / "annotations"
    assert tree / "vlpart/pascal_part" == Path("root/vlpart/pascal_part")
    assert tree / "cocostuff/train2017" == Path("root/cocostuff/train2017")


@pytest.mark.parametrize("elsewhere", ["coco", "=x", "coco="])
def test_a_place_that_is_not_said_is_refused(elsewhere):
    with pytest.raises(ValueError, match="must be like"):
        Tree.at(Path("root"), elsewhere, None)


def test_a_place_that_is_not_there_is_refused_and_so_is_a_second_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="coco is at /nowhere, but there is nothing"):
        Tree.at(Path("root"), "coco=/nowhere", None)
    with pytest.raises(ValueError, match="names coco twice"):
        Tree.at(Path("root"), f"coco={tmp_path}||coco={tmp_path}", None)


def test_training_and_validation_read_from_the_place_that_is_said(minidata, tmp_path):
    (tmp_path / "root").mkdir()
    moved = "||".join(f"{folder.name}={folder}" for folder in minidata.iterdir())
    tree = Tree.at(tmp_path / "root", moved, None)
    assert open_mixture(tree, MixtureOptions(), seed=0).sample(0, 0).image_path.is_relative_to(minidata)
    assert len(open_validation(tree, "refcoco|unc|val")) == 1


RECORDS = [{"name": "a", "sizes": [1, 2]}, {"name": "é", "sizes": []}, {"name": "", "sizes": [3]}]


@pytest.fixture(params=[True, False], ids=["on disk", "in memory"])
def tree(request, tmp_path):
    return Tree(root=tmp_path, index_dir=tmp_path / "index" if request.param else None)


def make(tree, build=lambda: RECORDS, **choices) -> RecordIndex:
    source = tree.root / "source.json"
    if not source.exists():
        source.write_text("1")
    return tree.index("set", [source], build, {"name": lambda record: record["name"]}, **choices)


def test_records_come_back_as_they_were(tree):
    index = make(tree)
    assert len(index) == 3
    assert list(index) == index[:] == RECORDS
    assert index[-1] == RECORDS[-1]
    assert index.columns["name"].tolist() == ["a", "é", ""]
    with pytest.raises(IndexError):
        index[3]


def test_an_index_without_records_is_empty(tree):
    assert list(make(tree, build=list)) == []


def test_an_index_survives_the_way_to_a_worker(tree):
    assert list(pickle.loads(pickle.dumps(make(tree)))) == RECORDS


def refuse():
    raise AssertionError("built again")


def test_a_second_opening_builds_nothing_until_the_file_or_the_choice_changes(tmp_path):
    tree = Tree(root=tmp_path, index_dir=tmp_path / "index")
    make(tree)
    assert list(make(tree, refuse)) == RECORDS
    with pytest.raises(AssertionError, match="built again"):
        make(tree, refuse, split="val")
    source = tmp_path / "source.json"
    os.utime(source, ns=(0, source.stat().st_mtime_ns + 1))
    with pytest.raises(AssertionError, match="built again"):
        make(tree, refuse)
    assert len(list((tmp_path / "index").iterdir())) == 1  # what was broken off left nothing


def test_what_another_process_wrote_meanwhile_is_kept(tmp_path):
    index = RecordIndex.of(RECORDS, {})
    index.save(tmp_path / "index/x")
    index.save(tmp_path / "index/x")
    assert [path.name for path in (tmp_path / "index").iterdir()] == ["x"]


def test_a_damaged_index_is_refused_with_the_mend(tmp_path):
    tree = Tree(root=tmp_path, index_dir=tmp_path / "index")
    make(tree)
    (folder,) = (tmp_path / "index").iterdir()
    (folder / "records.bin").write_bytes(json.dumps(RECORDS[0]).encode())
    with pytest.raises(ValueError, match="delete this folder"):
        make(tree)
