"""The doctor on healthy trees, its counts, its command line and its pictures."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.progress import Progress

from datasets.check import doctor
from datasets.check.__main__ import main
from datasets.check.problems import Problems
from datasets.check.shelf import Exhibit, Shelf, nothing
from datasets.check.tables import area
from datasets.check.work import Workers
from datasets.images import ends_well
from datasets.masks import parse_segmentation, segmentation_mask

REFS = "refer_seg/refcoco/refs(unc).p"
INSTANCES = "refer_seg/refcoco/instances.json"


def test_a_rendered_world_has_no_problem(world, diagnose):
    verdict = diagnose(world)
    assert verdict.problems == []
    assert verdict.notes == []
    assert verdict.code == 0
    assert verdict.rows["refcoco|unc|train"]["images"] == 32
    assert "no problem found" in verdict.printed


def test_the_official_formats_have_no_problem(minidata, diagnose):
    verdict = diagnose(minidata)
    assert verdict.problems == []
    assert verdict.code == 0
    assert {row.split("|")[0] for row in verdict.rows} == {
        "ade20k", "cocostuff", "mapillary", "paco_lvis", "pascal_part", "refclef", "refcoco", "refcoco+", "refcocog",
        "grefcoco", "llava_instruct_150k", "ReasonSeg",
    }  # fmt: skip


def test_counts_of_the_miniature_tree(minidata, diagnose):
    rows = diagnose(minidata).rows
    train = rows["refcoco|unc|train"]
    assert (train["images"], train["samples"], train["sentences"], train["empty"]) == (3, 6, 14, 1)
    assert rows["grefcoco|unc|train"]["no_target"] == 2
    assert rows["grefcoco|unc|train"]["masks"] == 6
    assert rows["ReasonSeg|train"]["sentences"] == 7
    assert rows["ReasonSeg|val"]["empty"] == 1  # a json without shapes
    assert rows["llava_instruct_150k"]["sentences"] == 5


def test_areas_are_those_of_the_label_maps(minidata, diagnose):
    shares, ignored = [], []
    for path in (minidata / "ade20k/annotations/training").glob("*.png"):
        ids = np.array(Image.open(path))
        shares += [(ids == value).mean() for value in np.unique(ids) if value]
        ignored.append((ids == 0).mean())
    row = diagnose(minidata, "--data", "ade20k").rows["ade20k|training"]
    assert row["masks"] == len(shares)
    assert row["mean_area"] == pytest.approx(np.mean(shares))
    assert row["ignore_share"] == pytest.approx(np.mean(ignored))


def test_the_area_of_parts_is_that_of_the_drawn_mask(minidata):
    for source in minidata.glob("refer_seg/*/instances.json"):
        content = json.loads(source.read_text())
        sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
        for annotation in content["annotations"]:
            size = sizes[annotation["image_id"]]
            drawn = segmentation_mask(annotation["segmentation"], *size).sum()
            assert area(parse_segmentation(annotation["segmentation"], *size), *size) == drawn


def test_several_processes_find_the_same(tree, diagnose):
    tree.edit_json(INSTANCES, lambda c: c["annotations"].append(c["annotations"][0]))
    alone, together = diagnose(tree.root), diagnose(tree.root, "--workers", "2")
    assert alone.problems == together.problems
    assert alone.rows == together.rows


def test_a_file_in_cp1252_and_pictures_shared_with_another_dataset_are_notes(minidata, diagnose):
    verdict = diagnose(minidata)
    (encoding,) = (note for note in verdict.notes if note["kind"] == "encoding")
    assert encoding["file"].endswith("1003_ccc_o.json")
    shared = [note for note in verdict.notes if note["kind"] == "shared pictures"]
    assert any(note["record"] == "refcocog|umd|val" and "refcoco|unc|train" in note["what"] for note in shared)


def test_the_google_split_shares_pictures_by_design(tree, diagnose):
    google = (tree / "refer_seg/refcocog/refs(umd).p").read_bytes()
    (tree / "refer_seg/refcocog/refs(google).p").write_bytes(google)

    def share(refs):
        refs.append(next(ref for ref in refs if ref["split"] == "val") | {"ref_id": 99, "split": "train"})

    tree.edit_refs("refer_seg/refcocog/refs(google).p", share)
    verdict = diagnose(tree.root, "--data", "refcocog|google")
    assert verdict.code == 0
    assert list(verdict.rows) == ["refcocog|google|train", "refcocog|google|val", "refcocog|google|test"]
    assert any(note["record"] == "val" and "by design" not in note["mend"] for note in verdict.notes)


def test_only_what_is_asked_for_is_looked_at(tree, diagnose):
    tree.edit_json(INSTANCES, lambda c: c["annotations"].append(c["annotations"][0]))
    verdict = diagnose(tree.root, "--data", "ade20k,refcoco+|unc|val")
    assert verdict.code == 0
    assert list(verdict.rows) == ["ade20k|training", "refcoco+|unc|val"]


def test_a_dataset_or_split_that_was_asked_for_but_is_not_there_is_a_problem(tree, diagnose):
    for folder in ("cocostuff", "mapillary", "vlpart", "refer_seg/refcoco+"):
        shutil.rmtree(tree.root / folder)
    for name in ("cocostuff", "mapillary", "paco_lvis", "pascal_part", "refcoco+", "refcoco|unc|test7"):
        verdict = diagnose(tree.root, "--data", name)
        assert verdict.code == 1, name
        assert {problem["kind"] for problem in verdict.problems} == {"layout"}


def test_a_folder_may_lie_elsewhere(tree, tmp_path_factory, diagnose):
    place = tmp_path_factory.mktemp("other") / "pictures"
    (tree.root / "coco/train2017").rename(place)
    assert diagnose(tree.root, "--data", "paco_lvis").code == 1
    assert diagnose(tree.root, "--data", "paco_lvis,cocostuff", "--elsewhere", f"coco/train2017={place}").code == 0


def test_many_problems_of_a_kind_are_counted_and_all_are_printed_on_request(tree, diagnose):
    def spoil(refs):
        for ref in refs:
            ref["sentences"] = [{"sent": 7}]

    tree.edit_refs(REFS, spoil)
    few, every = (diagnose(tree.root, "--data", "refcoco", *flags).printed for flags in ([], ["--all"]))
    assert few.count("field 'sent' is 7") == 5
    assert "and 5 more of this kind" in few
    assert every.count("field 'sent' is 7") == 10


def test_damage_in_the_middle_of_a_picture_needs_a_thorough_look(tree, diagnose):
    path = tree / "mapillary/training/images/Zq99.jpg"
    data = bytearray(path.read_bytes())
    table = data.index(b"\xff\xc4") + 5  # of Huffman codes
    data[table : table + 16] = b"\xff" * 16
    path.write_bytes(data)
    assert diagnose(tree.root, "--data", "mapillary").code == 0
    (problem,) = diagnose(tree.root, "--data", "mapillary", "--thorough").problems
    assert problem["file"] == str(path)


def test_a_padded_jpeg_ends_well(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("RGB", (8, 8)).save(path)
    path.write_bytes(path.read_bytes() + b"\0\0")
    assert ends_well(path)
    path.write_bytes(path.read_bytes()[:-9])
    assert not ends_well(path)


def test_an_unexpected_error_becomes_a_problem_of_its_record(tmp_path):
    problems = Problems(dataset="d")
    with problems.guard("ref", tmp_path, "ref 7"):
        raise KeyError("surprise")
    (problem,) = problems.found
    assert (problem.kind, problem.record) == ("unexpected", "ref 7")
    assert "KeyError" in problem.what


def test_a_check_that_breaks_down_does_not_stop_the_others(minidata, diagnose, monkeypatch):
    def broken(visit):
        raise RuntimeError("no memory")

    monkeypatch.setitem(doctor._FIXED, "ade20k", ("ade20k", broken))
    verdict = diagnose(minidata)
    (problem,) = verdict.problems
    assert (problem["kind"], problem["record"]) == ("unexpected", "ade20k")
    assert "ReasonSeg|val" in verdict.rows


@pytest.mark.parametrize(
    "flags",
    [
        ["--dataset_dir", "nowhere"],
        ["--dataset_dir", "."],
        ["--data", "imagenet"],
        ["--workers", "0"],
        ["--fix-all"],
        ["--fix-none", "--json", "{root}/out.json"],
        ["--pictures", "nowhere/out.png"],
    ],
)
def test_misuse_ends_with_a_sentence_and_code_2(minidata, tmp_path, monkeypatch, capsys, flags):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["--dataset_dir", str(minidata), *(flag.format(root=minidata) for flag in flags)])
    assert stop.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_nothing_in_the_tree_is_written(tree, diagnose, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in tree.root.rglob("*")}
    assert diagnose(tree.root, "--fix-none", "--pictures", str(tmp_path / "a.png")).code == 0
    assert {path: path.stat().st_mtime_ns for path in tree.root.rglob("*")} == before


def test_the_sheet_shows_the_same_samples_for_the_same_seed(minidata, diagnose, tmp_path):
    sheets = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        diagnose(minidata, "--pictures", str(tmp_path / f"{name}.png"), "--seed", str(seed))
        sheets.append((tmp_path / f"{name}.png").read_bytes())
    assert sheets[0] == sheets[1]
    assert sheets[0] != sheets[2]


def test_a_shelf_keeps_every_sample_equally_often():
    counts = np.zeros(10)
    for seed in range(500):
        shelf = Shelf(per_row=3, seed=seed)
        for number in range(10):
            shelf.offer(
                "row", lambda rng, n=number: Exhibit(path=Path(str(n)), question="", answer="", regions=nothing)
            )
        for exhibit in shelf.kept["row"]:
            counts[int(str(exhibit.path))] += 1
    assert counts.sum() == 1500
    assert 100 < counts.min() <= counts.max() < 200


def test_workers_keep_the_order():
    workers = Workers(count=2, progress=Progress(disable=True))
    items = random.Random(0).sample(range(1000), 200)
    assert list(workers.map(str, items, "numbers")) == [str(item) for item in items]
