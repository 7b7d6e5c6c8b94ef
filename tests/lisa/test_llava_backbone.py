import pytest
import torch
from small_model import picture, small_config, small_tokenizer
from transformers import CLIPImageProcessor, SiglipVisionConfig

from lisa.backbones import adapt, build
from lisa.backbones.llava import llava_tokens_per_image
from lisa.backbones.merging import MergingProjector
from lisa.modeling import LisaModel
from lisa.processing import LisaProcessor


@pytest.fixture(scope="module")
def merging():
    """The small model with 2 x 2 of its 4 x 4 patches in one image token."""
    config = small_config(small_tokenizer())
    config.vlm_config.merge_patches = 2
    config.vlm_config.stem_widths = [8, 16, 16]
    torch.manual_seed(0)
    return LisaModel(config)


def test_merging_leaves_a_quarter_of_the_image_tokens(merging):
    assert llava_tokens_per_image(merging.config.vlm_config) == 4
    assert merging.backbone.image_tokens(torch.zeros(3, 3, 32, 32)).shape == (3, 4, 32)


def test_a_token_is_made_of_neighbouring_patches():
    config = small_config(small_tokenizer()).vlm_config
    projector = MergingProjector(config, 2)
    seen = []
    projector.linear_1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    numbered = torch.arange(16.0)[None, :, None].expand(1, 16, 32)  # 4 x 4 patches, each told by its number
    projector(numbered)
    assert seen[0][0, :, ::32].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


@pytest.mark.parametrize("family", ["clip", "siglip"])
@pytest.mark.parametrize("layer", [-2, -1, 0, 2, [-1, 1]])
@pytest.mark.parametrize("strategy", ["default", "full"])
def test_image_tokens_are_those_of_transformers_and_no_layer_above_the_chosen_one_is_computed(family, layer, strategy):
    config = small_config(small_tokenizer()).vlm_config
    if family == "siglip":
        sizes = {"image_size": 32, "patch_size": 8, "hidden_size": 32, "intermediate_size": 64}
        config.vision_config = SiglipVisionConfig(
            **sizes, num_hidden_layers=2, num_attention_heads=2, vision_use_head=False
        )
    config.vision_config.num_hidden_layers = 3
    config.vision_feature_layer, config.vision_feature_select_strategy = layer, strategy
    torch.manual_seed(0)
    vlm = build(config).eval()
    computed = []
    for number, block in enumerate(vlm.model.vision_tower.encoder.layers):
        block.register_forward_hook(lambda *_, number=number: computed.append(number))
    pixels, seen = torch.randn(2, 3, 32, 32), []
    hook = vlm.model.vision_tower.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    given = adapt(vlm).image_tokens(pixels)
    hook.remove()
    assert seen == [pixels]
    assert computed == list(range({-2: 2, -1: 3, 0: 0, 2: 2}.get(layer, 3) if isinstance(layer, int) else 3))
    tower = vlm.model.vision_tower(pixels, output_hidden_states=True).hidden_states
    expected = [tower[k][:, strategy == "default" :] for k in ([layer] if isinstance(layer, int) else layer)]
    projected = vlm.model.multi_modal_projector(torch.cat(expected, dim=-1))
    torch.testing.assert_close(given, projected, rtol=0, atol=1e-6)


def test_a_merging_model_comes_back_from_its_folder(merging, tmp_path):
    from lisa import load
    from lisa.checkpoint import save

    square = {"height": 32, "width": 32}
    images = CLIPImageProcessor(size=square, crop_size=square, do_center_crop=False)
    processor = LisaProcessor(merging.config, small_tokenizer(), images)
    save(merging, processor, tmp_path / "model")
    loaded = load(tmp_path / "model", device="cpu")
    pixels = processor.tower_pixels([picture(20, 30)])
    torch.testing.assert_close(loaded.model.backbone.image_tokens(pixels), merging.eval().backbone.image_tokens(pixels))


def test_a_family_without_an_adapter_is_refused_with_those_there_are():
    from transformers import AutoConfig

    with pytest.raises(ValueError, match="no backbone for models of type 'bert'; there is one for llava"):
        build(AutoConfig.for_model("bert"))
