from dataclasses import fields, replace
from pathlib import Path

import pytest

from lisa.arguments import PRESETS, TINY, TrainArgs, parse, read_flags
from lisa.flag_ranges import RANGES
from lisa.train_checks import flag_problems

NAMES = """
version sam vision_tower vision_pretrained conv_type model_max_length use_mm_start_end seg_state
trainable lora_r lora_alpha lora_dropout lora_target_modules attention gradient_checkpointing compile
dataset_dir dataset sample_rates sem_seg_data refer_seg_data vqa_data reason_seg_data own_data val_dataset
elsewhere index_dir ignored_is_background
num_classes_per_sample explanatory name_targets cache_sam workers
ce_loss_weight bce_loss_weight dice_loss_weight dense_loss_weight iou_loss_weight ground_loss_weight
look_loss_weight
mask_loss_size
epochs steps_per_epoch vision_steps grounding_steps processes batch_size grad_accumulation_steps
optimizer lr muon_lr warmup_steps beta1 beta2 weight_decay clip loss_normalization max_skipped_steps
precision zero_stage packing
exp_name log_base_dir seed resume overwrite save_every eval_every no_eval eval_only val_batch_size val_limit
print_freq profile save_dtype local_rank
"""


def test_the_names_of_the_flags_are_frozen():
    assert [field.name for field in fields(TrainArgs)] == NAMES.split()


def test_a_pretrained_model_is_trained_with_the_references_defaults():
    args = read_flags(["--version", "some/llava"])
    wanted = {
        "version": "some/llava",
        "sam": "auto",
        "conv_type": "llava_v1",
        "model_max_length": 512,
        "use_mm_start_end": True,
        "lora_r": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.05,
        "lora_target_modules": "q_proj,v_proj",
        "dataset": "sem_seg||refer_seg||vqa||reason_seg",
        "sample_rates": "9,3,3,1",
        "num_classes_per_sample": 3,
        "explanatory": 0.1,
        "ce_loss_weight": 1.0,
        "bce_loss_weight": 2.0,
        "dice_loss_weight": 0.5,
        "epochs": 10,
        "steps_per_epoch": 500,
        "batch_size": 2,
        "grad_accumulation_steps": 10,
        "lr": 3e-4,
        "beta1": 0.9,
        "beta2": 0.95,
        "precision": "auto",
        "zero_stage": 2,
        "exp_name": "lisa",
        "dataset_dir": Path("dataset"),
        "val_dataset": "ReasonSeg|val",
    }
    assert {name: getattr(args, name) for name in wanted} == wanted


def test_no_flags_are_the_tiny_preset():
    assert parse([]) == TINY
    assert flag_problems(TINY) == []


@pytest.mark.parametrize("argv", [["--version", "tiny"], ["--version=tiny"]])
def test_version_chooses_a_preset_and_the_other_flags_change_it(argv):
    args = parse([*argv, "--lr", "0.5", "--no_packing"])
    assert (args.lr, args.packing) == (0.5, False)
    assert args.trainable == PRESETS["tiny"].trainable
    assert args.dataset_dir == TINY.dataset_dir


@pytest.mark.parametrize("spelling", ["--no_packing", "--no-packing"])
def test_a_switch_can_be_switched_off(spelling):
    assert parse(["--packing"]).packing
    assert not parse([spelling]).packing


