"""A damaged or wrong folder of ours is refused with a sentence when it is loaded, through every door."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import model_damages
import pytest
import torch
from model_damages import KEY, WEIGHTS
from safetensors.torch import load_file, save_file
from small_model import ask, picture, small_lisa

import chat
from eval import refcoco
from lisa import LisaConfig, LisaModel, LisaProcessor, load
from lisa.arguments import TrainArgs
from lisa.checkpoint import save
from lisa.cli.main import main as command
from lisa.convert import main as convert
from lisa.start import start_model

IMAGE = str(Path(__file__).resolve().parents[2] / "docs" / "example.jpg")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "good"
    save(*small_lisa(), folder)
    return folder


@pytest.fixture
def folder(good, tmp_path):
    """A copy to be damaged."""
    return Path(shutil.copytree(good, tmp_path / "model"))


@pytest.mark.parametrize("damage", model_damages.ALL)
def test_every_damage_is_told_in_a_sentence(folder, damage):
    do, said = model_damages.ALL[damage]
    do(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=said) as error:
        load(folder, device="cpu")
    assert type(error.value) in (ValueError, FileNotFoundError)
    assert str(folder) in str(error.value)


def images(folder: Path) -> list[str]:
    """A folder with one image, and a file with a question, as flags."""
    made = folder.parent / "images"
    made.mkdir()
    shutil.copy(IMAGE, made / "a.jpg")
    (made / "prompts.txt").write_text("Where?")
    return [str(made), "--prompts", str(made / "prompts.txt")]


# Commands and scripts that load a folder.
DOORS = {
    "lisa ask": lambda folder: command(["ask", IMAGE, "Where?", "--model", str(folder), "--device", "cpu"]),
    "lisa annotate": lambda folder: command(
        ["annotate", *images(folder), "--out", str(folder.parent / "o"), "--model", str(folder)]
    ),
    "lisa serve": lambda folder: command(["serve", "--model", str(folder), "--device", "cpu", "--port", "0"]),
    "chat.py": lambda folder: chat.main(["--image", IMAGE, "--prompt", "Where?", "--model", str(folder)]),
    "train_ds.py --version": lambda folder: start_model(TrainArgs(version=str(folder)), tuple),
    "lisa convert --to released": lambda folder: convert([str(folder), str(folder.parent / "out"), "--to", "released"]),
    "4 bits": lambda folder: load(folder, device="cpu", quantize="4bit"),
}
ONE_OF_EACH = (
    "config.json truncated",
    "sam = nothing",
    "seg_token_id = 5",
    "tokenizer.json empty",
    "images of another size",
)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("damage", ONE_OF_EACH)
def test_every_door_tells_it(folder, door, damage):
    do, said = model_damages.ALL[damage]
    do(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        DOORS[door](folder)
    assert not (folder.parent / "out").exists()


@pytest.mark.parametrize("door", ["lisa ask", "chat.py", "train_ds.py --version", "4 bits"])
@pytest.mark.parametrize("damage", ["weights nan", "weights truncated", "weights lack one", "index leaves its folder"])
def test_damaged_weights_are_told_where_weights_are_read(folder, door, damage):
    do, said = model_damages.ALL[damage]
    do(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        DOORS[door](folder)


@pytest.mark.parametrize("damage", ["weights truncated", "weights lack one", "weights missing", "config.json list"])
def test_info_and_evaluation_look_at_the_folder_too(folder, damage, world):
    do, said = model_damages.ALL[damage]
    do(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        command(["info", str(folder)])
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        refcoco.main(["--model", str(folder), "--dataset_dir", str(world), "--out", str(folder.parent / "r.json")])


@pytest.mark.parametrize("damage", [*model_damages.VALUES, "sam = nothing", "vlm_config = nothing"])
def test_the_model_alone_tells_it(folder, damage):
    do, said = model_damages.ALL[damage]
    do(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        LisaModel.from_pretrained(folder)


@pytest.mark.parametrize("damage", model_damages.READERS)
def test_the_processor_alone_tells_it(folder, damage):
    do, said = model_damages.ALL[damage]
    do(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        LisaProcessor.from_pretrained(folder)


@pytest.mark.parametrize("damage", model_damages.HARMLESS)
def test_what_changes_nothing_about_the_model_is_passed_over(folder, good, damage):
    model_damages.HARMLESS[damage](folder)
    loaded, stored = load(folder, device="cpu").model.state_dict(), load_file(good / WEIGHTS)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in stored.items())


def test_all_that_is_wrong_with_a_config_is_told_at_once(folder):
    content = json.loads((folder / "config.json").read_text())
    del content["sam"]
    content |= {"template": "foo", "model_max_length": 0, "seg_token_id": None}
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"lacks sam; .*seg_token_id is None.*template is 'foo'.*max_length is 0"):
        LisaConfig.from_pretrained(folder)


def test_a_field_that_nobody_knows_is_told_and_not_read(folder):
    model_damages.changed("config.json", "of_tomorrow", to=1)(folder)
    with pytest.warns(UserWarning, match="nothing is known about the field of_tomorrow"):
        load(folder, device="cpu")


def test_a_whole_folder_says_nothing(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LisaProcessor.from_pretrained(folder)
        LisaModel.from_pretrained(folder)


def test_shards_of_our_format_are_read(folder, good):
    stored = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names, places = sorted(stored), {}
    for k in range(2):
        file = f"model-0000{k + 1}-of-00002.safetensors"
        save_file({name: stored[name] for name in names[k::2]}, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(names[k::2], file)
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    loaded = load(folder, device="cpu").model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in load_file(good / WEIGHTS).items())
    save_file({KEY: stored[KEY]}, folder / "model-00001-of-00002.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"holds {KEY}, which another file|keys missing"):
        load(folder, device="cpu")


@pytest.mark.parametrize(("dtype", "most"), [("fp16", 65504), ("bf16", None), ("fp32", None)])
def test_weights_that_half_precision_cannot_hold_are_refused_with_the_way_out(tmp_path, dtype, most):
    model, processor = small_lisa()
    save(model, processor, tmp_path / "model")
    model_damages.weights(key=lambda tensor: torch.full_like(tensor, 1e6))(tmp_path / "model")
    with torch.no_grad():
        model.text_hidden_fcs[0][2].bias.fill_(1e6)
    if most is None:
        load(tmp_path / "model", device="cpu", dtype=dtype)
        save(model, processor, tmp_path / "again", dtype)
        return
    said = rf"1 of its weights are too large for float16, which ends at {most} \['{KEY} \(1e\+06\)'\]; take bf16"
    with pytest.raises(ValueError, match=said):
        load(tmp_path / "model", device="cpu", dtype=dtype)
    with pytest.raises(ValueError, match=said):
        save(model, processor, tmp_path / "again", dtype)
    assert not (tmp_path / "again").exists()


def test_a_model_that_is_not_finite_is_not_saved(tmp_path):
    model, processor = small_lisa()
    with torch.no_grad():
        model.text_hidden_fcs[0][2].bias[3] = float("nan")
    with pytest.raises(ValueError, match=rf"1 of its weights are not finite .*\['{KEY}'\]"):
        save(model, processor, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_an_answer_from_the_checked_folder(folder):
    [[answer]] = load(folder, device="cpu").generate([picture(8, 8)], [[ask("Where is the red ball?")]], 2)
    assert answer.masks.shape[1:] == (8, 8)


def test_every_field_of_a_config_has_a_rule(good):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an unknown field is a warning
        LisaConfig.from_pretrained(good)
