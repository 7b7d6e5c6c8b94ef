"""SAM's image embeddings on disk: a picture is encoded once, whichever run or process meets it first.

`folder/<encoder>/<picture>.safetensors`, fp16. <encoder> tells the weights and the precision that they are computed in,
<picture> the pixels, so that neither another model nor another picture is ever taken for this one.
"""

from __future__ import annotations

import hashlib
import os
import sys
import uuid
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sam_bridge.base import MaskModel
from sam_bridge.embeddings import Embeddings
from sam_bridge.encode import encode_images


class EmbeddingCache:
    """A folder of image embeddings, for several processes at once; made when it is not there.

    hits and misses count the pictures that were read and encoded.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"--cache_sam {folder} is a file; name a folder for SAM's image embeddings")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.hits = self.misses = 0
        self._encoder = ""

    def encode(self, sam: MaskModel, pixels: Tensor, keys: Sequence[str] = ()) -> Embeddings:
        """As `encode_images`, rounded to fp16; what is there is not computed.

        keys: `picture_key` of each picture, where it was computed ahead; to hash pixels that are on a GPU waits for it.
        ValueError when the encoder learns: what it gives today is wrong tomorrow.
        """
        if any(parameter.requires_grad for parameter in sam.image_encoder.parameters()) and torch.is_grad_enabled():
            raise ValueError(
                "--cache_sam keeps what SAM's image encoder gives, but the encoder learns; leave the flag out, or take "
                "image_encoder out of --trainable"
            )
        folder = self._folder(sam, pixels.device.type)
        keys = keys or [picture_key(one) for one in pixels]
        places = [folder / f"{key}.safetensors" for key, _ in zip(keys, pixels, strict=True)]
        shapes = sam.size.embedding_shapes
        found = [_read(place, shapes) for place in places]
        missing = [k for k, embedding in enumerate(found) if embedding is None]
        self.hits += len(found) - len(missing)
        self.misses += len(missing)
        if missing:
            computed = encode_images(sam, pixels[missing]).map(lambda tensor: tensor.to(torch.float16))
            for row, k in enumerate(missing):
                found[k] = computed.map(lambda tensor, row=row: tensor[row : row + 1])
                _write(found[k], places[k])
        if not found:
            return encode_images(sam, pixels)
        return Embeddings.cat(one.map(lambda tensor: _put(tensor, pixels.device).to(sam.dtype)) for one in found)

    def _folder(self, sam: MaskModel, device: str) -> Path:
        """Where the embeddings of this encoder are, as computed on a type of device."""
        if not self._encoder:
            self._encoder = hash_encoder(sam)
        dtype = sam.dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        return self.folder / f"{self._encoder}_{str(dtype).removeprefix('torch.')}"


def picture_key(pixels: Tensor) -> str:
    """What a picture (3, s, s), as `prepare_pixels` makes it, is called in every `EmbeddingCache`."""
    return _digest([pixels])


def _read(path: Path, shapes: Sequence[tuple[int, ...]]) -> Embeddings | None:
    """One picture's, fp16; None when it is not there. A damaged file is named, and made anew."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors, metadata = [file.get_tensor(name) for name in _names(len(shapes))], file.metadata() or {}
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError) as error:
        return _tell(path, str(error))
    for tensor, shape in zip(tensors, shapes, strict=True):
        if tensor.shape != shape or tensor.dtype != torch.float16:
            return _tell(path, f"it holds {tuple(tensor.shape)} {tensor.dtype} instead of {shape} float16")
    if metadata.get("crc32") != str(_crc(tensors)):
        return _tell(path, "its checksum is wrong")
    image, *fine = (tensor[None] for tensor in tensors)
    return Embeddings(image, tuple(fine))


def _put(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; what comes from the disk goes to a GPU while the host works on."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def _names(number: int) -> list[str]:
    """What the tensors of a file are called."""
    return ["embedding", *(f"fine_{k}" for k in range(number - 1))]


def hash_encoder(sam: MaskModel) -> str:
    """Tells one image encoder from another: what it gives, names, shapes, types and values of its weights."""
    weights = sam.image_encoder.state_dict()
    # A SAM-HQ's encoder is a SAM's, weights and all, but more of it is kept.
    family = sam.size.family if len(sam.size.embedding_shapes) > 1 else ""
    described = family + "".join(
        f"{name} {tuple(weights[name].shape)} {weights[name].dtype};" for name in sorted(weights)
    )
    return _digest([weights[name] for name in sorted(weights)], described)


def _digest(tensors: list[Tensor], text: str = "") -> str:
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for tensor in tensors:
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> np.ndarray:
    """The memory of a tensor of any type, (n,) uint8."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()


def _crc(tensors: Iterable[Tensor]) -> int:
    checksum = 0
    for tensor in tensors:
        checksum = zlib.crc32(_bytes(tensor), checksum)
    return checksum


def _tell(path: Path, reason: str) -> None:
    print(f"warning: {path} is damaged ({reason}); it is computed and written anew", file=sys.stderr, flush=True)


def _write(embeddings: Embeddings, path: Path) -> None:
    """One picture's, written beside its place and moved there whole, so that no process ever reads a half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.stem}.{os.getpid()}.{uuid.uuid4().hex[:8]}.partial")
    tensors = [tensor[0].detach().cpu().contiguous() for tensor in embeddings.tensors]
    named = dict(zip(_names(len(tensors)), tensors, strict=True))
    try:
        save_file(named, unfinished, metadata={"crc32": str(_crc(tensors))})
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
