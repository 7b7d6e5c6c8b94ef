"""Compiled parts give what they gave before."""

import torch
from small_model import ask, picture, small_lisa

from lisa.compile import compile_parts


def test_compiled_parts_give_the_same_loss_and_keep_the_names_of_their_weights():
    model, processor = small_lisa()
    mask = torch.ones(1, 30, 40).bool().numpy()
    talk = [[ask("Where is the red ball?", "Sure, [SEG].")]]
    batch = processor([picture(30, 40, seed=1)], talk, masks=[mask], ignore=[~mask[0]])
    names, plain = list(model.state_dict()), model(batch)["loss"]
    compile_parts(model, backend="eager")  # without a compiler, which would take minutes
    torch.testing.assert_close(model(batch)["loss"], plain)
    assert list(model.state_dict()) == names
    assert all(layer._compiled_call_impl is not None for layer in model.vlm.model.vision_tower.encoder.layers)
