import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_model import ask, picture, small_lisa
from torch.utils._python_dispatch import TorchDispatchMode

from lisa.arguments import TrainArgs
from lisa.trainable import choose_trainable
from lisa.trainer import RunLog, Trainer

pytest.importorskip("deepspeed")

ALL_LOSSES = {"mask_loss_size": "low_res"} | dict.fromkeys(
    [f"{term}_loss_weight" for term in ("dense", "iou", "ground", "look")], 1.0
)


def draw(epoch, i):
    """A picture with one answer that points and one that does not, another for every (epoch, i)."""
    rng = np.random.default_rng((epoch, i))
    image = picture(24, 32, seed=int(rng.integers(1000)))
    return (
        image,
        [ask("Where is the red ball?", "Sure, [SEG]."), ask("Is there a dog?", "No.")],
        rng.random((1, 24, 32)) > 0.5,
    )


def train(folder, until, **changes):
    """A run of 3 vision and 3 grounding steps and 2 epochs of 2 steps, up to step `until`; returns the trainer."""
    args = TrainArgs(
        version="tiny",
        trainable="all",
        gradient_checkpointing=False,
        epochs=2,
        steps_per_epoch=2,
        vision_steps=3,
        grounding_steps=3,
        ground_loss_weight=1.0,
        batch_size=2,
        grad_accumulation_steps=2,
        warmup_steps=2,
        precision="fp32",
        zero_stage=0,
        optimizer="muon",
        lr=1e-2,
        workers=0,
        save_every=3,
        print_freq=1,
        log_base_dir=folder,
        exp_name="run",
    )
    args = replace(args, **changes)
    model, processor = small_lisa(**ALL_LOSSES)

    def collate(samples):
        images, talks, masks = zip(*samples, strict=True)
        ignore = [np.zeros((24, 32), bool)] * len(samples)
        return processor(images, talks, masks=masks, ignore=ignore, names=[["red ball"]] * len(samples))

    choose_trainable(model, processor, args)
    args.run_dir.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(model, args, draw, collate)
    for stage in args.stages:
        trainer.run_until(min(until, stage.last), stage)
    return trainer


def weights(trainer):
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def saved(folder):
    return sorted(path.name for path in (folder / "run" / "checkpoints").iterdir())


def lines(folder):
    return [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "how",
    [
        {"optimizer": "muon"},
        {"optimizer": "adamw"},
        {"optimizer": "adamw", "trainable": "lora,projector,text_hidden_fcs", "lora_dropout": 0.5},
    ],
)
@pytest.mark.parametrize("until", [1, 3, 5, 6, 7, 9])  # in and between the three stages
def test_a_run_that_was_cut_off_and_resumed_ends_with_the_same_weights(tmp_path, how, until):
    whole = weights(train(tmp_path / "whole", 10, **how))
    train(tmp_path / "cut", until, **how)  # it leaves a checkpoint at its end
    (tmp_path / "cut" / "run" / "checkpoints" / "step_0000010.partial").mkdir()
    resumed = train(tmp_path / "cut", 10, **how, resume=True)
    assert resumed.step == 10
    for name, tensor in weights(resumed).items():
        assert torch.equal(tensor, whole[name]), name
    first, second = lines(tmp_path / "whole"), lines(tmp_path / "cut")
    assert [line["step"] for line in second] == list(range(1, 11))
    assert [line["loss"] for line in first] == [line["loss"] for line in second]


def test_training_learns_logs_every_term_and_follows_the_learning_rate(tmp_path):
    train(tmp_path, 10)
    log = lines(tmp_path)
    assert [line["stage"] for line in log] == ["vision"] * 3 + ["grounding"] * 3 + ["answers"] * 4
    assert log[0].keys() == {"step", "stage", "loss", "ground", "ground_sam", "lr", "images_per_second"}
    assert {"loss", "ce", "ground_sam", "bce", "dice", "dense"} <= log[3].keys()
    assert {"loss", "ce", "bce", "dice", "dense", "iou", "ground", "look"} <= log[6].keys()
    assert log[9]["ce"] < log[6]["ce"]
    assert max(line["lr"] for line in log) == pytest.approx(1e-2)
    # The rate rises and falls in each stage anew; DeepSpeed shows that of the step to come, and warms up one late.
    assert [round(line["lr"] * 1e2, 2) for line in log] == [0, 0.5, 1, 0, 0.5, 1, 0, 0.5, 1, 0.5]
    assert any((tmp_path / "run" / "tensorboard").iterdir())


def test_the_schedule_reaches_the_matrices_and_the_rest_each_with_its_own_rate(tmp_path):
    matrices, rest = train(tmp_path, 8, lr=1e-3, muon_lr=4e-3).engine.optimizer.param_groups
    assert 0 < rest["lr"] <= 1e-3
    assert matrices["lr"] == pytest.approx(4 * rest["lr"])


def test_the_last_two_checkpoints_are_kept(tmp_path):
    train(tmp_path, 10)
    assert saved(tmp_path) == ["step_0000009", "step_0000010"]


def test_a_run_that_is_done_is_not_trained_again(tmp_path):
    done = weights(train(tmp_path, 10))
    again = train(tmp_path, 10, resume=True)
    assert all(torch.equal(tensor, done[name]) for name, tensor in weights(again).items())
    assert len(lines(tmp_path)) == 10


