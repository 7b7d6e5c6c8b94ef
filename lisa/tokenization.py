"""A conversation -> ids and labels, with the image placeholder expanded; ids of an answer -> text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from tokenizers import AddedToken
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lisa.conversation import IMAGE_PLACEHOLDER, SEG, TEMPLATES, Conversation, Template, write
from lisa.pictures import PLAIN_RULES, PictureText, TextRules

IM_START, IM_END = "<im_start>", "<im_end>"
IGNORE_INDEX = -100
"""Label of a token that is not learned."""

BLANK = "▁"
"""How sentencepiece writes a blank (U+2581)."""


def add_lisa_tokens(tokenizer: PreTrainedTokenizerBase, use_im_start_end: bool) -> None:
    """Give a language model's tokenizer the tokens of LISA, in the reference's order, and padding if it has none."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token
    tokenizer.add_tokens([AddedToken(SEG, special=False, normalized=False)])
    if use_im_start_end:
        tokenizer.add_tokens([IM_START, IM_END], special_tokens=True)


@dataclass(frozen=True, kw_only=True)
class EncodedConversation:
    """One conversation as the language model reads it; T tokens, image tokens included."""

    input_ids: Tensor
    """(T,) int64; at image tokens an arbitrary id, their embedding comes from the picture."""
    labels: Tensor
    """(T,) int64; -100 outside of what the assistant says."""
    image_index: Tensor
    """(T,) int64: which image token of the picture stands here, -1 for text."""
    positions: Tensor | None = None
    """(T,) or (T, axes) int64; None counts from 0."""
    full: int = 0
    """How many tokens, from the first on, are read with full attention."""

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True, kw_only=True)
class ConversationTokenizer:
    """Writes conversations with a template and tokenizes them.

    tokens_per_image: P of a picture of which nothing more is known; 0 where pictures differ.
    """

    tokenizer: PreTrainedTokenizerBase
    template: str
    tokens_per_image: int
    use_im_start_end: bool
    model_max_length: int
    leading_blank: str = "every"
    """Which pieces of text start with the tokenizer's leading blank: "every", or the "first" of a conversation."""
    rules: TextRules = PLAIN_RULES
    control: frozenset[str] = frozenset()
    """Tokens of the family that only the software may write."""

    def encode(
        self, conversation: Conversation, truncate: bool = False, picture: PictureText | None = None
    ) -> EncodedConversation:
        """Ids, labels, positions and places of the image tokens; `picture` is what the placeholder becomes.

        Pieces between added tokens are stripped and tokenized on their own (LISA's released weights were
        trained so). ValueError when the text holds a control token that only the software may write, when
        the picture is not there exactly once, or when the conversation is longer than model_max_length. With
        `truncate` a longer one is cut at the end, as in the reference, but never so that a [SEG] or all that is
        to be learned is lost.
        """
        self._refuse_control_tokens(conversation)
        picture = picture or self._plain_picture()
        spans = write(conversation, self._written_by)
        text = "".join(span.text for span in spans)
        learned = [span.learned for span in spans for _ in span.text]
        ids: list[int] = []
        labels: list[int] = []
        image_index: list[int] = []
        if self.rules.bos_first and self.tokenizer.bos_token_id is not None:
            ids, labels, image_index = [self.tokenizer.bos_token_id], [IGNORE_INDEX], [-1]
        start = picture_at = 0
        for part in re.split(f"({re.escape(IMAGE_PLACEHOLDER)})", text):
            if part == IMAGE_PLACEHOLDER:
                before, after = ([self.vocabulary[mark]] * self.use_im_start_end for mark in (IM_START, IM_END))
                picture_at = len(ids) + len(before)
                ids += [*before, *picture.ids.tolist(), *after]
                image_index += [-1] * len(before) + picture.image_index.tolist() + [-1] * len(after)
                labels += [IGNORE_INDEX] * (len(ids) - len(labels))
            else:
                after_image, before_image = start > 0, start + len(part) < len(text)
                for token, end in self._chunk(part, after_image, before_image):
                    ids.append(token)
                    image_index.append(-1)
                    labels.append(token if learned[start + end - 1] else IGNORE_INDEX)
            start += len(part)
        positions = self._positions(len(ids), picture, picture_at)
        if len(ids) > self.model_max_length:
            kept = labels[: self.model_max_length]
            if not truncate or kept.count(self.seg_token_id) < conversation.num_seg or max(kept) < 0:
                self._refuse_length(conversation, len(ids), picture.num_tokens)
            ids, labels, image_index = (values[: self.model_max_length] for values in (ids, labels, image_index))
        first_answer = next((at for at, label in enumerate(labels) if label != IGNORE_INDEX), len(labels))
        return EncodedConversation(
            input_ids=torch.tensor(ids),
            labels=torch.tensor(labels),
            image_index=torch.tensor(image_index),
            positions=positions[: len(ids)],
            full=first_answer if self.rules.full_prefix else 0,
        )

    def _positions(self, length: int, picture: PictureText, picture_at: int) -> Tensor:
        """(T,), or (T, axes) where a picture has positions of its own; words go on after the highest of them."""
        counted = self.rules.first_position + torch.arange(length)
        if picture.positions is None:
            return counted
        positions, end = counted[:, None].repeat(1, self.rules.axes), picture_at + len(picture.ids)
        positions[picture_at:end] = positions[picture_at] + picture.positions
        positions[end:] += picture.span - len(picture.ids)
        return positions

    def decode(self, ids: list[int]) -> str:
        """The text of an answer, with [SEG] set off by a blank as it is written in the data."""
        seg_id = self.seg_token_id
        words: list[str] = []
        piece: list[int] = []
        for token in [*ids, seg_id]:
            if token != seg_id:
                piece.append(token)
                continue
            words.append(self.tokenizer.decode(piece, skip_special_tokens=True).strip())
            piece = []
        text = words[0]
        for word in words[1:]:
            text = f"{text} {SEG}".lstrip() + (f" {word}" if word[:1].isalnum() else word)
        return text

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Every token's id."""
        return self.tokenizer.get_vocab()

    @property
    def seg_token_id(self) -> int:
        """Vocabulary id of [SEG]; looked up, never tokenized."""
        return self.vocabulary[SEG]

    @cached_property
    def _written_by(self) -> Template:
        """The template, with this tokenizer's beginning and end of a sentence."""
        return TEMPLATES[self.template].ending(self.tokenizer.bos_token, self.tokenizer.eos_token)

    def _refuse_length(self, conversation: Conversation, length: int, image_tokens: int) -> None:
        asked = [turn.text for turn in conversation.turns if turn.role == "user"][-1]
        raise ValueError(
            f"the conversation has {length} tokens ({image_tokens} of them for the picture) but the model "
            f"reads at most {self.model_max_length}; shorten it, or what begins with {asked[:60]!r}"
        )

    @cached_property
    def forbidden(self) -> dict[str, tuple[str, ...]]:
        """Tokens that may not stand in a turn's text, by its role: only the software may write them."""
        ends = self.tokenizer.bos_token, self.tokenizer.eos_token
        control = {IM_START, IM_END, *ends, *self.control, *self._template_tokens} - {None}
        return {"user": tuple(sorted(control | {SEG})), "assistant": tuple(sorted(control | {IMAGE_PLACEHOLDER}))}

    def _refuse_control_tokens(self, conversation: Conversation) -> None:
        for turn in conversation.turns:
            for token in self.forbidden[turn.role]:
                if token in turn.text:
                    raise ValueError(
                        f"the {turn.role}'s text holds {token}, which only the software may write; remove it"
                    )
        pictures = sum(turn.text.count(IMAGE_PLACEHOLDER) for turn in conversation.turns)
        if pictures != 1:
            raise ValueError(
                f"{IMAGE_PLACEHOLDER} must stand exactly once in a conversation, but stands {pictures} times"
            )

    def _plain_picture(self) -> PictureText:
        assert self.tokens_per_image, "pictures of this family differ: say what this one becomes"
        filler = self.tokenizer.pad_token_id
        return PictureText.of([filler] * self.tokens_per_image, filler, filler, [])

    def text_ids(self, text: str) -> list[int]:
        """Ids of a text in which `<image>` is text like any other, without a beginning-of-sentence token."""
        return [token for token, _ in self._chunk(text, False, False)]

    def _chunk(self, text: str, after_image: bool, before_image: bool) -> Iterator[tuple[int, int]]:
        """(id, end of its text) for each token of the text on one side of a picture.

        It is split at the added tokens, and each piece is stripped beside those that strip; `<im_end>` and `<im_start>`
        stand between a picture and its text.
        """
        # A text that begins with an added token has no first piece: the blank before it is a piece of its own.
        first = not (after_image and self.use_im_start_end)
        parts = re.split(self._splitter, text)
        start = 0
        for index, part in enumerate(parts):
            begin, end = start, start + len(part)
            start = end
            if index % 2:
                yield self.vocabulary[part], end
                first = False
                continue
            left = parts[index - 1] in self._stripping if index else after_image and self.use_im_start_end
            last = index + 1 == len(parts)
            right = before_image and self.use_im_start_end if last else parts[index + 1] in self._stripping
            if left:
                begin += len(part) - len(part.lstrip())
            if right:
                end = begin + len(text[begin:end].rstrip())
            for token, reach in self._tokens(text[begin:end], first):
                yield token, begin + reach
            first = False

    @cached_property
    def _stripping(self) -> frozenset[str]:
        """Added tokens around which text is stripped, as the reference's tokenizer did: not around <s>, </s>, <unk>."""
        plain = {getattr(self.tokenizer, f"{name}_token") for name in ("bos", "eos", "unk", "pad")}
        return frozenset(set(self.tokenizer.get_added_vocab()) - plain - {IMAGE_PLACEHOLDER} - self._template_tokens)

    @cached_property
    def _template_tokens(self) -> frozenset[str]:
        """Added tokens that the template writes."""
        template = self._written_by
        written = " ".join([template.opening, *template.user, *template.assistant, *template.first_user])
        return frozenset(token for token in self.tokenizer.get_added_vocab() if token in written)

    @cached_property
    def _splitter(self) -> str:
        """Matches one token that is looked up, longest first."""
        plain = {getattr(self.tokenizer, f"{name}_token") for name in ("bos", "eos", "unk")} - {None}
        return (
            "("
            + "|".join(
                re.escape(token)
                for token in sorted(self._stripping | plain | self._template_tokens, key=len, reverse=True)
            )
            + ")"
        )

    def _tokens(self, piece: str, first: bool) -> list[tuple[int, int]]:
        """(id, end of its text within the piece) for each token of a piece without added tokens; ends are 1 or more."""
        if not piece:
            return []
        encoded = self.tokenizer(piece, add_special_tokens=False, return_offsets_mapping=True)
        tokens = [
            (token, max(end, 1)) for token, (_, end) in zip(encoded.input_ids, encoded.offset_mapping, strict=True)
        ]
        if self.leading_blank == "first" and not first and not piece.startswith(" "):
            return self._without_leading_blank(tokens)
        return tokens

    def _without_leading_blank(self, tokens: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """The blank is cut off the first token's text, as transformers 4.31 did it: what is left may be no token."""
        (token, end), rest = tokens[0], tokens[1:]
        text = self.tokenizer.convert_ids_to_tokens(token)
        if not text.startswith(BLANK):
            return tokens
        if text == BLANK:
            return rest
        return [(self.vocabulary.get(text.removeprefix(BLANK), self.tokenizer.unk_token_id), end), *rest]
