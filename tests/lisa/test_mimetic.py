import pytest
import torch
from small_model import small_lisa

from lisa.mimetic import mimetic_start, sine_positions


def test_positions_are_sines_and_cosines_of_column_and_row():
    positions = sine_positions(3, 8)
    assert positions.shape == (9, 8)
    # Row 1, column 2: sin and cos of 2 and 2 / 10, then of 1 and 1 / 10.
    phases = torch.tensor([2.0, 0.2])
    expected = torch.cat([phases.sin(), phases.cos(), (phases / 2).sin(), (phases / 2).cos()])
    torch.testing.assert_close(positions[5], expected)


@pytest.fixture
def tower():
    model, _ = small_lisa()
    torch.manual_seed(0)
    mimetic_start(model.vlm.model.vision_tower)
    return model.vlm.model.vision_tower


def test_places_attend_to_themselves_at_the_start(tower):
    layer = tower.encoder.layers[0].self_attn
    product = layer.q_proj.weight[:16].T @ layer.k_proj.weight[:16]  # the first of two heads of width 16
    assert product.diagonal().mean() > 5 * product.mean().abs()
    assert product.diagonal().mean() > 0.3


def test_values_come_out_with_the_opposite_sign(tower):
    layer = tower.encoder.layers[1].self_attn
    product = layer.out_proj.weight @ layer.v_proj.weight
    assert product.diagonal().mean().item() == pytest.approx(-0.4, abs=0.1)


def test_the_class_token_keeps_its_own_position():
    model, _ = small_lisa()
    before = model.vlm.model.vision_tower.embeddings.position_embedding.weight[0].clone()
    mimetic_start(model.vlm.model.vision_tower)
    assert torch.equal(model.vlm.model.vision_tower.embeddings.position_embedding.weight[0], before)
