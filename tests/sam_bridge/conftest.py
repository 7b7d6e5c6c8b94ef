import pytest
import torch

from sam_bridge import SamSize, build_sam

torch.set_num_threads(1)

SIZE = SamSize(
    image_size=64,
    patch_size=16,
    width=32,
    depth=2,
    heads=2,
    global_blocks=(1,),
    window=2,
    prompt_width=32,
    decoder_depth=2,
    decoder_heads=2,
    decoder_mlp=32,
    iou_width=16,
)


@pytest.fixture(scope="session")
def size() -> SamSize:
    """A SAM of 64 px / 16: grid 4, low-res 16."""
    return SIZE


@pytest.fixture(scope="session")
def sam():
    """That SAM with random weights in every part; shared, so whoever changes it builds another."""
    torch.manual_seed(0)
    sam = build_sam(SIZE).eval()
    for name, parameter in sam.named_parameters():
        if "rel_pos" in name or "pos_embed" in name:  # these start at 0, which would hide that they are used
            torch.nn.init.normal_(parameter, std=0.5)
    return sam
