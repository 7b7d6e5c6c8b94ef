"""A folder that `lisa.checkpoint.save` wrote, checked before any of it is used: config, weights, tokenizer, images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.core_model_loading import revert_weight_conversion

from lisa.config import LisaConfig
from lisa.conversation import SEG
from lisa.foreign_errors import refused
from lisa.image_processor import check_pixels, open_image_processor
from lisa.json_files import read_json
from lisa.modeling import LisaModel
from lisa.processing import SENTENCEPIECE, LisaProcessor
from lisa.released.files import listed_files
from lisa.tokenization import IM_END, IM_START
from lisa.weights import check_finite
from sam_bridge import check_fit, read_tensors

WEIGHTS = "model.safetensors"
"""The file of the weights, if there is one; several have an index of that name."""
_MEND = "copy the whole folder again"


def check_folder(folder: Path) -> Path:
    """The folder, when a model of ours can be in it; FileNotFoundError or ValueError tell what is missing."""
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no model folder {folder}")
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"{folder} holds no config.json; a LISA model folder is what train_ds.py writes to model/"
        )
    kind = read_json(folder / "config.json").get("model_type")
    if kind is None:
        raise ValueError(f"{folder / 'config.json'} has no model_type, which is 'lisa' for a LISA model; {_MEND}")
    if kind != LisaConfig.model_type:
        raise ValueError(f"{folder} is a {kind!r} model, not a LISA model")
    return folder


def own_weight_files(folder: Path) -> list[Path]:
    """The whole file, or the shards that the index lists; these are the names that transformers looks for."""
    if not (folder / WEIGHTS).is_file() and not (folder / f"{WEIGHTS}.index.json").is_file():
        raise FileNotFoundError(
            f"{folder} holds no weights ({WEIGHTS}, or shards and {WEIGHTS}.index.json); copy the whole folder of the "
            "model"
        )
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    index = folder / f"{WEIGHTS}.index.json"
    files = [folder / name for name in listed_files(index)]
    if not isinstance(read_json(index).get("metadata"), dict):
        raise ValueError(f"{index} has no metadata, which transformers looks for; {_MEND}")
    if lost := [file.name for file in files if not file.is_file()]:
        raise FileNotFoundError(f"{folder} lacks {', '.join(lost)}, which {index.name} lists; {_MEND}")
    return files


def check_weights(
    folder: Path, config: LisaConfig, dtype: torch.dtype | str | None = None, *, values: bool = True
) -> list[Path]:
    """The files of the weights, which are the model of the config in names, shapes and types.

    Unless `values` is false, every value is read and must be finite, in `dtype` too. ValueError names the weights that
    do not fit.
    """
    files = own_weight_files(folder)
    found: dict[str, torch.Tensor] = {}
    for file in files:
        part = read_tensors(file)
        if twice := sorted(found.keys() & part.keys()):
            raise ValueError(f"{file} holds {twice[0]}, which another file of the folder holds too; {_MEND}")
        found |= {name: torch.empty_like(tensor, device="meta") for name, tensor in part.items()}
    check_fit(folder, found, _wanted(folder, config, found), "the model of its config", _MEND)
    if values:
        for file in files:
            check_finite(file, read_tensors(file), dtype)
    return files


def _wanted(folder: Path, config: LisaConfig, found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of the config's model, on the meta device; of those that are tied, the ones that are stored."""
    with refused(f"{folder / 'config.json'} describes a model that cannot be built"), torch.device("meta"):
        model = LisaModel(config)
        model.tie_weights()
    named: dict[int, list[str]] = {}
    weights = model.state_dict(keep_vars=True)
    for name, tensor in weights.items():
        named.setdefault(id(tensor), []).append(name)
    wanted = {name: weights[name] for names in named.values() for name in _stored(names, found)}
    if wanted.keys() == found.keys():
        return wanted
    # `save_pretrained` writes the names of the backbone's own releases, which `from_pretrained` knows.
    theirs = revert_weight_conversion(model, dict(wanted))
    return theirs if len(theirs.keys() & found.keys()) > len(wanted.keys() & found.keys()) else wanted


def _stored(tied: list[str], found: dict[str, torch.Tensor]) -> list[str]:
    """Of the names of one weight those that are in the files; the first, when none is."""
    return [name for name in tied if name in found] or tied[:1]


def open_tokenizer(folder: Path, config: LisaConfig) -> PreTrainedTokenizerBase:
    """The tokenizer, which has the config's [SEG]; ValueError tells every way in which the two do not fit."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        read_json(folder / name)
    with refused(f"the tokenizer of {folder} (tokenizer.json, tokenizer_config.json) cannot be used", _MEND):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        vocabulary = tokenizer.get_vocab()
    if problems := list(_tokenizer_problems(tokenizer, vocabulary, config)):
        raise ValueError(
            f"the tokenizer of {folder} is not the one of its config.json: {'; '.join(problems)}; copy tokenizer.json, "
            "tokenizer_config.json and config.json from the same model"
        )
    return tokenizer


def _tokenizer_problems(
    tokenizer: PreTrainedTokenizerBase, vocabulary: dict[str, int], config: LisaConfig
) -> Iterator[str]:
    if SEG not in vocabulary:
        yield f"it has no {SEG}"
    elif vocabulary[SEG] != config.seg_token_id:
        yield f"its {SEG} is token {vocabulary[SEG]}, but seg_token_id is {config.seg_token_id}"
    if config.use_im_start_end:
        yield from (
            f"it has no {mark}, but use_im_start_end is true" for mark in (IM_START, IM_END) if mark not in vocabulary
        )
    rows, last = config.vlm_config.get_text_config().vocab_size, max(vocabulary.values(), default=-1)
    if last >= rows:
        yield f"its tokens go up to {last}, but the model has embeddings for 0 to {rows - 1} (vocab_size {rows})"
    if not isinstance(tokenizer.model_max_length, int | float):
        yield f"its model_max_length is {tokenizer.model_max_length!r}, no number"
    yield from (f"it has no {name}" for name in ("pad_token", "eos_token") if getattr(tokenizer, name) is None)


def open_processor(folder: Path) -> LisaProcessor:
    """The processor in a folder, checked."""
    config = LisaConfig.from_pretrained(check_folder(folder))
    vocabulary = folder / SENTENCEPIECE
    processor = LisaProcessor(
        config,
        open_tokenizer(folder, config),
        open_image_processor(folder, config.image_backend),
        sentencepiece=vocabulary.read_bytes() if vocabulary.is_file() else None,
    )
    check_pixels(folder, processor)
    return processor
