import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from segment_anything import sam_model_registry

from sam_bridge import SAM_PRESETS, SamSize, as_size, build_sam, describe, load_sam_weights


def shapes(sam) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in sam.state_dict().items()}


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_presets_are_the_released_models_in_every_key_and_shape(name):
    with torch.device("meta"):
        assert shapes(build_sam(SAM_PRESETS[name])) == shapes(sam_model_registry[name]())


def test_vit_h_has_the_released_number_of_parameters():
    with torch.device("meta"):
        sam = build_sam(SAM_PRESETS["vit_h"])
    assert sum(parameter.numel() for parameter in sam.parameters()) == 641_090_608


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_presets_attend_globally_in_the_released_blocks(name):
    with torch.device("meta"):
        ours, released = build_sam(SAM_PRESETS[name]), sam_model_registry[name]()
    windows = [block.window_size for block in ours.image_encoder.blocks]
    assert windows == [block.window_size for block in released.image_encoder.blocks]
    assert windows.count(0) == 4


def test_a_released_presets_heads_and_scales_are_the_released_ones():
    with torch.device("meta"):
        ours, released = build_sam(SAM_PRESETS["vit_b"]), sam_model_registry["vit_b"]()
    for one, other in zip(ours.modules(), released.modules(), strict=True):
        assert isinstance(one, type(other))  # ours attends in another way (sam_bridge.attention)
        for name in ("num_heads", "scale", "eps", "internal_dim"):
            assert getattr(one, name, None) == getattr(other, name, None), (type(one), name)


def test_the_tiny_preset_is_small_and_whole():
    size = SAM_PRESETS["tiny"]
    sam = build_sam(size)
    assert sum(parameter.numel() for parameter in sam.parameters()) < 3_000_000
    assert sam.pixel_mean.flatten().tolist() == pytest.approx([123.675, 116.28, 103.53])
    assert sam.pixel_std.flatten().tolist() == pytest.approx([58.395, 57.12, 57.375])
    with torch.no_grad():
        pixels = torch.zeros(1, 3, size.image_size, size.image_size)
        assert sam.image_encoder(pixels).shape == (1, size.prompt_width, size.grid, size.grid)


def test_grid_and_low_res_follow_from_the_patches(size):
    assert (size.grid, size.low_res) == (4, 16)
    assert (SAM_PRESETS["vit_h"].grid, SAM_PRESETS["vit_h"].low_res) == (64, 256)


def test_a_size_that_is_no_multiple_of_its_patch_is_refused(size):
    with pytest.raises(ValueError, match="image size 65 is no multiple of patch size 16"):
        SamSize(**{**vars(size), "image_size": 65})


def saved(tmp_path, weights):
    path = tmp_path / "sam.pth"
    torch.save(weights, path)
    return path


def test_weights_are_loaded_into_every_tensor(tmp_path, sam, size):
    other = build_sam(size)
    load_sam_weights(other, saved(tmp_path, sam.state_dict()))
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in sam.state_dict().items())


def test_weights_of_a_missing_file_are_refused_with_the_mend(tmp_path, sam):
    with pytest.raises(FileNotFoundError, match=r"no SAM weights at .*nowhere\.pth; download"):
        load_sam_weights(sam, tmp_path / "nowhere.pth")


def test_weights_that_lack_a_key_are_refused_by_name(tmp_path, sam):
    weights = dict(sam.state_dict())
    del weights["mask_decoder.iou_token.weight"]
    with pytest.raises(ValueError, match=r"1 keys missing \['mask_decoder.iou_token.weight'\], 0 unexpected"):
        load_sam_weights(sam, saved(tmp_path, weights))


def test_weights_with_a_key_too_many_are_refused_by_name(tmp_path, sam):
    with pytest.raises(ValueError, match=r"0 keys missing \[\], 1 unexpected \['extra'\]"):
        load_sam_weights(sam, saved(tmp_path, dict(sam.state_dict()) | {"extra": torch.ones(1)}))


def test_weights_of_another_shape_are_refused_with_both_shapes(tmp_path, sam):
    weights = dict(sam.state_dict()) | {"mask_decoder.iou_token.weight": torch.ones(1, 7)}
    with pytest.raises(ValueError, match=r"1 of another shape .*iou_token.weight \(1, 7\) instead of \(1, 32\)"):
        load_sam_weights(sam, saved(tmp_path, weights))


def test_a_refused_file_leaves_the_model_as_it_was(tmp_path, sam):
    before = {name: tensor.clone() for name, tensor in sam.state_dict().items()}
    weights = {name: tensor + 1 for name, tensor in sam.state_dict().items()}
    weights.popitem()
    with pytest.raises(ValueError, match="does not fit"):
        load_sam_weights(sam, saved(tmp_path, weights))
    assert all(torch.equal(tensor, before[name]) for name, tensor in sam.state_dict().items())


