"""The tree as a whole: the same whatever renders it, whole or not there, and never in anybody's way."""

import fcntl
import json
import subprocess
import sys

import pytest

from datasets.synthetic import render
from datasets.synthetic.__main__ import main
from datasets.synthetic.catalog import CLASS_NAMES, COLOUR_NAMES, HELD_OUT_PAIRS, STUFF, ade20k_ids
from datasets.synthetic.render import MARK_FILE, render_world
from datasets.synthetic.scene import sample_scene, split_of


def _files(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_bytes_do_not_depend_on_the_number_of_workers(world, tmp_path):
    alone = render_world(tmp_path / "alone", images=40, seed=3, workers=1)
    assert _files(alone) == _files(world)


def test_another_seed_draws_another_world(tmp_path, world):
    other = _files(render_world(tmp_path / "other", images=5, seed=4, workers=1))
    name = "refer_seg/images/mscoco/images/train2014/COCO_train2014_000000000001.jpg"
    assert other[name] != _files(world)[name]


def test_a_second_call_changes_nothing_and_says_so(world, capsys):
    before = {p: p.stat().st_mtime_ns for p in world.rglob("*")}
    main(["--out", str(world), "--images", "40", "--seed", "3"])
    assert "nothing to do" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in world.rglob("*")} == before


def test_the_command_renders_and_reports(tmp_path, capsys):
    main(["--out", str(tmp_path / "w"), "--images", "5", "--workers", "1"])
    assert "5 pictures" in capsys.readouterr().out
    assert (tmp_path / "w/world.json").is_file()


def test_other_arguments_are_refused_with_a_way_out(world, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--out", str(world), "--images", "41", "--seed", "3"])
    assert stop.value.code == 2
    assert "choose another folder, or delete this one" in capsys.readouterr().err


def test_a_world_of_an_older_version_is_refused_with_a_way_out(tmp_path):
    world = render_world(tmp_path / "w", images=5, seed=0, workers=1) / "world.json"
    world.write_text(world.read_text().replace('"version": 2', '"version": 1'))
    with pytest.raises(
        FileExistsError, match=r"lacks some of the formats\): choose another folder, or delete this one"
    ):
        render_world(tmp_path / "w", images=5, seed=0, workers=1)


def test_a_folder_that_we_did_not_make_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="no rendered world"):
        render_world(tmp_path, images=5, seed=0, workers=1)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_partial_folder_that_we_did_not_make_is_left_alone(tmp_path):
    (tmp_path / "w.partial").mkdir()
    (tmp_path / "w.partial/notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="move it away"):
        render_world(tmp_path / "w", images=5, seed=0, workers=1)
    assert (tmp_path / "w.partial/notes.txt").read_text() == "mine"


def test_an_interrupted_call_leaves_no_tree_and_the_next_one_starts_clean(tmp_path, monkeypatch):
    def stop_at_three(root, seed, index):
        if index == 3:
            raise KeyboardInterrupt
        return whole(root, seed, index)

    whole = render._render_one
    monkeypatch.setattr(render, "_render_one", stop_at_three)
    with pytest.raises(KeyboardInterrupt):
        render_world(tmp_path / "w", images=6, seed=0, workers=1)
    assert not (tmp_path / "w").exists()
    monkeypatch.setattr(render, "_render_one", whole)
    (tmp_path / "w.partial/left_over.txt").write_text("from another version")
    again = render_world(tmp_path / "w", images=6, seed=0, workers=1)
    clean = render_world(tmp_path / "clean", images=6, seed=0, workers=1)
    assert _files(again) == _files(clean)
    assert not (tmp_path / "w.partial").exists()


def test_two_processes_do_not_render_into_one_folder(tmp_path):
    partial = tmp_path / "w.partial"
    partial.mkdir()
    with (partial / MARK_FILE).open("a") as handle:
        fcntl.lockf(handle, fcntl.LOCK_EX)
        code = (
            "from pathlib import Path; from datasets.synthetic import render_world;"
            f"render_world(Path({str(tmp_path / 'w')!r}), images=5, seed=0, workers=1)"
        )
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "another process is rendering" in other.stderr


@pytest.mark.parametrize(("images", "seed"), [(4, 0), (0, 0), (10, -1)])
def test_senseless_arguments_are_refused_at_the_start(tmp_path, images, seed):
    with pytest.raises(ValueError, match="at least"):
        render_world(tmp_path / "w", images=images, seed=seed)
    assert not (tmp_path / "w").exists()


def test_splits_share_no_picture_and_each_has_some(record):
    ids = [i for split in record["splits"].values() for i in split]
    assert sorted(ids) == list(range(1, 41))
    assert {split: len(ids) for split, ids in record["splits"].items()} == {
        "val": 2,
        "testA": 2,
        "testB": 2,
        "composition": 2,
        "train": 32,
    }


def test_held_out_pairs_are_one_per_class_and_only_in_composition():
    classes = [cls for cls, _ in HELD_OUT_PAIRS]
    assert len(HELD_OUT_PAIRS) == 12
    assert len(set(classes)) == 12
    assert set(classes) <= set(CLASS_NAMES)
    assert {colour for _, colour in HELD_OUT_PAIRS} <= set(COLOUR_NAMES)
    for index in range(600):
        pairs = {(t.cls, t.colour) for t in sample_scene(0, index).things}
        assert split_of(index) == "composition" or not pairs & set(HELD_OUT_PAIRS)


def test_class_names_are_the_official_150():
    names = list(ade20k_ids())
    assert len(names) == 150
    assert (names[0], names[20], names[82], names[149]) == ("wall", "car", "light", "flag")
    assert set(STUFF) <= set(names)


def test_world_file_tells_what_is_held_out(record):
    assert "red boat" in record["held_out_pairs"]
    assert record["held_out_phrasings"]["referring class"] == ["only {noun}"]
    assert record["arguments"] == {"version": 2, "images": 40, "seed": 3}
    json.dumps(record)
