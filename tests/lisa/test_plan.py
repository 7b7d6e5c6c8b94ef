"""Where losses read a batch, found once where it is made."""

import torch
from small_model import ask, picture, small_lisa, unpacked

from lisa.losses import text_loss
from lisa.plan import Plan
from lisa.processing import Batch
from lisa.seg import gather_seg_states, image_of_seg, seg_positions

IMAGES = [picture(30, 40, seed=1), picture(50, 20, seed=2), picture(32, 32, seed=3)]
TALK = [
    [ask("Where is the red ball?", "Sure, [SEG]."), ask("Where is the dog?", "There is no dog.")],
    [ask("Is there a cat?", "No.")],
    [ask("Show both of them, please.", "Sure, [SEG] and [SEG]."), ask("Where is the red ball?", "[SEG].")],
]


def test_states_and_words_are_those_that_the_rows_say():
    model, processor = small_lisa()
    for one in (processor, unpacked(processor)):
        rows = one(IMAGES, TALK).rows
        plan = Plan.of(rows, 3, model.config.seg_token_id, "before")
        hidden = torch.randn(*rows.labels.shape, 5)
        line = hidden.flatten(0, 1)[plan.layout.places]
        positions = seg_positions(rows, model.config.seg_token_id, "before")
        assert torch.equal(line[plan.seg], gather_seg_states(hidden, positions))
        assert torch.equal(plan.image_of, image_of_seg(rows, positions))
        assert plan.images.tolist() == [0, 2]
        assert plan.row_of.tolist() == [0, 1, 1, 1]
        assert plan.masks_per_image == (1, 0, 3)
        heard = []
        text_loss(
            hidden, rows.labels, lambda states, heard=heard: heard.append(states) or torch.zeros(len(states), 2000)
        )
        assert torch.equal(line[plan.learned], heard[0])
        assert torch.equal(plan.words, rows.labels[rows.labels != -100])


def test_a_batch_to_learn_from_carries_its_plan_and_takes_it_along():
    _, processor = small_lisa()
    masks = [torch.ones(n, *image.shape[:2]).bool().numpy() for n, image in zip((1, 0, 3), IMAGES, strict=True)]
    ignore = [torch.zeros(*image.shape[:2]).bool().numpy() for image in IMAGES]
    assert processor(IMAGES, TALK).plan is None
    batch = processor(IMAGES, TALK, masks=masks, ignore=ignore)
    moved = batch.to("meta")
    assert moved.plan.seg.device.type == moved.plan.layout.places.device.type == "meta"
    assert all(row.allowed.device.type == "meta" for row in moved.plan.layout.shared)
    assert moved.plan.masks_per_image == (1, 0, 3)
    assert moved.sizes == batch.sizes


def test_a_loader_can_pin_every_tensor_of_a_batch(monkeypatch):
    _, processor = small_lisa()
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    batch = processor(IMAGES, TALK)
    assert isinstance(batch.pin_memory(), Batch)
    wanted = [
        batch.offset,
        batch.pixel_values,
        batch.sam_pixels,
        *(x for x in vars(batch.rows).values() if x is not None),
    ]
    assert {id(tensor) for tensor in pinned} == {id(tensor) for tensor in wanted}
