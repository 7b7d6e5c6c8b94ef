"""What goes in and out of the JSON API; the documentation of /api/openapi.json is made of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from lisa.questions import LONGEST_ANSWER, MAX_CHARACTERS
from lisa.serve.limits import Limits
from lisa.serve.talks import Mask, Spoken, Talk

Question = Annotated[
    str, Field(min_length=1, max_length=MAX_CHARACTERS, examples=["Please segment the boats in this image."])
]


class Strict(BaseModel):
    """What is not known is refused, so that a misspelt field is not ignored."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Ask(Strict):
    """A question about a picture."""

    image: str = Field(description="The picture file (PNG, JPEG, WebP, ...) in base64.", min_length=1)
    question: Question
    max_new_tokens: int = Field(
        LONGEST_ANSWER, ge=1, description="Longest answer in tokens; the server may have a lower limit."
    )


class AskNext(Strict):
    """The next question of a talk."""

    question: Question
    max_new_tokens: int = Field(
        LONGEST_ANSWER, ge=1, description="Longest answer in tokens; the server may have a lower limit."
    )


class ClickIn(Strict):
    """A point of the picture."""

    x: float = Field(description="Pixels from the left edge.", allow_inf_nan=False, strict=False)
    y: float = Field(description="Pixels from the upper edge.", allow_inf_nan=False, strict=False)
    inside: bool = Field(True, description="Whether the point belongs to the thing.")


class Correct(Strict):
    """All clicks on a mask so far; none gives the mask of the answer back."""

    answer: int = Field(ge=0, description="The number of the answer in the talk, from 0.")
    mask: int = Field(ge=0, description="The number of the mask in the answer, from 0.")
    clicks: list[ClickIn] = Field(max_length=1000)


class Rle(BaseModel):
    """A mask as COCO's run-length code; `pycocotools.mask.decode` reads it."""

    size: list[int] = Field(description="Height and width.")
    counts: str


class MaskOut(BaseModel):
    """A mask and the words that it belongs to."""

    phrase: str = Field(description='The words that lead to the [SEG]; "" where none do.')
    rle: Rle
    expected_iou: float = Field(description="0 to 1: the overlap with the truth that SAM's decoder expects.")
    seg_probability: float = Field(description="0 to 1: how probable [SEG] was to the language model.")
    outline: str | None = Field(None, description="The mask as an SVG path (even-odd); only where it was asked for.")

    @staticmethod
    def of(mask: Mask, outline: bool) -> MaskOut:
        return MaskOut(
            phrase=mask.phrase,
            rle=Rle(**mask.rle),
            expected_iou=round(mask.expected_iou, 6),
            seg_probability=round(mask.seg_probability, 6),
            outline=mask.outline if outline else None,
        )


class AnswerOut(BaseModel):
    """What the model says, and where."""

    question: str
    text: str = Field(description="The words, with [SEG] where the answer points.")
    masks: list[MaskOut] = Field(description="One for each [SEG]; none when the answer points at nothing.")
    height: int = Field(description="Of the picture as it is displayed, pixels.")
    width: int

    @staticmethod
    def of(talk: Talk, spoken: Spoken, outline: bool = False) -> AnswerOut:
        masks = [MaskOut.of(mask, outline) for mask in spoken.masks]
        return AnswerOut(question=spoken.question, text=spoken.text, masks=masks, height=talk.height, width=talk.width)


class TalkOut(BaseModel):
    """A picture that questions can be asked about, one by one."""

    talk: str = Field(description="The key to this picture; who has it can ask about it and see it.")
    name: str
    height: int
    width: int

    @staticmethod
    def of(talk: Talk) -> TalkOut:
        return TalkOut(talk=talk.token, name=talk.name, height=talk.height, width=talk.width)


class About(BaseModel):
    """The model and the limits of this server."""

    model: str
    upload_megabytes: int
    megapixels: int
    question_characters: int
    answer_tokens: int
    clicks: int
    waiting: int = Field(description="Requests that may wait for the model.")

    @staticmethod
    def of(model: str, limits: Limits) -> About:
        from lisa.pixels import MAX_PIXELS

        return About(
            model=model,
            upload_megabytes=limits.upload_megabytes,
            megapixels=MAX_PIXELS // 1_000_000,
            question_characters=MAX_CHARACTERS,
            answer_tokens=limits.answer_tokens,
            clicks=limits.clicks,
            waiting=limits.waiting,
        )


class Problem(BaseModel):
    """Why a request was not answered, in a sentence for people."""

    detail: str
