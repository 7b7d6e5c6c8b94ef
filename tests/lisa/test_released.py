"""Released checkpoints in: what is read, and what is refused."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_model import ask, picture

from lisa import LisaModel, LisaProcessor, load
from lisa.convert import main as convert
from lisa.released import ReleasedOptions, open_released
from lisa.released.hub import looks_like_hub_id
from lisa.released.names import our_name

KEY = "model.text_hidden_fcs.0.2.bias"


@pytest.fixture(scope="module")
def stored(lisa_a):
    """The weights in the released file, by their released names."""
    return torch.load(lisa_a / "tiny_lisa_A" / "pytorch_model.bin", weights_only=True)


@pytest.fixture
def folder(lisa_a, tmp_path):
    """A copy of the released folder beside its vision tower, without weights."""
    shutil.copytree(lisa_a / "tiny_clip_A", tmp_path / "tiny_clip_A")
    shutil.copytree(lisa_a / "tiny_lisa_A", tmp_path / "lisa", ignore=shutil.ignore_patterns("*.bin"))
    return tmp_path / "lisa"


def shards(folder: Path, parts: list[dict], suffix: str) -> None:
    """Write the parts as numbered shards with an index."""
    weight_map = {}
    for number, part in enumerate(parts, start=1):
        name = f"pytorch_model-{number:05d}-of-{len(parts):05d}{suffix}"
        weight_map |= dict.fromkeys(part, name)
        if suffix == ".bin":
            torch.save(part, folder / name)
        else:
            save_file(part, folder / name)
    (folder / f"pytorch_model{suffix}.index.json").write_text(json.dumps({"weight_map": weight_map}))


def check_weights(model: LisaModel, stored: dict) -> None:
    own = model.state_dict()
    for name, tensor in stored.items():
        if our_name(name) is not None:
            assert torch.equal(own[our_name(name)], tensor.to(own[our_name(name)].dtype)), name


def test_every_weight_is_where_it_belongs_and_none_is_left_random(lisa_a, stored):
    model = LisaModel.from_pretrained(lisa_a / "tiny_lisa_A", dtype=torch.float32)
    check_weights(model, stored)
    tower = torch.load(lisa_a / "tiny_clip_A" / "pytorch_model.bin", weights_only=True)
    for name, tensor in model.vlm.model.vision_tower.state_dict().items():
        assert torch.equal(tensor, tower[f"vision_model.{name}"]), name
    counted = sum(our_name(name) is not None for name in stored) + len(model.vlm.model.vision_tower.state_dict())
    assert len(model.state_dict()) == counted
    assert not [n for n, t in (*model.named_parameters(), *model.named_buffers()) if t.is_meta]


def test_without_a_dtype_the_language_models_own_is_taken_and_sams_positions_stay_in_fp32(lisa_a):
    model = LisaModel.from_pretrained(lisa_a / "tiny_lisa_A")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix.dtype == torch.float32


def test_load_answers_questions(lisa_a):
    predictor = load(lisa_a / "tiny_lisa_A", device="cpu")
    [[answer]] = predictor.generate([picture(20, 30)], [[ask("Can you segment the red ball in this image?")]], 4)
    assert answer.masks.shape[1:] == (20, 30)
    assert predictor.processor.config.template == "llava_v1"


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
def test_shards_of_mixed_types_are_read_whichever_their_format(folder, stored, suffix):
    names = sorted(stored)
    mixed = {n: t.float() if "visual_model" in n or "text_hidden" in n else t for n, t in stored.items()}
    shards(folder, [{n: mixed[n] for n in names[k::3]} for k in range(3)], suffix)
    check_weights(LisaModel.from_pretrained(folder, dtype=torch.float32), mixed)


def test_a_projector_of_two_layers_is_read(folder, stored):
    weights = {name: tensor for name, tensor in stored.items() if "mm_projector" not in name}
    width = len(stored["model.mm_projector.bias"])
    weights["model.mm_projector.0.weight"] = stored["model.mm_projector.weight"]
    weights["model.mm_projector.0.bias"] = stored["model.mm_projector.bias"]
    weights["model.mm_projector.2.weight"], weights["model.mm_projector.2.bias"] = torch.eye(width), torch.ones(width)
    torch.save(weights, folder / "pytorch_model.bin")
    model = LisaModel.from_pretrained(folder, dtype=torch.float32)
    projector = model.vlm.model.multi_modal_projector
    patches = torch.randn(2, projector.linear_1.in_features)
    first = patches @ stored["model.mm_projector.weight"].float().T + stored["model.mm_projector.bias"].float()
    torch.testing.assert_close(projector(patches), torch.nn.functional.gelu(first) + 1)


def test_the_size_of_sam_is_read_off_its_weights_where_no_file_tells(folder, stored, lisa_a):
    (folder / "sam_config.json").unlink()
    torch.save(stored, folder / "pytorch_model.bin")
    sizes = [open_released(path).config.sam_size for path in (folder, lisa_a / "tiny_lisa_A")]
    assert sizes[0] == sizes[1]


def test_a_config_that_only_says_llava_is_a_lisa_when_a_sam_is_among_the_weights(folder, stored):
    torch.save(stored, folder / "pytorch_model.bin")
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["LlavaLlamaForCausalLM"]
    del config["train_mask_decoder"]
    (folder / "config.json").write_text(json.dumps(config))
    check_weights(LisaModel.from_pretrained(folder, dtype=torch.float32), stored)


def test_a_hub_id_is_fetched(lisa_a, monkeypatch):
    asked = []

    def snapshot(name, allow_patterns):
        asked.append((name, "*.bin" in allow_patterns))
        return str(lisa_a / {"someone/LISA-tiny": "tiny_lisa_A"}[name])

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    processor = LisaProcessor.from_pretrained("someone/LISA-tiny")
    assert processor.config.seg_token_id == 1000
    assert asked[0] == ("someone/LISA-tiny", False)
    assert [looks_like_hub_id(name) for name in ("a/b", "./a", "a/b/c", "/a", "a")] == [
        True,
        False,
        False,
        False,
        False,
    ]


def test_the_vision_tower_is_found_beside_the_checkpoint_or_by_its_flag_and_else_refused(folder, stored, tmp_path):
    torch.save(stored, folder / "pytorch_model.bin")
    (tmp_path / "tiny_clip_A").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"no vision tower tiny_clip_A beside .*--vision-tower"):
        LisaModel.from_pretrained(folder)
    LisaModel.from_pretrained(folder, vision_tower=str(tmp_path / "elsewhere"))


def test_pixels_of_the_vision_tower_are_the_references(lisa_a):
    processor = LisaProcessor.from_pretrained(lisa_a / "tiny_lisa_A")
    assert "Pil" in type(processor.image_processor).__name__
    image = np.random.default_rng(0).integers(0, 256, (97, 200, 3), dtype=np.uint8)
    side = processor.config.vlm_config.vision_config.image_size
    assert processor.tower_pixels([image]).shape == (1, 3, side, side)


# Damaged checkpoints: each is refused with the name of the key or the file.


def test_a_missing_key_is_refused_by_name(folder, stored):
    torch.save({name: tensor for name, tensor in stored.items() if name != KEY}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"1 keys missing \['text_hidden_fcs.0.2.bias'\], 0 unexpected"):
        LisaModel.from_pretrained(folder)


def test_every_unexpected_key_is_refused_by_name(folder, stored):
    extra = {"model.extra": torch.ones(1), "other": torch.ones(1)}
    torch.save(stored | extra, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"2 unexpected \['other', 'vlm.model.language_model.extra'\]"):
        LisaModel.from_pretrained(folder)


def test_a_weight_of_another_shape_is_refused_with_both_shapes(folder, stored):
    torch.save(stored | {KEY: torch.ones(7)}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"text_hidden_fcs.0.2.bias \(7,\) instead of \(256,\)"):
        LisaModel.from_pretrained(folder)


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
def test_a_truncated_shard_is_refused_by_its_name(folder, stored, suffix):
    names = sorted(stored)
    shards(folder, [{n: stored[n] for n in names[k::2]} for k in range(2)], suffix)
    damaged = folder / f"pytorch_model-00002-of-00002{suffix}"
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"pytorch_model-00002-of-00002\{suffix} is no file of weights"):
        LisaModel.from_pretrained(folder)


def test_a_shard_that_is_not_there_is_refused_by_its_name(folder, stored):
    names = sorted(stored)
    shards(folder, [{n: stored[n] for n in names[k::2]} for k in range(2)], ".bin")
    (folder / "pytorch_model-00001-of-00002.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks pytorch_model-00001-of-00002.bin"):
        LisaModel.from_pretrained(folder)


class Trap:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(folder, stored, tmp_path, zipped):
    content = stored | {KEY: Trap(tmp_path / "ran")}
    if zipped:
        torch.save(content, folder / "pytorch_model.bin")
    else:
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"pytorch_model\.bin is no file of weights, .* or holds more than tensors"):
        LisaModel.from_pretrained(folder)
    assert not (tmp_path / "ran").exists()


def test_a_tokenizer_without_seg_is_refused(folder, stored):
    torch.save(stored, folder / "pytorch_model.bin")
    (folder / "added_tokens.json").unlink()
    with pytest.raises(ValueError, match=r"has no \[SEG\]; is added_tokens.json there"):
        LisaModel.from_pretrained(folder)


def test_added_tokens_that_do_not_follow_the_vocabulary_are_refused(folder, stored):
    torch.save(stored, folder / "pytorch_model.bin")
    (folder / "added_tokens.json").write_text(json.dumps({"[SEG]": 1007}))
    with pytest.raises(ValueError, match=r"token \[SEG\] should have id 1007"):
        LisaModel.from_pretrained(folder)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", None])
def test_a_broken_tokenizer_model_is_refused_by_its_name(folder, stored, content):
    torch.save(stored, folder / "pytorch_model.bin")
    path = folder / "tokenizer.model"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=r"tokenizer\.model"):
        LisaModel.from_pretrained(folder)


def test_a_folder_without_weights_is_told(folder):
    with pytest.raises(FileNotFoundError, match=r"holds no weights \(\*\.safetensors or \*\.bin\)"):
        open_released(folder, ReleasedOptions())


def test_a_damaged_folder_of_ours_is_refused_by_name_too(small, tmp_path):
    from safetensors.torch import load_file

    from lisa.checkpoint import save

    save(*small, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["text_hidden_fcs.0.2.bias"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ValueError, match=r"does not fit the model of its config: 1 keys missing \['text_hidden_fcs.0.2.bias'\]"
    ):
        load(tmp_path, device="cpu")


def fields(**changes) -> dict:
    return {"config.json": changes}


# What is changed in the JSON files (None leaves a field out), and what is said.
WRONG = {
    "no hidden_size": (fields(hidden_size=None), r"config\.json: it lacks hidden_size"),
    "no heads": (fields(num_attention_heads=None), "it lacks num_attention_heads"),
    "heads of text": (fields(num_attention_heads="4"), "num_attention_heads is '4'; it must be a whole number"),
    "too many heads": (fields(num_attention_heads=5), "not a multiple of the number of attention heads"),
    "too many layers": (fields(num_hidden_layers=10**7), "num_hidden_layers is 10000000; it must be 1000 at most"),
    "two at once": (fields(hidden_size=0, vocab_size="a"), "hidden_size is 0; .*vocab_size is 'a'"),
    "another vocabulary": (fields(vocab_size=1010), r"2 of another shape \['vlm.lm_head.weight \(1003, 64\)"),
    "a layer beyond the tower": (fields(mm_vision_select_layer=99), "is 99, but the vision tower has 3 layers"),
    "an unknown activation": (fields(hidden_act="foo"), r"config\.json describes a model that cannot be built"),
    "a number for a tower": (fields(vision_tower=3), "vision_tower is 3; it must be a text"),
    "an id of text": ({"added_tokens.json": {"[SEG]": "a"}}, r"'\[SEG\]': 'a'\} are no ids of tokens"),
    "one token more": ({"added_tokens.json": {"<x>": 1003}}, "has 1004 tokens, but the model has embeddings for 1003"),
    "a token without text": ({"tokenizer_config.json": {"unk_token": {"x": 1}}}, "KeyError: 'content'"),
    "heads of SAM": ({"sam_config.json": {"encoder_num_heads": 0}}, r"sam_config\.json: .*heads is 0"),
    "another tower": ({"../tiny_clip_A/config.json": {"vision_config": {"image_size": 224}}}, "keys missing"),
    "no CLIP": ({"../tiny_clip_A/config.json": {"model_type": "vit"}}, "CLIP vision tower .its model_type is 'vit'"),
    "crops of 64 px": (
        {"../tiny_clip_A/preprocessor_config.json": {"crop_size": 64}},
        r"makes images of \(64, 64\) pixels, but the vision tower .* takes \(224, 224\)",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_field_is_told_with_its_file(folder, stored, wrong):
    files, said = WRONG[wrong]
    torch.save(stored, folder / "pytorch_model.bin")
    for name, changes in files.items():
        content = json.loads((folder / name).read_text()) | changes
        (folder / name).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    with pytest.raises(ValueError, match=said):
        load(folder, device="cpu")


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "sam_config.json",
        "../tiny_clip_A/config.json",
        "../tiny_clip_A/preprocessor_config.json",
    ],
)
@pytest.mark.parametrize("content", ["", "{", "[1]", "[" * 100_000])
def test_a_json_file_that_is_none_is_told_by_its_name(folder, stored, name, content):
    torch.save(stored, folder / "pytorch_model.bin")
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=rf"{Path(name).name} (is no JSON|holds no JSON object)"):
        load(folder, device="cpu")


def test_a_config_without_a_vocab_size_has_that_of_the_weights(folder, stored):
    torch.save(stored, folder / "pytorch_model.bin")
    config = json.loads((folder / "config.json").read_text())
    del config["vocab_size"]
    (folder / "config.json").write_text(json.dumps(config))
    model = LisaModel.from_pretrained(folder, dtype=torch.float32)
    assert model.config.vlm_config.text_config.vocab_size == 1003
    check_weights(model, stored)


@pytest.mark.parametrize(
    "beside", ["stale index", "broken index", "stale bin index", "projector", "shard", "optimizer"]
)
def test_what_lies_beside_a_whole_file_changes_nothing(folder, stored, beside):
    torch.save(stored, folder / "pytorch_model.bin")
    listed = json.dumps({"weight_map": dict.fromkeys(stored, "model-00001-of-00002.safetensors")})
    projector = {name: torch.zeros_like(tensor) for name, tensor in stored.items() if "mm_projector" in name}
    {
        "stale index": lambda: (folder / "model.safetensors.index.json").write_text(listed),
        "broken index": lambda: (folder / "pytorch_model.bin.index.json").write_text("{"),
        "stale bin index": lambda: (folder / "pytorch_model.bin.index.json").write_text(listed),
        "projector": lambda: torch.save(projector, folder / "mm_projector.bin"),
        "shard": lambda: torch.save(projector, folder / "pytorch_model-00001-of-00002.bin"),
        "optimizer": lambda: torch.save({"state": {}}, folder / "optimizer.bin"),
    }[beside]()
    check_weights(LisaModel.from_pretrained(folder, dtype=torch.float32), stored)


@pytest.mark.parametrize("indexed", [True, False])
def test_a_projector_beside_shards_changes_nothing(folder, stored, indexed):
    names = sorted(stored)
    shards(folder, [{n: stored[n] for n in names[k::2]} for k in range(2)], ".bin")
    if not indexed:
        (folder / "pytorch_model.bin.index.json").unlink()
    projector = {name: torch.zeros_like(tensor) for name, tensor in stored.items() if "mm_projector" in name}
    torch.save(projector, folder / "mm_projector.bin")
    check_weights(LisaModel.from_pretrained(folder, dtype=torch.float32), stored)
    if not indexed:
        (folder / "pytorch_model-00002-of-00002.bin").unlink()
        with pytest.raises(FileNotFoundError, match=r"lacks pytorch_model-00002-of-00002\.bin"):
            LisaModel.from_pretrained(folder)


def test_an_index_that_leaves_its_folder_is_refused(folder, stored, tmp_path):
    torch.save(stored, tmp_path / "elsewhere.bin")
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {KEY: "../elsewhere.bin"}}))
    with pytest.raises(ValueError, match=r"names '\.\./elsewhere\.bin', which is no file of its own folder"):
        LisaModel.from_pretrained(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["checkpoint", "vision tower"])
def test_a_weight_that_is_not_finite_is_refused_by_name(folder, stored, tmp_path, value, where):
    tower = tmp_path / "tiny_clip_A" / "pytorch_model.bin"
    torch.save(
        stored | ({KEY: torch.full_like(stored[KEY], value)} if where == "checkpoint" else {}),
        folder / "pytorch_model.bin",
    )
    name = "text_hidden_fcs.0.2.bias"
    if where == "vision tower":
        weights = torch.load(tower, weights_only=True)
        weights["vision_model.pre_layrnorm.bias"][0] = value
        torch.save(weights, tower)
        name = "vlm.model.vision_tower.pre_layrnorm.bias"
    with pytest.raises(ValueError, match=rf"pytorch_model\.bin: 1 of its weights are not finite .*\['{name}'\]"):
        load(folder, device="cpu")
    with pytest.raises(ValueError, match="not finite"):
        convert([str(folder), str(tmp_path / "out")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lisa", "tiny_clip_A"]


def test_a_conversion_that_would_overflow_is_refused_with_the_way_out(folder, stored, tmp_path):
    torch.save(stored | {KEY: torch.full_like(stored[KEY], 1e6)}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"too large for float16, which ends at 65504 \['text_hidden.*take bf16"):
        convert([str(folder), str(tmp_path / "out"), "--dtype", "fp16"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lisa", "tiny_clip_A"]
    convert([str(folder), str(tmp_path / "out"), "--dtype", "bf16"])
    with pytest.raises(ValueError, match="too large for float16"):
        convert([str(tmp_path / "out"), str(tmp_path / "back"), "--to", "released", "--dtype", "fp16"])
    with pytest.raises(ValueError, match="too large for float16"):
        load(tmp_path / "out", device="cpu", dtype="fp16")
    assert not (tmp_path / "back").exists()
