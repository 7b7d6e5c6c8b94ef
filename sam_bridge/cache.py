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
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from segment_anything.modeling import Sam
from torch import Tensor

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

    def encode(self, sam: Sam, pixels: Tensor) -> Tensor:
        """As `encode_images`, rounded to fp16: (B, 3, s, s) -> (B, E, g, g); what is there is not computed.

        ValueError when the encoder learns: what it gives today is wrong tomorrow.
        """
        if any(parameter.requires_grad for parameter in sam.image_encoder.parameters()) and torch.is_grad_enabled():
            raise ValueError(
                "--cache_sam keeps what SAM's image encoder gives, but the encoder learns; leave the flag out, or take "
                "image_encoder out of --trainable"
            )
        dtype = sam.prompt_encoder.no_mask_embed.weight.dtype
        places = [self._place(sam, one) for one in pixels]
        found = [self._read(place, sam) for place in places]
        missing = [k for k, embedding in enumerate(found) if embedding is None]
        self.hits += len(found) - len(missing)
        self.misses += len(missing)
        if missing:
            computed = encode_images(sam, pixels[missing]).to(torch.float16)
            for k, embedding in zip(missing, computed, strict=True):
                found[k] = embedding
                _write(embedding, places[k])
        if not found:
            return encode_images(sam, pixels)
        return torch.stack([embedding.to(pixels.device, dtype) for embedding in found])

    def _place(self, sam: Sam, pixels: Tensor) -> Path:
        """The file of a picture (3, s, s)."""
        if not self._encoder:
            self._encoder = hash_encoder(sam)
        device = pixels.device.type
        dtype = sam.prompt_encoder.no_mask_embed.weight.dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        folder = f"{self._encoder}_{str(dtype).removeprefix('torch.')}"
        return self.folder / folder / f"{_digest([pixels])}.safetensors"

    def _read(self, path: Path, sam: Sam) -> Tensor | None:
        """(E, g, g) fp16; None when it is not there. A damaged file is named, and made anew."""
        shape = (sam.prompt_encoder.embed_dim, *sam.prompt_encoder.image_embedding_size)
        try:
            with safe_open(path, framework="pt") as file:
                embedding, metadata = file.get_tensor("embedding"), file.metadata() or {}
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError) as error:
            return _tell(path, str(error))
        if embedding.shape != shape or embedding.dtype != torch.float16:
            return _tell(path, f"it holds {tuple(embedding.shape)} {embedding.dtype} instead of {shape} float16")
        if metadata.get("crc32") != str(_crc(embedding)):
            return _tell(path, "its checksum is wrong")
        return embedding


def hash_encoder(sam: Sam) -> str:
    """Tells one image encoder from another: names, shapes, types and values of its weights."""
    weights = sam.image_encoder.state_dict()
    described = "".join(f"{name} {tuple(weights[name].shape)} {weights[name].dtype};" for name in sorted(weights))
    return _digest([weights[name] for name in sorted(weights)], described)


def _digest(tensors: list[Tensor], text: str = "") -> str:
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for tensor in tensors:
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> np.ndarray:
    """The memory of a tensor of any type, (n,) uint8."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()


def _crc(tensor: Tensor) -> int:
    return zlib.crc32(_bytes(tensor))


def _tell(path: Path, reason: str) -> None:
    print(f"warning: {path} is damaged ({reason}); it is computed and written anew", file=sys.stderr, flush=True)


def _write(embedding: Tensor, path: Path) -> None:
    """Written beside its place and moved there whole, so that no process ever reads a half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.stem}.{os.getpid()}.{uuid.uuid4().hex[:8]}.partial")
    embedding = embedding.detach().cpu().contiguous()
    try:
        save_file({"embedding": embedding}, unfinished, metadata={"crc32": str(_crc(embedding))})
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
