"""A full-size dry run: LISA-7B and LISA-13B on the meta device."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import CLIPVisionConfig

from lisa.config import LisaConfig
from lisa.released.checkpoint import skeleton
from lisa.released.config import vlm_config
from lisa.released.names import released_name
from sam_bridge import SAM_PRESETS, measure_sam

CLIP_L = CLIPVisionConfig(
    hidden_size=1024,
    intermediate_size=4096,
    num_hidden_layers=24,
    num_attention_heads=16,
    image_size=224,
    patch_size=14,
    projection_dim=768,
)
# width, MLP width, layers, heads, vocabulary; parameters with LoRA of rank 8 on q and v, as the reference counts them.
SIZES = {
    "7B": (4096, 11008, 32, 32, 32004, 7_708_941_616),
    "13B": (5120, 13824, 40, 40, 32003, 13_999_497_520),
}


def full_size(name: str):
    width, mlp, layers, heads, vocabulary, _ = SIZES[name]
    raw = {
        "hidden_size": width,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "rms_norm_eps": 1e-5,
    }
    return skeleton(LisaConfig(vlm_config=vlm_config(raw, CLIP_L, 1, vocabulary, 0), sam="vit_h"))


@pytest.fixture(scope="module", params=sorted(SIZES))
def dry(request):
    """(name, model without weights)."""
    return request.param, full_size(request.param)


def expected_language(name: str) -> dict[str, tuple[int, ...]]:
    width, mlp, layers, _, vocabulary, _ = SIZES[name]
    shapes = {"model.embed_tokens.weight": (vocabulary, width), "lm_head.weight": (vocabulary, width)}
    shapes["model.norm.weight"] = (width,)
    for k in range(layers):
        layer = f"model.layers.{k}."
        shapes |= {f"{layer}self_attn.{x}_proj.weight": (width, width) for x in "qkvo"}
        shapes |= {f"{layer}mlp.{x}_proj.weight": (mlp, width) for x in ("gate", "up")}
        shapes[f"{layer}mlp.down_proj.weight"] = (width, mlp)
        shapes |= {f"{layer}{x}_layernorm.weight": (width,) for x in ("input", "post_attention")}
    shapes |= {"model.mm_projector.weight": (width, 1024), "model.mm_projector.bias": (width,)}
    fcs = "model.text_hidden_fcs.0."
    shapes |= {f"{fcs}0.weight": (width, width), f"{fcs}0.bias": (width,)}
    return shapes | {f"{fcs}2.weight": (256, width), f"{fcs}2.bias": (256,)}


def test_names_and_shapes_are_those_of_the_released_checkpoint(dry):
    name, model = dry
    exported = {released_name(n, 1): tuple(t.shape) for n, t in model.state_dict().items()}
    exported.pop(None)
    sam = {n: shape for n, shape in exported.items() if n.startswith("model.visual_model.")}
    assert {n: shape for n, shape in exported.items() if n not in sam} == expected_language(name)
    assert len(sam) == 594
    assert sam["model.visual_model.image_encoder.pos_embed"] == (1, 64, 64, 1280)
    assert sam["model.visual_model.image_encoder.blocks.7.attn.rel_pos_h"] == (127, 80)
    assert sam["model.visual_model.image_encoder.blocks.6.attn.rel_pos_h"] == (27, 80)
    assert sam["model.visual_model.mask_decoder.iou_prediction_head.layers.2.weight"] == (4, 256)
    assert sum(torch.Size(shape).numel() for shape in sam.values()) == 641_090_864


def test_the_number_of_parameters_with_lora_is_the_references(dry):
    name, model = dry
    lora = LoraConfig(r=8, target_modules=r".*language_model.*\.(q_proj|v_proj)")
    model.vlm = get_peft_model(model.vlm, lora, low_cpu_mem_usage=True)
    assert sum(parameter.numel() for parameter in model.parameters()) == SIZES[name][-1]


def test_the_released_sams_are_recognised_by_their_shapes(dry):
    shapes = {name: tensor.shape for name, tensor in dry[1].sam.state_dict().items()}
    assert measure_sam(shapes) == SAM_PRESETS["vit_h"]


def test_weights_that_tell_no_size_are_refused_by_what_they_lack():
    with pytest.raises(ValueError, match=r"'image_encoder.patch_embed.proj.weight' is missing; name it with --sam"):
        measure_sam({})
