"""`python -m lisa.convert`: there and back, LoRA merged, what training starts from, and every command of the page."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_model import ask, picture, small_lisa

import chat
import train_ds
from lisa import LisaModel, load
from lisa.arguments import TrainArgs
from lisa.checkpoint import save
from lisa.convert import ConvertArgs, main
from lisa.released import ReleasedOptions, holds_llava, open_released
from lisa.released.files import ShardWriter, weight_files
from lisa.start import start_model
from lisa.trainable import choose_trainable
from sam_bridge import SAM_PRESETS, build_sam, read_tensors

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = CHECKOUT / "docs" / "checkpoints.md"


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in weight_files(folder) for name, tensor in read_tensors(file).items()}


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


@pytest.fixture(scope="module")
def released(lisa_a):
    return lisa_a / "tiny_lisa_A"


@pytest.fixture(scope="module")
def origin(released, tmp_path_factory):
    """What the released model began as: a LLaVA of its authors beside its vision tower, SAM weights, a LoRA run."""
    root = tmp_path_factory.mktemp("origin")
    (root / "tiny_clip_A").symlink_to(released.parent / "tiny_clip_A")
    base, stored = root / "llava", weights_of(released)
    base.mkdir()
    config = json.loads((released / "config.json").read_text())
    pieces = config["vocab_size"] - 3
    for key in ("train_mask_decoder", "out_dim", "vision_tower"):
        del config[key]
    config |= {"architectures": ["LlavaLlamaForCausalLM"], "vocab_size": pieces}
    (base / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.model", "tokenizer_config.json"):
        (base / name).write_bytes((released / name).read_bytes())
    language = {n: t for n, t in stored.items() if "visual_model" not in n and "text_hidden" not in n}
    rows = {n: language[n][:pieces].clone() for n in ("model.embed_tokens.weight", "lm_head.weight")}
    torch.save(language | rows, base / "pytorch_model.bin")
    sam = {n.removeprefix("model.visual_model."): t.float() for n, t in stored.items() if "visual_model" in n}
    torch.save(sam, root / "sam.pth")
    run = {f"base_model.model.{name}": tensor for name, tensor in stored.items()}
    torch.manual_seed(0)
    for layer in range(config["num_hidden_layers"]):
        for projection in ("q_proj", "v_proj"):
            name = f"base_model.model.model.layers.{layer}.self_attn.{projection}"
            out, width = stored[f"model.layers.{layer}.self_attn.{projection}.weight"].shape
            run[f"{name}.lora_A.default.weight"] = torch.randn(4, width) / 10
            run[f"{name}.lora_B.default.weight"] = torch.randn(out, 4) / 10
    torch.save(run, root / "run.bin")
    return root


def test_released_to_ours_to_released_is_the_same_bit_for_bit(released, tmp_path):
    main([str(released), str(tmp_path / "ours")])
    main([str(tmp_path / "ours"), str(tmp_path / "back"), "--to", "released"])
    before, after = weights_of(released), weights_of(tmp_path / "back")
    assert before.keys() == after.keys()
    assert all(same_bits(after[name], tensor) for name, tensor in before.items())
    for name in ("config", "generation_config", "added_tokens", "tokenizer_config", "special_tokens_map"):
        one, other = (json.loads((place / f"{name}.json").read_text()) for place in (released, tmp_path / "back"))
        assert one == other, name
    assert (tmp_path / "back" / "tokenizer.model").read_bytes() == (released / "tokenizer.model").read_bytes()


def test_a_fine_tuned_model_of_ours_goes_out_with_lora_merged(released, tmp_path):
    predictor = load(released, device="cpu", dtype="fp32")
    model, processor = predictor.model, predictor.processor
    choose_trainable(model, processor, TrainArgs(trainable="lora", lora_r=2, lora_dropout=0.0))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    save(model, processor, tmp_path / "ours")
    main([str(tmp_path / "ours"), str(tmp_path / "out"), "--to", "released"])
    stored, out = weights_of(released), weights_of(tmp_path / "out")
    assert out.keys() == stored.keys()
    changed = {name for name, tensor in stored.items() if not torch.equal(out[name].float(), tensor.float())}
    assert changed == {name for name in stored if re.match(r"model\.layers.*\.(q|v)_proj\.weight$", name)}
    tower = str(released.parent / "tiny_clip_A")
    again = LisaModel.from_pretrained(tmp_path / "out", dtype=torch.float32, vision_tower=tower)
    ours = load(tmp_path / "ours", device="cpu").model.state_dict()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in again.state_dict().items())


@pytest.mark.parametrize(("dtype", "wanted"), [("fp32", torch.float32), ("fp16", torch.float16)])
def test_dtype_is_what_is_written_but_for_sams_positions(released, tmp_path, dtype, wanted):
    main([str(released), str(tmp_path / "ours"), "--dtype", dtype])
    types = {name: tensor.dtype for name, tensor in weights_of(tmp_path / "ours").items()}
    assert {kind for name, kind in types.items() if "gaussian" not in name} == {wanted}
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["dtype"] == str(wanted).removeprefix("torch.")


@pytest.mark.parametrize("alpha", [16.0, 4.0])
def test_lora_of_a_training_checkpoint_is_merged_with_its_scale(released, origin, alpha):
    options = ReleasedOptions(base=str(origin / "llava"), lora_alpha=alpha, sam=str(released / "sam_config.json"))
    from lisa.released import Released

    model = Released(origin / "run.bin", options).model(torch.float32)
    run = read_tensors(origin / "run.bin")
    name = "base_model.model.model.layers.1.self_attn.v_proj"
    wanted = run[f"{name}.weight"].float() + alpha / 4 * (
        run[f"{name}.lora_B.default.weight"] @ run[f"{name}.lora_A.default.weight"]
    )
    merged = model.vlm.model.language_model.layers[1].self_attn.v_proj.weight
    torch.testing.assert_close(merged, wanted.bfloat16().float())
    kept = model.vlm.model.language_model.layers[1].self_attn.k_proj.weight
    assert torch.equal(kept, run[f"{name.replace('v_proj', 'k_proj')}.weight"].float())


def test_half_a_lora_is_refused_by_name(origin, tmp_path):
    run = dict(read_tensors(origin / "run.bin"))
    del run["base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight"]
    torch.save(run, tmp_path / "run.bin")
    with pytest.raises(ValueError, match=r"LoRA matrices .* do not fit .*layers.0.self_attn.q_proj.weight"):
        main([str(tmp_path / "run.bin"), str(tmp_path / "out"), "--base", str(origin / "llava")])
    assert not (tmp_path / "out").exists()


def start(origin: Path, version: Path, **changes) -> tuple:
    arguments = TrainArgs(version=str(version), vision_pretrained=str(origin / "sam.pth"), **changes)
    return start_model(arguments, tuple)


def test_training_starts_from_a_llava_of_its_authors_with_every_weight_in_place(origin, released):
    assert holds_llava(origin / "llava")
    model, processor = start(origin, origin / "llava", conv_type="llava_llama_2", model_max_length=400)
    own, base = model.state_dict(), weights_of(origin / "llava")
    embeddings = own["vlm.model.language_model.embed_tokens.weight"]
    assert torch.equal(embeddings[:1000], base["model.embed_tokens.weight"].float())
    assert len(embeddings) == len(own["vlm.lm_head.weight"]) == 1003
    assert {token: processor.text.vocabulary[token] for token in ("[SEG]", "<im_start>", "<im_end>")} == json.loads(
        (released / "added_tokens.json").read_text()
    )
    assert model.config.vlm_config.text_config.vocab_size == 1003
    assert (processor.text.template, processor.text.model_max_length) == ("llava_llama_2", 400)
    assert all(torch.equal(own[f"sam.{name}"], t) for name, t in read_tensors(origin / "sam.pth").items())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_llava_of_its_authors_may_gain_the_heads_of_the_auxiliary_losses(origin):
    model, _ = start(origin, origin / "llava", dense_loss_weight=1.0, seg_state="at")
    assert model.config.seg_state == "at"
    assert not [
        name for name, parameter in model.named_parameters() if parameter.is_meta or not parameter.isfinite().all()
    ]
    assert model.dense_prompt.weight.std() > 0
    assert model.text_hidden_fcs[0][0].weight.std() > 0


def test_stages_that_a_released_lisa_cannot_learn_from_are_refused(origin, released):
    with pytest.raises(ValueError, match="built without the grounding loss"):
        start(origin, released, ground_loss_weight=1.0, grounding_steps=5)
    with pytest.raises(ValueError, match="need the state before"):
        start(origin, released, seg_state="at")


def test_what_started_from_a_llava_can_be_saved_loaded_and_exported(origin, tmp_path):
    model, processor = start(origin, origin / "llava")
    save(model, processor, tmp_path / "ours")
    loaded = load(tmp_path / "ours", device="cpu").model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in model.state_dict().items())
    main([str(tmp_path / "ours"), str(tmp_path / "out"), "--to", "released", "--vision-tower", "openai/clip"])
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == ["LISAForCausalLM"]
    assert (config["vision_tower"], config["vocab_size"]) == ("openai/clip", 1003)
    tower = str(origin / "tiny_clip_A")
    again = open_released(tmp_path / "out", ReleasedOptions(vision_tower=tower)).model(torch.float32).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in model.state_dict().items())


def test_a_llava_of_its_authors_gains_a_sam_2_which_the_released_format_cannot_hold(origin, tmp_path):
    sam = build_sam(SAM_PRESETS["tiny-sam2"])
    torch.save({"model": sam.state_dict()}, tmp_path / "sam2.pt")
    args = TrainArgs(version=str(origin / "llava"), vision_pretrained=str(tmp_path / "sam2.pt"), sam="tiny-sam2")
    model, processor = start_model(args, tuple)
    assert all(torch.equal(model.sam.state_dict()[name], tensor) for name, tensor in sam.state_dict().items())
    save(model, processor, tmp_path / "ours")
    with pytest.raises(ValueError, match="it has a mask decoder that is not SAM's"):
        main([str(tmp_path / "ours"), str(tmp_path / "out"), "--to", "released", "--vision-tower", "openai/clip"])


def test_fine_tuning_from_a_released_lisa_keeps_its_head_and_its_mask_decoder(origin, released, capsys):
    model, processor = start(origin, released, bce_loss_weight=9.0)
    stored, own = weights_of(released), model.state_dict()
    for name, tensor in stored.items():
        if "mask_decoder" in name or "text_hidden_fcs" in name:
            ours = name.replace("model.visual_model.", "sam.").removeprefix("model.")
            assert torch.equal(own[ours], tensor.float()), name
    assert "--vision_pretrained is not read" in capsys.readouterr().out
    assert (model.config.bce_loss_weight, processor.config is model.config) == (9.0, True)


def test_a_llava_without_sam_weights_is_refused(origin):
    with pytest.raises(ValueError, match="give SAM weights with --vision_pretrained"):
        start_model(TrainArgs(version=str(origin / "llava")), tuple)


def test_what_cannot_be_converted_is_refused_with_the_mend(released, origin, tmp_path):
    save(*small_lisa(), tmp_path / "ours")
    out = str(tmp_path / "out")
    for argv, sentence in (
        ([str(tmp_path / "a" / "b")], "nothing at"),
        ([str(tmp_path / "ours")], "is no released LISA"),
        ([str(origin / "run.bin")], "by --base"),
        ([str(tmp_path / "ours"), "--to", "released"], r"has no sentencepiece\.model"),
        ([str(released), "--to", "released"], "is no folder of ours"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=sentence):
            main([argv[0], out, *argv[1:]])
    assert not Path(out).exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("years of work")
    with pytest.raises(ValueError, match="holds other things than a model"):
        main([str(released), str(tmp_path / "mine")])
    assert (tmp_path / "mine" / "notes.txt").read_text() == "years of work"


def test_every_flag_has_a_help_text(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name in ConvertArgs.__dataclass_fields__:
        assert name in ("source", "out") or f"--{name.replace('_', '-')}" in text, name
    assert "Precision to write" in text


def test_the_module_ends_in_one_line_when_something_is_wrong(tmp_path):
    command = [sys.executable, "-m", "lisa.convert", "./nowhere/at/all", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: nothing at nowhere/at/all")


def test_shards_are_numbered_and_indexed(tmp_path):
    writer = ShardWriter(tmp_path, "model", ".safetensors")
    for part in ({"a": torch.ones(2)}, {}, {"b": torch.ones(3)}):
        writer.write(part)
    writer.finish()
    names = [f"model-0000{k}-of-00002.safetensors" for k in (1, 2)]
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index == {"metadata": {"total_size": 20}, "weight_map": {"a": names[0], "b": names[1]}}
    assert weight_files(tmp_path) == [tmp_path / name for name in names]


def commands() -> list[list[str]]:
    """Every command of the page, without `uv run`."""
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return [shlex.split(line)[2:] for block in blocks for line in block.splitlines()]


def test_every_command_of_the_page_does_what_it_says(released, origin, world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = {
        "xinlai/LISA-7B-v1": released,
        "xinlai/LISA-13B-llama2-v1": released,
        "liuhaotian/llava-llama-2-13b-chat-lightning-preview": origin / "llava",
        "openai/clip-vit-large-patch14": released.parent / "tiny_clip_A",
        "sam_vit_h_4b8939.pth": origin / "sam.pth",
        "pytorch_model.bin": origin / "run.bin",
        "docs/example.jpg": CHECKOUT / "docs" / "example.jpg",
        "vit_h": released / "sam_config.json",
    }
    short = ["--dataset_dir", str(world), "--epochs", "1", "--steps_per_epoch", "1", "--grad_accumulation_steps", "1"]
    short += ["--batch_size", "1", "--workers", "0", "--no_eval", "--precision", "fp32", "--zero_stage", "0"]
    done = []
    for number, words in enumerate(commands()):
        script, *words = [str(places.get(word, word)) for word in words]
        done.append(script)
        if script == "chat.py":
            chat.main([*words, "--max_new_tokens", "2", "--device", "cpu"])
        elif script == "train_ds.py":
            train_ds.main([*words, *short, "--exp_name", str(number), "--log_base_dir", str(tmp_path / "runs")])
            assert load(tmp_path / "runs" / str(number) / "model", device="cpu")
        else:
            assert [script, words[0]] == ["python", "-m"]
            main(words[2:])
            assert (Path(words[3]) / "config.json").is_file()
    assert {script: done.count(script) for script in done} == {"chat.py": 1, "python": 5, "train_ds.py": 2}
    assert load(tmp_path / "lisa-7b-llama2-template", device="cpu").processor.text.template == "llava_llama_2"
    [[answer]] = load(tmp_path / "lisa-13b", device="cpu").teacher_forced([picture(8, 9)], [[ask("Where?", "[SEG].")]])
    assert answer.masks.shape == (1, 8, 9)
