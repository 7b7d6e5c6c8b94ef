"""Files of named tensors, read without running code that a pickle may hold, and checked; light to import."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
"""Types that weights may have."""
SHOWN = 20
"""How many names of weights an error lists of each kind."""


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Every tensor of a .safetensors, .bin, .pt or .pth file, by name, on the CPU; SAM 2's are one level down.

    The tensors stay in the file until they are used, and are gone from memory when the last of them is let go.
    FileNotFoundError or ValueError name the file when it is missing, cut off, or no file of plain tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}; copy the missing file there")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is no file of weights: it is empty; download or copy it again")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except OSError as error:
        raise OSError(f"{path} cannot be read: {error}") from error
    except Exception as error:  # a damaged pickle can end in an error of any kind
        raise ValueError(
            f"{path} is no file of weights, or only a part of one, or holds more than tensors; download it again "
            f"({type(error).__name__}: {_first_line(error)})"
        ) from error
    if isinstance(weights, dict) and list(weights) == ["model"]:
        weights = weights["model"]
    if not isinstance(weights, dict) or not all(map(_is_named_tensor, weights.items())):
        raise ValueError(
            f"{path} holds something else than named tensors; give a checkpoint's weights, as in sam_vit_h_4b8939.pth"
        )
    return weights


def _is_named_tensor(item: tuple[object, object]) -> bool:
    name, value = item
    return (
        isinstance(name, str)
        and isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0][:200]


def check_fit(
    source: str | Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], what: str, mend: str
) -> None:
    """Whether `found` has the names, shapes and kinds of type of `wanted`, no less and no more.

    ValueError names the keys that are missing, unexpected, of another shape or of a type that weights cannot have, up
    to `SHOWN` of each; `what` says what it does not fit, `mend` what to do.
    """
    missing = sorted(wanted.keys() - found.keys())
    unexpected = sorted(found.keys() - wanted.keys())
    both = sorted(wanted.keys() & found.keys())
    reshaped = [
        f"{key} {tuple(found[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in both
        if found[key].shape != wanted[key].shape
    ]
    retyped = [
        f"{key} {str(found[key].dtype).removeprefix('torch.')}"
        for key in both
        if found[key].dtype not in (FLOATS if wanted[key].is_floating_point() else (wanted[key].dtype,))
    ]
    if missing or unexpected or reshaped or retyped:
        types = f", {len(retyped)} of a type that cannot be used {_some(retyped)}" if retyped else ""
        raise ValueError(
            f"{source} does not fit {what}: {len(missing)} keys missing {_some(missing)}, "
            f"{len(unexpected)} unexpected {_some(unexpected)}, {len(reshaped)} of another shape {_some(reshaped)}"
            f"{types}; {mend}"
        )


def check_finite(source: str | Path, weights: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> None:
    """Whether all weights are finite, and stay so in `dtype`; weights on the meta device are passed over.

    One pass over the memory, with nothing computed twice. ValueError names up to `SHOWN` that are not, and says what to
    do.
    """
    broken, large = [], []
    for name, tensor in weights.items():
        if tensor.dtype not in FLOATS or tensor.is_meta or tensor.numel() == 0:
            continue
        # The extremes are NaN where any value is, and this is an order faster than isfinite.
        extremes = torch.stack(torch.aminmax(tensor.detach()))
        if not extremes.isfinite().all():
            broken.append(name)
        elif dtype is not None and not extremes.to(dtype).isfinite().all():
            large.append(f"{name} ({extremes.abs().max().item():.3g})")
    problems = []
    if broken:
        problems.append(
            f"{len(broken)} of its weights are not finite (nan or infinite) {_some(broken)}: the file is damaged, "
            "or the training that wrote it broke down; copy it again, or take an earlier checkpoint"
        )
    if large:
        name, most = str(dtype).removeprefix("torch."), torch.finfo(dtype).max
        problems.append(
            f"{len(large)} of its weights are too large for {name}, which ends at {most:.6g} {_some(large)}; take bf16 "
            "(or fp32) instead"
        )
    if problems:
        raise ValueError(f"{source}: {'; '.join(problems)}")


def _some(names: Sequence[str]) -> str:
    """A list as Python writes it, cut where it gets long."""
    return str(names) if len(names) <= SHOWN else f"{str(names[:SHOWN])[:-1]}, and {len(names) - SHOWN} more]"
