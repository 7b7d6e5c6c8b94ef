"""Released weights find their places: against what the authors' packages gave (tests/sam_goldens.py)."""

import pytest
import torch
from safetensors.torch import load_file
from sam_goldens import (
    IMAGE_OF,
    OUTPUTS,
    PICTURES,
    SAM2_FILES,
    SIDE,
    SQUARE,
    WIDTH,
    draw_all,
    inputs,
    load_names,
    picture,
)

from sam_bridge import (
    SAM_PRESETS,
    Sam2Size,
    SamHqSize,
    build_sam,
    decode_masks,
    encode_images,
    load_sam_weights,
    measure_sam,
    read_sam_weights,
)
from sam_bridge.geometry import squash
from sam_bridge.names import by_our_names

SMALL = {
    "sam2": Sam2Size(
        image_size=SIDE,
        widths=(8, 16, 32, 64),
        blocks=(1, 2, 2, 1),
        heads=(1, 2, 4, 8),
        windows=(4, 4, 3, 2),
        global_blocks=(4,),
        background=(3, 3),
        prompt_width=WIDTH,
    ),
    "sam_hq": SamHqSize(
        image_size=SIDE,
        patch_size=16,
        width=32,
        depth=3,
        heads=2,
        global_blocks=(1, 2),
        window=3,
        prompt_width=WIDTH,
        decoder_depth=2,
        decoder_heads=2,
        decoder_mlp=64,
        iou_width=16,
    ),
}
RELEASED = {
    **{f"{version}_hiera_{size}": f"sam2_{size}" for version in ("sam2", "sam2.1") for size in SAM2_FILES.values()},
    **{f"sam_hq_{size}": f"hq_{size}" for size in ("vit_b", "vit_l", "vit_h")},
}


@pytest.fixture(scope="module")
def names():
    return load_names()


@pytest.fixture(scope="module")
def goldens():
    return load_file(OUTPUTS)


@pytest.mark.parametrize(("file", "preset"), RELEASED.items())
def test_every_weight_of_a_released_model_has_a_place_of_its_shape(names, file, preset):
    weights = {name: torch.empty(shape, device="meta") for name, shape in names[file].items()}
    found = {name: tensor.shape for name, tensor in by_our_names(weights).items()}
    with torch.device("meta"):
        wanted = build_sam(SAM_PRESETS[preset]).state_dict()
    assert found == {name: tensor.shape for name, tensor in wanted.items()}
    assert measure_sam(found) == SAM_PRESETS[preset]


def written(names, family, folder):
    """The small model's file, as its authors write it."""
    weights = draw_all(names[f"small_{family}"])
    path = folder / f"{family}.pt"
    torch.save({"model": weights} if family == "sam2" else weights, path)
    return path


@torch.no_grad()
@pytest.mark.parametrize(
    ("family", "kind", "changes"),
    [
        ("sam2", "token_0", {}),
        ("sam2", "dynamic", {"dynamic_masks": True}),
        ("sam_hq", "sum", {}),
        ("sam_hq", "hq_only", {"hq_token_only": True}),
    ],
)
def test_the_authors_file_gives_the_authors_masks(names, goldens, tmp_path, family, kind, changes):
    sam = build_sam(type(SMALL[family])(**vars(SMALL[family]) | changes)).eval()
    load_sam_weights(sam, written(names, family, tmp_path))
    pixels, prompts = inputs()
    embeddings = encode_images(sam, pixels)
    for name, tensor in zip(("image", "fine_0", "fine_1"), embeddings.tensors, strict=False):
        torch.testing.assert_close(tensor, goldens[f"{family}/{name}"], rtol=1e-4, atol=1e-4)
    low_res, scores = decode_masks(sam, embeddings, prompts, torch.tensor(IMAGE_OF))
    torch.testing.assert_close(low_res, goldens[f"{family}/low_res_{kind}"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scores, goldens[f"{family}/scores_{kind}"], rtol=1e-4, atol=1e-4)


def test_the_two_ways_to_choose_a_mask_differ(goldens):
    for family, kinds in (("sam2", ("token_0", "dynamic")), ("sam_hq", ("sum", "hq_only"))):
        one, other = (goldens[f"{family}/low_res_{kind}"] for kind in kinds)
        assert (one - other).abs().max() > 0.1


@pytest.mark.parametrize("family", ["sam2", "sam_hq"])
def test_a_weight_that_no_rule_knows_is_refused_by_its_own_name(names, tmp_path, family):
    path = written(names, family, tmp_path)
    weights = torch.load(path, weights_only=True)
    (weights["model"] if family == "sam2" else weights)["mask_decoder.new"] = torch.ones(1)
    torch.save(weights, path)
    with pytest.raises(ValueError, match=r"0 keys missing \[\], 1 unexpected \['mask_decoder.new'\]"):
        load_sam_weights(build_sam(SMALL[family]), path)


def test_a_file_of_another_model_is_refused(names, tmp_path):
    with pytest.raises(ValueError, match=r"does not fit this SAM: .* keys missing"):
        load_sam_weights(build_sam(SMALL["sam_hq"]), written(names, "sam2", tmp_path))


def test_a_sam_2_of_no_released_size_must_be_named(names, tmp_path):
    shapes = {name: tensor.shape for name, tensor in read_sam_weights(written(names, "sam2", tmp_path)).items()}
    with pytest.raises(ValueError, match=r"no released SAM 2 has 6 blocks that begin with 8 channels.*; name it"):
        measure_sam(shapes)


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no \*.safetensors"):
        read_sam_weights(tmp_path)


@pytest.mark.parametrize(("number", "shape"), enumerate(PICTURES))
def test_sam_2_sees_a_picture_as_its_predictor_does(goldens, number, shape):
    pixels, size = squash(picture(*shape), SQUARE)
    torch.testing.assert_close(pixels, goldens[f"pixels/{number}"], rtol=1e-5, atol=1e-5)
    assert (size.original, size.resized) == (shape, (SQUARE, SQUARE))
