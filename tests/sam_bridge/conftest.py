import pytest
import torch
from small_sams import SAM_SIZE, SIZES

from sam_bridge import SamSize, build_sam

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def size() -> SamSize:
    """A SAM of 64 px / 16: grid 4, low-res 16."""
    return SAM_SIZE


@pytest.fixture(scope="session")
def sam():
    """That SAM with random weights in every part; shared, so whoever changes it builds another."""
    torch.manual_seed(0)
    sam = build_sam(SAM_SIZE).eval()
    for name, parameter in sam.named_parameters():
        if "rel_pos" in name or "pos_embed" in name:  # these start at 0, which would hide that they are used
            torch.nn.init.normal_(parameter, std=0.5)
    return sam


@pytest.fixture(scope="session", params=list(SIZES))
def decoder(request):
    """Each kind of mask model with random weights in every part; shared, so whoever changes it copies it."""
    torch.manual_seed(0)
    return randomised(build_sam(SIZES[request.param]))


def randomised(model):
    """Some weights start at 0 or 1, which would hide that they are used."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.1 if parameter.ndim == 1 else max(1, parameter[0].numel()) ** -0.5
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return model.eval()
