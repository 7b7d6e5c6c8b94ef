"""Save and load: one folder with config, weights (safetensors), tokenizer and image processor."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from lisa.config import LisaConfig
from lisa.generation import Predictor
from lisa.kept import KEPT_MODELS
from lisa.model_folder import check_folder, own_weight_files
from lisa.modeling import LisaModel
from lisa.processing import LisaProcessor
from lisa.quantize import Quantization, load_quantized
from lisa.released import holds_released, open_released, resolve
from lisa.released.checkpoint import skeleton
from lisa.released.files import ShardWriter, replaced_folder
from lisa.weights import check_finite, dtype_of, in_dtype

SHARD_WEIGHTS = 2**31
"""Weights in a file, at most: 4 GiB in half precision."""


def load(
    model: str | Path, device: str = "auto", dtype: str = "auto", quantize: Quantization | None = None
) -> Predictor:
    """A trained model, ready to answer.

    model: a folder that `save` wrote, the name of a model that comes with the library ("tiny"), or a released LISA;
        folders, or hub ids.
    device: "auto" takes cuda, then mps, then cpu. dtype: "auto" is fp32 on a CPU and bf16 elsewhere.
    quantize: keep the language model's large matrices in 8 or 4 bits, by bitsandbytes.
    """
    folder = find_model(model)
    device = pick_device(device)
    wanted = torch.float32 if device == "cpu" else torch.bfloat16
    if dtype != "auto":
        wanted = dtype_of(dtype)
    if quantize is not None:
        lisa = load_quantized(folder, quantize, device, wanted)
        return Predictor(lisa, LisaProcessor.from_pretrained(folder), name=str(model))
    if (released := open_released(folder)) is not None:
        return Predictor(released.model(wanted).to(device), released.processor, name=str(model))
    lisa = LisaModel.from_pretrained(folder, dtype=wanted).to(device)
    return Predictor(lisa, LisaProcessor.from_pretrained(folder), name=str(model))


def save(model: LisaModel, processor: LisaProcessor, folder: str | Path, dtype: str = "fp32") -> None:
    """Everything that `load` needs, in one folder: config, tokenizer, image processor, and weights in `dtype`.

    Adapters are merged into the layers they adapt. The folder is written beside its place and moved there
    whole; an older one goes only then. ValueError when the folder holds something else than a model, when the weights
    are not all of the model's config (it is quantised), or when one is not finite in `dtype`.
    """
    config = copy.deepcopy(model.describe_modules())
    config.architectures = [LisaModel.__name__]
    config.dtype = dtype_of(dtype)
    weights = merged_state_dict(model)
    _check_weights(weights, config)
    for tied in _tied_names(config):
        del weights[tied]
    check_finite(folder, weights, dtype)
    with replaced_folder(Path(folder)) as unfinished:
        config.save_pretrained(unfinished)
        processor.save_pretrained(unfinished)
        writer = ShardWriter(unfinished, "model", ".safetensors")
        for shard in _shards(weights):
            writer.write({name: _own_copy(in_dtype(name, tensor, dtype)) for name, tensor in shard.items()})
        writer.finish()


def _check_weights(weights: dict[str, Tensor], config: LisaConfig) -> None:
    """Whether these are the weights of the model that `config` describes; ValueError tells those that are not."""
    wanted = {name: tensor.shape for name, tensor in skeleton(config).state_dict().items()}
    found = {name: tensor.shape for name, tensor in weights.items()}
    wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if wrong:
        raise ValueError(
            f"{len(wrong)} weights of this model are not those that its config describes ({', '.join(wrong[:3])} ...): "
            "a quantised model cannot be saved, save the one that it was made of; else bring model.config in line with "
            "the modules that were changed"
        )


def _shards(weights: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The weights in order, in parts of at most about `SHARD_WEIGHTS`."""
    shard: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if shard and sum(one.numel() for one in shard.values()) + tensor.numel() > SHARD_WEIGHTS:
            yield shard
            shard = {}
        shard[name] = tensor
    yield shard


def _own_copy(tensor: Tensor) -> Tensor:
    """The values in memory of their own: in training, weights are views of a buffer that holds all of them."""
    return torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())


def merged_state_dict(model: LisaModel) -> dict[str, Tensor]:
    """The weights as a plain model has them: adapters merged into the layers they adapt."""
    if not hasattr(model.vlm, "merge_and_unload"):
        return dict(model.state_dict())
    own = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("vlm.")}
    merged = copy.deepcopy(model.vlm).merge_and_unload()
    return own | {f"vlm.{name}": tensor for name, tensor in merged.state_dict().items()}


def _tied_names(config: LisaConfig) -> set[str]:
    """Weights that are another one's, by name; they are stored once."""
    return {"vlm.lm_head.weight"} if config.tie_word_embeddings else set()


def find_model(model: str | Path) -> Path:
    """The folder of a model, checked; ValueError or FileNotFoundError tell what is missing."""
    folder = Path(model)
    if not folder.is_dir() and (KEPT_MODELS / str(model)).is_dir():
        folder = KEPT_MODELS / str(model)
    folder = resolve(folder)
    if not folder.is_dir():
        kept = ", ".join(sorted(path.name for path in KEPT_MODELS.glob("*"))) or "none yet"
        raise FileNotFoundError(
            f"no model folder at {model}; train one with train_ds.py (it writes runs/tiny/model), "
            f"or use one that comes with the library ({kept})"
        )
    if not holds_released(folder):
        own_weight_files(check_folder(folder))
    return folder


def pick_device(device: str) -> str:
    """ "auto" or a device that is here; ValueError else."""
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {device!r} cannot be used here ({reason}); use auto or cpu") from error
    return device
