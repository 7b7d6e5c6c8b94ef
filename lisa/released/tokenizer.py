"""The tokenizer of a released folder -> one that transformers reads today, and back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from lisa.foreign_errors import refused
from lisa.json_files import read_json, write_json
from lisa.released.sentencepiece import build_tokenizer, read_pieces

SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")
_DEFAULTS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


@dataclass(frozen=True, kw_only=True)
class ReleasedTokenizer:
    """A tokenizer, and what it does not know about itself."""

    tokenizer: PreTrainedTokenizerFast
    legacy: bool
    """Whether every piece between added tokens gets the leading blank, or the first only."""
    model_max_length: int
    sentencepiece: Path
    """The file of the vocabulary, which the released format needs again."""


def read_tokenizer(folder: Path) -> ReleasedTokenizer:
    """tokenizer.model, with the special and added tokens of the JSON files around it.

    Padding is the unknown token unless the folder says otherwise, as in the reference. ValueError when the ids of the
    added tokens leave a gap after the vocabulary.
    """
    path = folder / "tokenizer.model"
    pieces = read_pieces(path)
    settings = _read(folder / "tokenizer_config.json")
    more, added = _read(folder / "special_tokens_map.json"), _read(folder / "added_tokens.json")
    with refused(
        f"the JSON files around {path} (tokenizer_config, special_tokens_map, added_tokens) do not hold what a "
        "tokenizer needs",
        "copy them again",
    ):
        names = _DEFAULTS | _special(settings) | _special(more)
        names.setdefault("pad_token", names["unk_token"])
        listed = _added(added, settings)
        # Numbers like 1e30 mean that there is no limit.
        longest = min(int(settings.get("model_max_length") or 512), 1_000_000)
    backend = build_tokenizer(pieces)
    vocabulary = {piece.text for piece in pieces}
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names.values()])
    for number, token in listed:
        special = token in names.values()
        if token not in vocabulary and not special:
            backend.add_tokens([AddedToken(token, special=special, normalized=False)])
        if backend.token_to_id(token) != number:
            raise ValueError(
                f"{folder}: token {token} should have id {number}, the vocabulary says {backend.token_to_id(token)}: "
                "the tokenizer's files do not belong together"
            )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, padding_side="right", model_max_length=longest, **names
    )
    return ReleasedTokenizer(
        tokenizer=tokenizer, legacy=settings.get("legacy") is not False, model_max_length=longest, sentencepiece=path
    )


def write_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path, *, legacy: bool, model_max_length: int) -> None:
    """The files that transformers 4.31 wrote for a LISA, beside the tokenizer.model that is there already."""
    count = len(read_pieces(folder / "tokenizer.model"))
    added = {token: number for token, number in tokenizer.get_added_vocab().items() if number >= count}
    write_json(folder / "added_tokens.json", dict(sorted(added.items())))
    tokens = {name: _as_record(getattr(tokenizer, name)) for name in ("bos_token", "eos_token", "unk_token")}
    write_json(folder / "special_tokens_map.json", dict(sorted((tokens | {"pad_token": tokenizer.pad_token}).items())))
    settings = {
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "legacy": legacy,
        "model_max_length": model_max_length,
        "pad_token": None,
        "padding_side": "right",
        "sp_model_kwargs": {},
        "tokenizer_class": "LlamaTokenizer",
    }
    settings |= {name: {"__type": "AddedToken"} | record for name, record in tokens.items()}
    write_json(folder / "tokenizer_config.json", dict(sorted(settings.items())))


def _as_record(token: str) -> dict:
    return {"content": token, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}


def _read(path: Path) -> dict:
    return read_json(path) if path.is_file() else {}


def _special(content: dict) -> dict[str, str]:
    """The special tokens that a JSON file names, each as a string or as a record with its content."""
    named = {name: content[name] for name in SPECIAL if content.get(name)}
    texts = {name: token["content"] if isinstance(token, dict) else token for name, token in named.items()}
    if wrong := {name: text for name, text in texts.items() if not isinstance(text, str)}:
        raise ValueError(f"{wrong} are no texts")
    return texts


def _added(added: dict, settings: dict) -> list[tuple[int, str]]:
    """(id, token) of every added token, by id, from either of the two files that may list them."""
    decoder = settings.get("added_tokens_decoder", {})
    listed = {token["content"]: int(number) for number, token in decoder.items()} | added
    if wrong := {token: number for token, number in listed.items() if not isinstance(number, int) or number < 0}:
        raise ValueError(f"{wrong} are no ids of tokens")
    return sorted((number, token) for token, number in listed.items())
