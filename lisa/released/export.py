"""Streams between the two formats: a released checkpoint to our folder, our folder to the released format."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from lisa.config import LisaConfig
from lisa.json_files import read_json, write_json
from lisa.model_folder import check_weights
from lisa.modeling import LisaModel
from lisa.processing import LisaProcessor
from lisa.released.checkpoint import Released
from lisa.released.config import needs_sam_config, projector_layers, released_config, sam_config
from lisa.released.files import ShardWriter, replaced_folder
from lisa.released.names import INV_FREQ, released_name
from lisa.released.tokenizer import write_tokenizer
from lisa.weights import DTYPES, in_dtype
from sam_bridge import read_tensors


def convert_released(released: Released, folder: Path, dtype: str = "") -> None:
    """A released checkpoint as a folder that `lisa.load` reads; `dtype` "" keeps the type of every weight."""
    config = released.config
    config.architectures = [LisaModel.__name__]
    config.dtype = DTYPES[dtype] if dtype else released.survey.weights["vlm.lm_head.weight"].dtype
    with replaced_folder(folder) as unfinished:
        config.save_pretrained(unfinished)
        released.processor.save_pretrained(unfinished)
        writer = ShardWriter(unfinished, "model", ".safetensors")
        for part in released.parts(dtype):
            writer.write({name: in_dtype(name, tensor, dtype) for name, tensor in part.items()})
            del part
        writer.finish()


def export_released(model: Path, folder: Path, dtype: str = "", vision_tower: str = "") -> None:
    """Our folder `model` in the released format, as the reference's merge script writes it: no vision tower in it.

    `vision_tower` names the one that goes with it, "" is the name that the checkpoint came with. ValueError when the
    format cannot hold the model.
    """
    if not model.is_dir() or read_json(model / "config.json").get("model_type") != LisaConfig.model_type:
        raise ValueError(f"{model} is no folder of ours; --to released writes what train_ds.py or lisa.convert made")
    config, processor = LisaConfig.from_pretrained(model), LisaProcessor.from_pretrained(model)
    if processor.sentencepiece is None:
        raise ValueError(
            f"{model} has no sentencepiece.model, which the released format needs: only models that began as a "
            "released LISA or as a LLaVA of its authors can be written in it"
        )
    raw = released_config(config, processor.tokenizer, vision_tower)
    if dtype:
        raw["torch_dtype"] = str(DTYPES[dtype]).removeprefix("torch.")
    files = check_weights(model, config, dtype)
    layers = projector_layers(config.vlm_config)
    with replaced_folder(folder) as unfinished:
        write_json(unfinished / "config.json", raw)
        _write_generation_config(unfinished, raw)
        _write_tokenizer(unfinished, config, processor)
        if needs_sam_config(config.sam_size):
            write_json(unfinished / "sam_config.json", sam_config(config.sam_size))
        writer = ShardWriter(unfinished, "pytorch_model", ".bin")
        for file in files:
            part = {}
            for name, tensor in read_tensors(file).items():
                if (stored := released_name(name, layers)) is not None:
                    part[stored] = in_dtype(name, tensor, dtype)
                    part |= _rotary(stored, config, dtype)
            writer.write(part)
            del part
        writer.finish()


def _rotary(stored: str, config: LisaConfig, dtype: str) -> dict[str, Tensor]:
    """The rotary frequencies that go with a layer's first weight, if the checkpoint came with them."""
    suffix = "q_proj.weight"
    if not stored.startswith("model.layers.") or not stored.endswith(suffix):
        return {}
    before = (config.released or {}).get("inv_freq")
    if before is None:
        return {}
    kind = DTYPES.get(dtype, getattr(torch, before["dtype"]))
    name = stored.removesuffix("." + suffix) + INV_FREQ
    return {name: torch.tensor(before["values"], dtype=torch.float64).to(kind)}


def _write_generation_config(folder: Path, raw: dict) -> None:
    tokens = {key: raw[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    write_json(
        folder / "generation_config.json", {"_from_model_config": True} | tokens | {"transformers_version": "4.31.0"}
    )


def _write_tokenizer(folder: Path, config: LisaConfig, processor: LisaProcessor) -> None:
    (folder / "tokenizer.model").write_bytes(processor.sentencepiece)
    write_tokenizer(
        processor.tokenizer,
        folder,
        legacy=config.leading_blank == "every",
        model_max_length=config.model_max_length,
    )
