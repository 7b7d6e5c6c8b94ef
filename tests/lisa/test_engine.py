import pytest

from lisa.arguments import TrainArgs
from lisa.engine import SampleStream, deepspeed_config, micro_batches

ARGS = TrainArgs(epochs=3, steps_per_epoch=4, batch_size=2, grad_accumulation_steps=2)


def draw(epoch: int, i: int) -> tuple[int, int]:
    return epoch, i


def stream(rank=0, world=1, first_step=0, batch_size=2) -> list[list[tuple[int, int]]]:
    args = TrainArgs(epochs=3, steps_per_epoch=4, batch_size=batch_size, grad_accumulation_steps=2)
    samples = SampleStream(draw, list, args, rank, world, first_step)
    return [samples[n] for n in range(len(samples))]


def test_every_sample_of_every_epoch_comes_once_and_in_order():
    # 4 steps of 2 micro-batches of 2 pictures: 16 samples an epoch, 3 epochs, 24 micro-batches
    batches = stream()
    assert len(batches) == 24
    assert [sample for batch in batches for sample in batch] == [(epoch, i) for epoch in range(3) for i in range(16)]


def test_two_ranks_share_what_one_rank_would_read():
    alone = stream(batch_size=4)
    first, second = stream(rank=0, world=2), stream(rank=1, world=2)
    assert [one + other for one, other in zip(first, second, strict=True)] == alone


@pytest.mark.parametrize(
    ("world", "batch_size", "accumulation"), [(1, 2, 4), (2, 2, 2), (4, 2, 1), (2, 1, 4), (1, 8, 1)]
)
@pytest.mark.parametrize("step", [0, 5])
def test_a_step_draws_the_same_samples_on_any_number_of_ranks(world, batch_size, accumulation, step):
    def samples(world, batch_size, accumulation):
        args = TrainArgs(epochs=2, steps_per_epoch=4, batch_size=batch_size, grad_accumulation_steps=accumulation)
        streams = [SampleStream(draw, list, args, rank, world, step) for rank in range(world)]
        steps = range(len(streams[0]) // accumulation)
        of_step = [[s[n * accumulation + k] for k in range(accumulation) for s in streams] for n in steps]
        return [sorted(sample for batch in batches for sample in batch) for batches in of_step]

    assert samples(world, batch_size, accumulation) == samples(1, 8, 1)


def test_grounding_steps_come_before_the_epochs_and_count_as_steps():
    args = TrainArgs(epochs=1, steps_per_epoch=4, grounding_steps=2, batch_size=1, grad_accumulation_steps=1)
    samples = SampleStream(draw, list, args, 0, 1, 0)
    assert [samples[n] for n in range(len(samples))] == [[(n // 4, n % 4)] for n in range(6)]


@pytest.mark.parametrize("step", [1, 5, 12])
def test_a_resumed_run_reads_on_at_the_very_sample(step):
    assert stream(first_step=step) == stream()[2 * step :]
    assert stream(rank=1, world=2, first_step=step) == stream(rank=1, world=2)[2 * step :]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order_whatever_the_number_of_workers(workers):
    samples = SampleStream(draw, str, ARGS, 0, 1, 0)
    assert list(micro_batches(samples, workers)) == [str(batch) for batch in stream()]


def test_the_deepspeed_settings_follow_the_flags():
    args = TrainArgs(epochs=2, steps_per_epoch=5, warmup_steps=3, clip=0.7, precision="bf16", zero_stage=1)
    config = deepspeed_config(args, steps=10)
    assert (config["bf16"]["enabled"], config["fp16"]["enabled"]) == (True, False)
    assert (config["zero_optimization"]["stage"], config["gradient_clipping"]) == (1, 0.7)
    params = config["scheduler"]["params"]
    assert (params["total_num_steps"], params["warmup_num_steps"]) == (10, 3)
    assert params["warmup_type"] == "linear"
    without = deepspeed_config(TrainArgs(warmup_steps=0, precision="fp32"), 10)
    assert without["scheduler"]["params"]["warmup_num_steps"] == 1  # DeepSpeed takes no 0
    assert not deepspeed_config(TrainArgs(precision="bf16_mixed"), 10)["bf16"]["enabled"]
