"""Where a model is: a folder, or a repository on the hub."""

from __future__ import annotations

from pathlib import Path

from lisa.released.files import weight_files

_SMALL = ["*.json", "*.model"]


def looks_like_hub_id(name: str) -> bool:
    """One "/", and no sign of a path: organisation/model."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~"))


def resolve(model: str | Path) -> Path:
    """The folder of a model; one that only the hub has is fetched."""
    folder = Path(model)
    if not folder.exists() and looks_like_hub_id(str(model)):
        return fetch(str(model), "the model")
    return folder


def fetch(name: str, what: str, *, weights: bool = True) -> Path:
    """The folder with a copy of a hub repository, safetensors where it has them.

    FileNotFoundError when it cannot be had; `what` says which flag or file named it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, allow_patterns=[*_SMALL, "*.safetensors"] if weights else _SMALL))
        if weights and not _has_weights(folder):
            folder = Path(snapshot_download(name, allow_patterns=[*_SMALL, "*.bin"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FileNotFoundError(f"{what} {name} is no folder here, and the hub does not give it: {reason}") from error
    return folder


def find_tower(name: str, beside: Path, *, weights: bool) -> Path:
    """The vision tower's folder: a path, a name beside or in the checkpoint's folder `beside`, or a hub id."""
    for folder in (beside.parent / name, beside / name, Path(name).expanduser()):
        if (folder / "config.json").is_file():
            return folder
    if looks_like_hub_id(name):
        return fetch(name, "the vision tower", weights=weights)
    raise FileNotFoundError(
        f"no vision tower {name} beside {beside} (released checkpoints leave it out); give its folder or hub id with "
        "--vision-tower of lisa.convert or train_ds.py, as in openai/clip-vit-large-patch14"
    )


def _has_weights(folder: Path) -> bool:
    try:
        return bool(weight_files(folder))
    except FileNotFoundError:
        return False