@pytest.mark.parametrize(
    "argv", [["--nonsense"], ["--lr", "fast"], ["--precision", "int3"], ["--zero_stage", "7"], ["--conv_type", "v9"]]
)
def test_an_unknown_flag_or_value_ends_with_status_2(argv, capsys):
    with pytest.raises(SystemExit) as end:
        parse(argv)
    assert end.value.code == 2
    assert argv[-1] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--resume", "--overwrite"], "--resume continues a run and --overwrite deletes it"),
        (["--optimizer", "muon", "--zero_stage", "2"], "--optimizer muon needs whole matrices"),
        (["--optimizer", "muon", "--precision", "bf16"], "--optimizer muon needs whole matrices"),
        (["--trainable", "new_tokens", "--weight_decay", "0.1"], "--weight_decay would shrink"),
        (["--trainable", "lora", "--lora_target_modules", " ,"], "--lora_target_modules is empty"),
        (["--grounding_steps", "5", "--ground_loss_weight", "0"], "--vision_steps and --grounding_steps learn"),
        (["--trainable", "language_model", "--vision_steps", "5"], "--vision_steps teach the vision tower"),
        (["--eval_only", "--no_eval"], "--eval_only"),
        (["--sam", "vit_x"], "--sam"),
        (["--trainable", "everything"], "--trainable"),
        (["--ce_loss_weight", "0", "--bce_loss_weight", "0", "--dice_loss_weight", "0"], "nothing would be learned"),
        (["--cache_sam", "kept"], "--cache_sam keeps what SAM's image encoder gives, but --trainable all"),
        (
            ["--cache_sam", "kept", "--trainable", "lora,image_encoder"],
            "name parts in --trainable without image_encoder",
        ),
        (["--exp_name", "..", "--overwrite"], "--exp_name '..' is no name of a folder"),
        (["--exp_name", "a/b"], "--exp_name 'a/b' is no name of a folder"),
        (["--index_dir", f"{__file__}/below"], "is a file; name a folder"),
        (["--vision_pretrained", "gone.pth"], "--vision_pretrained gone.pth: there is no such file"),
        (["--vision_tower", "./gone"], "--vision_tower ./gone: there is no such folder"),
        (["--version", "gone/from/here"], "--version gone/from/here: there is no such folder"),
        (["--version", str(Path(__file__).parent)], "holds no config.json"),
    ],
)
def test_what_contradicts_itself_is_refused_at_the_start_with_a_sentence(argv, sentence):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the sentence is below
        parse(argv)
    assert sentence in str(refusal.value)


FREE = {"version", "sam", "vision_tower", "vision_pretrained", "trainable", "lora_target_modules", "dataset_dir",
        "dataset", "sample_rates", "sem_seg_data", "refer_seg_data", "vqa_data", "reason_seg_data", "own_data",
        "val_dataset", "elsewhere", "index_dir", "cache_sam", "exp_name", "log_base_dir"}  # fmt: skip
"""Texts and paths; what is wrong with them is told by lisa.train_checks and datasets.names."""


@pytest.mark.parametrize("field", fields(TrainArgs), ids=lambda field: field.name)
def test_every_flag_is_a_choice_a_switch_a_text_or_a_number_within_a_range(field):
    value = getattr(TrainArgs(), field.name)
    if isinstance(value, bool) or "Literal" in field.type:
        assert field.name not in FREE
        return
    if field.name in FREE:
        assert isinstance(value, (str, Path))
        return
    allowed = RANGES[field.name]
    assert value in allowed
    assert getattr(TINY, field.name) in allowed
    outside = [float("nan"), float("inf"), -float("inf"), -0.5] if isinstance(value, float) else [int(allowed.low) - 1]
    for wrong in outside:
        args = replace(TINY, **{field.name: wrong})
        assert any(f"--{field.name} {wrong}: it must be" in problem for problem in flag_problems(args)), wrong


def test_all_that_is_wrong_is_told_at_once():
    wrong = ["--version", "gone/from/here", "--lr=-1", "--clip=nan", "--batch_size", "0", "--exp_name", "a/b",
             "--vision_pretrained", "x.pth"]  # fmt: skip
    with pytest.raises(ValueError, match="8 problems") as refusal:
        parse(wrong, [lambda args: [f"{args.dataset} is strange"], lambda args: ["so is this"]])
    for part in ("gone/from/here", "--lr", "--clip", "--batch_size", "a/b", "x.pth", "is strange", "so is this"):
        assert part in str(refusal.value)


KEPT = str(Path(__file__).resolve().parents[2] / "models" / "tiny")


