"""`tokenizer.model`, the file of sentencepiece -> the same tokenizer for the `tokenizers` library.

The file is a protocol buffer (google/sentencepiece, sentencepiece_model.proto). Of its fields only those that Llama's
byte-pair encoding is made of are read; a file that asks for anything else is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer, decoders, models, normalizers

from lisa.tokenization import BLANK

_UNKNOWN, _NORMAL = 2, 1
_BPE = 2


class Piece(NamedTuple):
    """One entry of the vocabulary; its place in the file is its id."""

    text: str
    score: float
    kind: int
    """1 normal, 2 unknown, 3 control, 4 user defined, 6 byte."""


def read_pieces(path: Path) -> list[Piece]:
    """The vocabulary of a byte-pair model with byte fallback and a leading blank, as Llama's is.

    FileNotFoundError or ValueError name the file when it is missing, broken or of another kind.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no tokenizer.model in {path.parent}; copy the whole folder of the checkpoint")
    try:
        fields = list(_fields(path.read_bytes()))
        pieces = [_piece(dict(_fields(value))) for number, value in fields if number == 1]
        trainer, normalizer = (dict(_fields(dict(fields)[number])) for number in (2, 3))
    except (AttributeError, IndexError, KeyError, ValueError, struct.error, TypeError) as error:
        raise ValueError(f"{path} is no sentencepiece model, or only a part of one; download it again") from error
    # Field 3 of the trainer: kind of model; 35: byte fallback. Of the normalizer, 2: rules, 3: leading blank (on unless
    # said otherwise), 4: whether several blanks become one (likewise).
    as_llama = (trainer.get(3, 1), trainer.get(35, 0)) == (_BPE, 1)
    if not as_llama or normalizer.get(2) or not normalizer.get(3, 1) or normalizer.get(4, 1):
        raise ValueError(f"{path} is no tokenizer of Llama's kind (byte-pair encoding, byte fallback, leading blank)")
    if not any(piece.kind == _UNKNOWN for piece in pieces):
        raise ValueError(f"{path} has no piece for what it does not know, as every tokenizer of Llama's kind has")
    return pieces


def build_tokenizer(pieces: list[Piece]) -> Tokenizer:
    """Byte-pair encoding that merges what sentencepiece merges, in its order; every text gets the leading blank."""
    vocabulary = {piece.text: number for number, piece in enumerate(pieces)}
    unknown = next(piece.text for piece in pieces if piece.kind == _UNKNOWN)
    merges = [
        (-piece.score, number, (piece.text[:cut], piece.text[cut:]))
        for number, piece in enumerate(pieces)
        if piece.kind == _NORMAL
        for cut in range(1, len(piece.text))
        if piece.text[:cut] in vocabulary and piece.text[cut:] in vocabulary
    ]
    tokenizer = Tokenizer(
        models.BPE(
            vocabulary,
            [pair for _, _, pair in sorted(merges, key=lambda merge: merge[:2])],
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    # Metaspace would leave the leading blank out where the text has one already.
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(BLANK), normalizers.Replace(" ", BLANK)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(BLANK, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def _piece(fields: dict[int, int | bytes]) -> Piece:
    (score,) = struct.unpack("<f", fields[2]) if 2 in fields else (0.0,)
    return Piece(fields[1].decode("utf-8"), score, fields.get(3, _NORMAL))


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of each field of a protocol buffer; nested messages, texts and floats stay bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
        else:
            length = {1: 8, 5: 4}.get(kind)
            if length is None:
                if kind != 2:
                    raise ValueError(f"field of kind {kind}")
                length, at = _varint(message, at)
            if at + length > len(message):
                raise ValueError("the file ends within a field")
            value, at = message[at : at + length], at + length
        yield key >> 3, value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