@pytest.mark.parametrize("content", ["text", "truncated", "list", "nested", "pickle", "empty"])
def test_a_file_that_is_no_dict_of_tensors_is_refused_by_its_name(tmp_path, sam, content):
    path = tmp_path / "sam.pth"
    if content == "text":
        path.write_text("<html>404 not found</html>")
    elif content == "truncated":
        torch.save(sam.state_dict(), path)
        path.write_bytes(path.read_bytes()[:1000])
    elif content == "list":
        torch.save([torch.ones(1)], path)
    elif content == "nested":
        torch.save({"model": sam.state_dict(), "epoch": 1}, path)
    elif content == "pickle":
        path.write_bytes(pickle.dumps(zipfile.ZipFile))
    else:
        path.touch()
    with pytest.raises(ValueError, match=r"sam\.pth"):
        load_sam_weights(sam, path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, sam, value):
    key = "mask_decoder.iou_token.weight"
    before = {name: tensor.clone() for name, tensor in sam.state_dict().items()}
    with pytest.raises(ValueError, match=rf"sam\.pth: 1 of its weights are not finite .*\['{key}'\]: .*copy it again"):
        load_sam_weights(sam, saved(tmp_path, dict(before) | {key: torch.full((1, 32), value)}))
    assert all(torch.equal(tensor, before[name]) for name, tensor in sam.state_dict().items())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w | {"mask_decoder.iou_token.weight": torch.ones(1, 32, dtype=torch.int8)}, "iou_token.weight int8"),
        (lambda w: w | {"mask_decoder.iou_token.weight": torch.ones(1, 32).to_sparse()}, "something else than named"),
        (lambda w: w | {3: torch.ones(1)}, "something else than named tensors"),
        (lambda w: {}, "keys missing .* and [0-9]+ more"),
        (lambda w: {f"module.{name}": tensor for name, tensor in w.items()}, "keys missing .* and [0-9]+ more"),
        (lambda w: w | {"prompt_encoder.point_embeddings.weight": torch.tensor(1.0)}, "1 unexpected"),
    ],
)
def test_weights_of_another_kind_are_refused(tmp_path, sam, change, said):
    with pytest.raises(ValueError, match=said) as error:
        load_sam_weights(sam, saved(tmp_path, change(dict(sam.state_dict()))))
    assert len(str(error.value)) < 5000


@pytest.mark.parametrize("at", [0, 100, 3000, -200, -1000])
@pytest.mark.parametrize("legacy", [True, False])
def test_a_file_with_damaged_bytes_is_refused_or_changes_values_only(tmp_path, sam, at, legacy):
    path = tmp_path / "sam.pth"
    torch.save(sam.state_dict(), path, _use_new_zipfile_serialization=not legacy)
    content = bytearray(path.read_bytes())
    content[at : at + 64 if at + 64 else None] = b"\xff" * len(content[at : at + 64 if at + 64 else None])
    path.write_bytes(content)
    try:
        load_sam_weights(sam, path)
    except (ValueError, OSError) as error:
        assert "sam.pth" in str(error)  # noqa: PT017 - both ways out are right
    assert all(tensor.isfinite().all() for tensor in sam.state_dict().values())


def test_two_files_of_a_folder_with_the_same_weight_are_refused(tmp_path, sam):
    for name in ("a", "b"):
        save_file(sam.state_dict(), tmp_path / f"{name}.safetensors")
    with pytest.raises(ValueError, match=r"b\.safetensors holds .*, which another file"):
        load_sam_weights(sam, tmp_path)
    (tmp_path / "a.safetensors").rename(tmp_path / "model.safetensors")
    load_sam_weights(sam, tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": "a"}, "width is 'a'; it must be a whole number"),
        ({"width": True, "depth": None}, "width is True; .*depth is None"),
        ({"heads": 3}, "width 32 cannot have 3 heads"),
        ({"patch_size": 0}, "patch_size is 0, and must be 1 or more"),
        ({"global_blocks": [0, 7]}, r"global_blocks names \[7\], but the SAM's encoder has blocks 0 to 1"),
        ({"image_size": 10**9}, "image_size is 1000000000"),
        ({"colour": 1}, "it has no field colour"),
        ({"family": "sam3"}, "'sam3' is no kind of SAM"),
        ({"family": ["sam"]}, "is no kind of SAM"),
    ],
)
def test_a_size_from_a_file_is_checked(size, changes, said):
    with pytest.raises(ValueError, match=said):
        as_size(describe(size) | changes)


def test_a_size_of_four_stages_has_four_of_each():
    with pytest.raises(ValueError, match="a SAM 2 has four stages: heads must be four"):
        as_size(describe(SAM_PRESETS["tiny-sam2"]) | {"heads": [1, 1, 4]})
