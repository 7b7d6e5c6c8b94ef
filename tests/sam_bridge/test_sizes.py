"""Sizes go into a config and come back."""

import json

import pytest

from sam_bridge import SAM_PRESETS, Sam2Size, SamHqSize, as_size, describe


@pytest.mark.parametrize("name", SAM_PRESETS)
def test_a_size_comes_back_from_json(name):
    size = SAM_PRESETS[name]
    assert as_size(json.loads(json.dumps(describe(size)))) == size
    assert as_size(name) is size
    assert type(as_size(describe(size))) is type(size)


def test_a_sam_is_described_as_before_others_were_known():
    assert "family" not in describe(SAM_PRESETS["tiny"])
    assert describe(SAM_PRESETS["tiny-sam2"])["family"] == "sam2"


def test_what_is_unknown_is_refused():
    with pytest.raises(ValueError, match="'vit_x' is no size of a SAM; choose from vit_h"):
        as_size("vit_x")
    with pytest.raises(ValueError, match="'sam9' is no kind of SAM"):
        as_size({"family": "sam9"})


def test_a_sam_2_that_cannot_be_built_is_refused():
    fields = vars(SAM_PRESETS["tiny-sam2"])
    with pytest.raises(ValueError, match=r"global_blocks \[2\] begin a stage"):
        Sam2Size(**fields | {"global_blocks": (2,)})
    with pytest.raises(ValueError, match="needs another number of channels"):
        Sam2Size(**fields | {"widths": (32, 64, 64, 128)})
    with pytest.raises(ValueError, match="image size 250 is no multiple of 32"):
        Sam2Size(**fields | {"image_size": 250})


def test_a_sam_hq_needs_global_attention():
    with pytest.raises(ValueError, match="give global_blocks at least one"):
        SamHqSize(**vars(SAM_PRESETS["tiny"]) | {"global_blocks": ()})
