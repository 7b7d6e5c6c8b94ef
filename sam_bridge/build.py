"""Any SAM in any size, with random weights; released weights in."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from torch import Tensor

from sam_bridge.base import MaskModel
from sam_bridge.files import check_finite, check_fit, read_tensors
from sam_bridge.names import by_our_names
from sam_bridge.sizes import AnySize

FAMILIES = {"sam": "sam_bridge.sam1.Sam1", "sam2": "sam_bridge.sam2.Sam2", "sam_hq": "sam_bridge.sam_hq.SamHq"}
"""The class of each family, which is imported when it is built."""


def build_sam(size: AnySize) -> MaskModel:
    """A mask model of this size with random weights."""
    module, _, name = FAMILIES[size.family].rpartition(".")
    return getattr(import_module(module), name)(size)


def read_sam_weights(path: str | Path) -> dict[str, Tensor]:
    """Released weights by our names: a file of SAM, SAM 2 or SAM-HQ as its authors give it, or transformers' folder."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"no SAM weights at {path}; download them from the repository of segment-anything, sam2 or sam-hq, "
            "or leave --vision_pretrained empty to start from random weights"
        )
    if not path.is_dir():
        return by_our_names(read_tensors(path))
    whole = path / "model.safetensors"
    files = (
        [whole] if whole.is_file() else sorted(path.glob("[!.]*.safetensors"))
    )  # `._model.safetensors` is left by Macs
    if not files:
        raise FileNotFoundError(f"{path} holds no *.safetensors; give transformers' folder whole, or the authors' file")
    weights: dict[str, Tensor] = {}
    for file in files:
        part = read_tensors(file)
        if twice := sorted(weights.keys() & part.keys()):
            raise ValueError(f"{file} holds {twice[0]}, which another file of {path} holds too; keep one of them")
        weights |= part
    return by_our_names(weights)


def load_sam_weights(sam: MaskModel, path: str | Path) -> None:
    """Load released weights (`sam_vit_h_4b8939.pth`, `sam2.1_hiera_tiny.pt`, `sam_hq_vit_b.pth`, ...) into `sam`.

    Every key must fit: a ValueError names those that are missing, unexpected, of another shape, or not finite.
    """
    weights = read_sam_weights(path)
    check_fit(path, weights, sam.state_dict(), "this SAM", "choose the --sam size that the file was made for")
    check_finite(path, weights, sam.dtype)
    sam.load_state_dict(weights)
