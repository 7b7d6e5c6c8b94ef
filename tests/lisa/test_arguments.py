from dataclasses import fields
from pathlib import Path

import pytest

from lisa.arguments import PRESETS, TINY, TrainArgs, parse

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
optimizer lr muon_lr warmup_steps beta1 beta2 weight_decay clip precision zero_stage packing
exp_name log_base_dir seed resume overwrite save_every eval_every no_eval eval_only val_batch_size val_limit
print_freq profile save_dtype local_rank
"""


def test_the_names_of_the_flags_are_frozen():
    assert [field.name for field in fields(TrainArgs)] == NAMES.split()


def test_a_pretrained_model_is_trained_with_the_references_defaults():
    args = parse(["--version", "some/llava"])
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
    TINY.check()


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
        (["--version", "some/llava", "--grounding_steps", "5"], "--vision_steps and --grounding_steps learn"),
        (["--epochs", "0"], "--epochs is 0; it must be at least 1"),
        (["--batch_size", "-1"], "--batch_size is -1; it must be at least 1"),
        (["--profile", "-1"], "--profile is -1; it is a number of steps"),
        (["--save_every", "0"], "--save_every is 0; it must be at least 1"),
        (["--explanatory", "1.5"], "--explanatory is 1.5; it is a share"),
        (["--name_targets", "-0.1"], "--name_targets is -0.1; it is a share"),
        (["--eval_only", "--no_eval"], "--eval_only"),
        (["--sam", "vit_x"], "--sam"),
        (["--trainable", "everything"], "--trainable"),
        (["--cache_sam", "kept"], "--cache_sam keeps what SAM's image encoder gives, but --trainable all"),
        (
            ["--cache_sam", "kept", "--trainable", "lora,image_encoder"],
            "name parts in --trainable without image_encoder",
        ),
    ],
)
def test_what_contradicts_itself_is_refused_at_the_start_with_a_sentence(argv, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse(argv)


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
