"""Parts of a step: what is measured belongs to the part it was done in, and nothing is lost."""

import json
import time

import pytest
import torch
from small_model import ask, picture, small_lisa

from lisa.profile_table import StepProfiler, summarize
from lisa.profiling import REST, Profile, backward_is, matmul_rate, part, peak_memory, timed


def test_without_a_profile_a_part_is_nothing_and_a_tensor_gets_no_hook():
    tensor = torch.ones(2, requires_grad=True) * 2
    assert part("a") is part("b")
    assert backward_is("a", tensor) is tensor
    assert not tensor._backward_hooks


def test_a_part_inside_a_part_counts_for_itself_only(monkeypatch):
    clock = [100.0]

    def work(seconds):
        clock[0] += seconds

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    profile = Profile("cpu")
    with profile.watch():
        work(1)
        with part("outer"):
            work(2)
            timed("inner")(work)(4)
            work(8)
        work(16)
    assert profile.seconds == {REST: 17, "outer": 10, "inner": 4}


def test_the_backward_pass_is_split_where_a_gradient_arrives():
    left, right = (torch.randn(8, 8, requires_grad=True) for _ in range(2))
    profile = Profile("cpu")
    with profile.watch(flops=True):
        with part("first"):
            middle = backward_is("first, backward", left @ right)
        with part("second"):
            out = middle[:4] @ middle
        with part("second, backward"):
            out.sum().backward()
    product = 2 * 8**3
    assert profile.flops == {
        "first": product,
        "second": product // 2,
        "second, backward": product,  # a product for each of its two sides
        "first, backward": 2 * product,
    }
    assert not profile.seconds


def test_only_one_profile_is_taken_at_a_time():
    with Profile("cpu").watch(), pytest.raises(ValueError, match="a profile is being taken already"):  # noqa: SIM117
        with Profile("cpu").watch():
            pass
    with Profile("cpu").watch():  # and the first one has ended
        pass


def test_convolutions_and_fused_attention_are_counted():
    profile = Profile("cpu")
    with profile.watch(flops=True), torch.no_grad():
        torch.nn.functional.conv2d(torch.ones(1, 3, 8, 8), torch.ones(5, 3, 2, 2))
        heads = torch.ones(1, 2, 6, 4)
        torch.nn.functional.scaled_dot_product_attention(heads, heads, heads)
    assert profile.flops[REST] == 2 * 7 * 7 * 5 * 3 * 2 * 2 + 2 * (2 * 2 * 6 * 6 * 4)


PARTS = {
    "data",
    "vision tower",
    "language model",
    "SAM encode",
    "mask decode",
    "losses",
    "losses and masks, backward",
    "SAM encode, backward",
    "language model, backward",
    "vision tower, backward",
    "optimiser",
}


def test_the_table_of_a_step_names_every_part_and_the_parts_add_up(tmp_path, capsys):
    model, processor = small_lisa()
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    image, mask = picture(30, 40, seed=1), torch.ones(1, 30, 40).bool().numpy()
    profiler = StepProfiler(3, "cpu", "fp32", tmp_path / "profile.json")
    took = []
    for _ in range(8):
        started = time.perf_counter()
        with profiler.step():
            with part("data"):
                talk = [[ask("Where is the red ball?", "Sure, [SEG].")]]
                batch = processor([image], talk, masks=[mask], ignore=[~mask[0]])
            loss = model(batch)["loss"]
            with part("losses and masks, backward"):
                loss.backward()
            with part("optimiser"):
                optimizer.step()
        took.append(time.perf_counter() - started)
    report = json.loads((tmp_path / "profile.json").read_text())
    assert set(report["parts"]) == PARTS | {REST}
    assert sum(row["seconds"] for row in report["parts"].values()) == pytest.approx(report["step"]["seconds"])
    assert 0 < report["step"]["seconds"] < sum(took)
    assert sum(row["share"] for row in report["parts"].values()) == pytest.approx(1)
    assert sum(row["gflop"] for row in report["parts"].values()) == pytest.approx(report["step"]["gflop"])
    assert all(report["parts"][name]["gflop"] > 0 for name in PARTS - {"data", "optimiser"})
    assert 0 < report["step"]["mfu"] < 1
    assert report["peak_memory_bytes"] > 100 * 2**20
    printed = capsys.readouterr().out
    assert all(name.split(",")[0].split()[0] in printed for name in PARTS)


def test_no_steps_are_never_looked_at(tmp_path):
    profiler = StepProfiler(0, "cpu", "fp32", tmp_path / "profile.json")
    for _ in range(5):
        with profiler.step():
            assert part("a") is part("b")
    assert not list(tmp_path.iterdir())


def test_shares_are_of_the_whole_step():
    profile = Profile("cpu")
    profile.seconds.update({"a": 6.0, "b": 2.0})
    profile.flops.update({"a": 30})
    report = summarize(profile, steps=2, rate=20.0)
    assert report["parts"]["a"] == {"seconds": 3.0, "share": 0.75, "gflop": 3e-8, "mfu": 0.5}
    assert report["step"] == {"seconds": 4.0, "share": 1.0, "gflop": 3e-8, "mfu": 30 / 4 / 20}


def test_the_machine_is_measured():
    assert matmul_rate("cpu", torch.float32, size=64, times=2) > 1e6
    assert peak_memory("cpu") > 50 * 2**20