def test_a_loss_that_is_not_finite_ends_the_run_with_a_sentence(tmp_path, monkeypatch):
    trainer = train(tmp_path, 6)
    with torch.no_grad():
        trainer.model.text_hidden_fcs[0][0].weight.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"the loss was not finite at step 6; lower --lr"):
        trainer.run_until(7, trainer.args.stages[-1])


def test_a_loss_that_was_not_finite_between_two_lines_of_the_log_is_found_before_a_checkpoint(tmp_path, monkeypatch):
    trainer = train(tmp_path, 6, print_freq=100, save_every=100)
    forward, seen = trainer.model.forward, []

    def broken_once(batch, stage, shares):
        seen.append(stage)
        terms = forward(batch, stage, shares)
        return terms | {"loss": terms["loss"] * (float("nan") if len(seen) == 3 else 0.0)}

    monkeypatch.setattr(trainer.model, "forward", broken_once)
    with pytest.raises(ValueError, match="the loss was not finite at step 7; lower --lr"):
        trainer.run_until(10, trainer.args.stages[-1])
    assert saved(tmp_path) == ["step_0000003", "step_0000006"]


class Waits(TorchDispatchMode):
    """Notes what, on a GPU, would make the host wait for an answer."""

    NAMES = ("_local_scalar_dense", "nonzero", "_unique2", "masked_select", "repeat_interleave", "bincount")

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._overloadpacket.__name__
        by_mask = name in ("index", "index_put") and any(i is not None and i.dtype == torch.bool for i in args[1])
        if by_mask or name in self.NAMES:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


def test_a_step_waits_for_no_answer_of_the_device(tmp_path):
    trainer = train(tmp_path, 6, optimizer="adamw")
    model = trainer.model
    model.config.look_loss_weight = 0
    batch = replace(next(trainer.batches), names=None)
    with Waits() as waits:
        model(batch, "answers")["loss"].backward()
    assert waits.seen == []
    with Waits() as waits:
        model(replace(batch, plan=None), "answers")
    assert waits.seen  # without a plan it would


def test_frozen_parts_are_in_eval_mode_and_without_graph(tmp_path):
    # Recomputing activations, transformers lets patches ask for a gradient.
    how = {"trainable": "lora,text_hidden_fcs,mask_decoder", "gradient_checkpointing": True}
    model = train(tmp_path, 7, optimizer="adamw", **how).model
    parts = model.backbone.parts()
    assert not any(module.training for module in parts["vision_tower"].modules())
    assert not any(module.training for module in model.sam.image_encoder.modules())
    assert parts["language_model"].training
    assert model.sam.mask_decoder.training
    batch = small_lisa(**ALL_LOSSES)[1]([picture(24, 32)], [[ask("Where?")]])
    assert not model.backbone.image_tokens(batch.pixel_values).requires_grad
    assert not model.sam_embeddings(batch.sam_pixels).image.requires_grad


def test_a_profile_of_some_steps_is_written_beside_the_run_and_changes_nothing(tmp_path, capsys):
    plain = weights(train(tmp_path / "plain", 10))
    watched = weights(train(tmp_path / "watched", 10, profile=2))
    assert all(torch.equal(tensor, plain[name]) for name, tensor in watched.items())
    report = json.loads((tmp_path / "watched" / "run" / "profile.json").read_text())
    assert {"data", "SAM encode", "optimiser"} <= report["parts"].keys()
    assert "whole step" in capsys.readouterr().out


def test_the_vision_stage_leaves_the_rest_as_it_is_and_decays_nothing_there(tmp_path):
    before = dict(small_lisa(**ALL_LOSSES)[0].state_dict())
    after = weights(train(tmp_path, 3))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    both_encoders = ("vision_tower", "sam.image_encoder")
    rest = ("projector", "embed_tokens", "lm_head", "name_image")
    assert all(any(part in name for name in changed) for part in both_encoders)
    assert all(any(part in name for part in (*both_encoders, *rest)) for name in changed)


def test_lines_of_steps_that_will_be_done_again_are_dropped(tmp_path):
    log = RunLog(tmp_path, 0)
    for step in (1, 2, 3):
        log.write(step, "answers", {"loss": step / 3})
    RunLog(tmp_path, 2).write(3, "answers", {"loss": 9.0})
    steps = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [
        {"step": 1, "stage": "answers", "loss": 0.333333},
        {"step": 2, "stage": "answers", "loss": 0.666667},
        {"step": 3, "stage": "answers", "loss": 9.0},
    ]


def test_a_line_that_was_cut_off_by_a_kill_does_not_stop_a_resumed_run(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "stage": "answers", "loss": 0.5}\n{"step": 2, "sta')
    RunLog(tmp_path, 1).write(2, "answers", {"loss": 0.25})
    log = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2]


def dtypes_of_products(folder, precision, **changes) -> set[torch.dtype]:
    """What the linear layers of the language model give in a training step."""
    seen: set[torch.dtype] = set()

    def look(module, _, output):
        if isinstance(module, torch.nn.Linear) and module.training and module.in_features == module.out_features:
            seen.add(output.dtype)

    hook = torch.nn.modules.module.register_module_forward_hook(look)
    try:
        train(folder, 1, vision_steps=0, grounding_steps=0, precision=precision, **changes)
    finally:
        hook.remove()
    return seen


PRODUCTS = {"fp32": torch.float32, "bf16": torch.bfloat16, "bf16_mixed": torch.bfloat16}


@pytest.mark.parametrize("precision", PRODUCTS)
def test_products_have_the_precision_of_the_flag(tmp_path, precision):
    assert dtypes_of_products(tmp_path, precision, optimizer="adamw") == {PRODUCTS[precision]}
