"""Released LISA checkpoints, in and out: the format of the reference's weights (LISA-7B-v1 and its like)."""

from __future__ import annotations

from pathlib import Path

from lisa.json_files import read_json
from lisa.released.checkpoint import Released, ReleasedOptions
from lisa.released.config import is_lisa, is_llava
from lisa.released.files import weight_files
from lisa.released.hub import resolve
from lisa.released.names import our_name
from sam_bridge import read_tensors

__all__ = ["Released", "ReleasedOptions", "holds_llava", "holds_released", "open_released", "resolve"]


def open_released(model: str | Path, options: ReleasedOptions | None = None) -> Released | None:
    """The released LISA in a folder or on the hub, checked; None when something else is there."""
    folder = resolve(model)
    if not holds_released(folder):
        return None
    return Released(folder, options or ReleasedOptions())


def holds_released(folder: Path) -> bool:
    """Whether a folder holds a released LISA: its config says so, or it is a LLaVA's and a SAM is among the weights."""
    if not (folder / "config.json").is_file():
        return False
    raw = read_json(folder / "config.json")
    if is_lisa(raw) or not is_llava(raw):
        return is_lisa(raw)
    names = (our_name(name) for file in weight_files(folder) for name in read_tensors(file))
    return any(isinstance(name, str) and name.startswith("sam.") for name in names)


def holds_llava(folder: Path) -> bool:
    """Whether a folder holds a LLaVA in its authors' format, without a SAM."""
    return (
        (folder / "config.json").is_file()
        and is_llava(read_json(folder / "config.json"))
        and not holds_released(folder)
    )