def test_a_model_that_is_fine_tuned_decides_what_it_was_trained_with():
    args = parse(["--version", KEPT])
    assert (args.conv_type, args.model_max_length, args.use_mm_start_end) == ("plain", 768, True)
    assert (args.seg_state, args.look_loss_weight, args.iou_loss_weight) == ("before", 1.0, 0.1)
    assert (args.lora_r, args.zero_stage, args.epochs) == (8, 2, 10)  # the others keep their defaults
    assert parse(["--version", KEPT, "--model_max_length", "1000"]).model_max_length == 1000


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--conv_type", "llava_v1"], "was trained with conv_type plain; leave --conv_type out"),
        (["--no_use_mm_start_end"], "was trained with use_mm_start_end True"),
        (["--seg_state=at"], "was trained with seg_state before"),
        (["--model-max-length", "1025"], "can tell 1024 places apart"),
        (["--look_loss_weight", "0"], "was built with the head of that loss"),
    ],
)
def test_a_flag_that_contradicts_the_model_is_refused(argv, sentence):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the sentence is below
        parse(["--version", KEPT, *argv])
    assert sentence in str(refusal.value)


@pytest.mark.parametrize(
    ("argv", "steps"),
    [
        ([], (700, 350, 1000)),
        (["--epochs", "1", "--steps_per_epoch", "5"], (4, 2, 5)),
        (["--steps-per-epoch=100"], (350, 175, 500)),
        (["--epochs", "1", "--vision_steps", "7"], (7, 70, 200)),
        (["--epochs", "20"], (700, 350, 4000)),
        (["--version", KEPT, "--epochs", "1", "--steps_per_epoch", "5"], (0, 0, 5)),
    ],
)
def test_a_short_run_has_short_first_stages(argv, steps):
    args = parse(argv)
    assert (args.vision_steps, args.grounding_steps, args.epochs * args.steps_per_epoch) == steps
    assert f"{sum(steps)} optimiser steps" in args.summary()


@pytest.mark.parametrize(
    ("record", "steps"),
    [('{"vision_steps": "4", "grounding_steps": 2}', (4, 2)), ("{", (7, 4)), ("[]", (7, 4)), ('{"lr": "1"}', (7, 4))],
)
def test_a_longer_continuation_keeps_the_first_stages_as_they_were(record, steps, tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "flags.json").write_text(record)
    longer = ["--log_base_dir", str(tmp_path), "--epochs", "2", "--steps_per_epoch", "5", "--resume"]
    args = parse(longer)
    assert (args.vision_steps, args.grounding_steps) == steps
    assert parse([*longer, "--vision_steps", "9"]).vision_steps == 9


def test_own_data_without_names_skips_the_stage_that_learns_from_them(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"image": "a.png"}\n')
    own = ["--dataset", "own", "--own_data", str(tmp_path / "a.jsonl"), "--epochs", "1", "--steps_per_epoch", "5"]
    args = parse(own)
    assert [stage.name for stage in args.stages] == ["grounding", "answers"]
    assert "no mask of your data has a name" in args.summary()
    assert "--version models/tiny goes on from a small trained model" in args.summary()
    (tmp_path / "a.jsonl").write_text('{"image": "a.png", "names": ["cow"]}\n')
    assert [stage.name for stage in parse(own).stages] == ["vision", "grounding", "answers"]


def test_a_warm_up_that_does_not_end_is_told():
    args = parse(["--version", KEPT, "--epochs", "1", "--steps_per_epoch", "5"])
    assert "ends within --warmup_steps 100" in args.summary()


def test_every_flag_has_a_help_text(capsys):
    with pytest.raises(SystemExit):
        parse(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for field in fields(TrainArgs):
        assert f"--{field.name}" in text or f"--{field.name.replace('_', '-')}" in text, field.name
    assert "Largest norm of the gradient." in text


def test_the_mixtures_options_are_flags():
    from datasets.mixture import MixtureOptions

    assert set(MixtureOptions.__dataclass_fields__) <= {field.name for field in fields(TrainArgs)}


def test_steps_and_folder_of_a_run_follow_from_the_flags():
    args = TrainArgs(epochs=3, steps_per_epoch=7, grounding_steps=2, log_base_dir=Path("a"), exp_name="b")
    assert args.total_steps == 23
    assert args.run_dir == Path("a/b")


@pytest.mark.parametrize(("gpu", "processes", "batch_size"), [(False, 2, 4), (True, 1, 8)])
def test_the_tiny_preset_does_the_same_steps_on_a_gpu_in_one_process(gpu, processes, batch_size, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    args = parse([])
    assert (args.processes, args.batch_size) == (processes, batch_size)
    assert parse(["--processes", "3"]).processes == 3
