"""What goes in and out of the JSON API; the documentation of /api/v1/openapi.json is made of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from lisa.pixels import MAX_PIXELS
from lisa.questions import LONGEST_ANSWER, MAX_CHARACTERS
from lisa.serve.limits import Limits
from lisa.serve.sessions import AnsweredTurn, Mask, Session


def _whole_characters(text: str) -> str:
    """JSON can hold half of a character, which no answer could repeat."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"character {error.start + 1} is half of a character (a lone surrogate)") from error
    return text


Text = Annotated[str, AfterValidator(_whole_characters)]
Question = Annotated[
    Text, Field(min_length=1, max_length=MAX_CHARACTERS, examples=["Please segment the boats in this image."])
]
AnswerTokens = Annotated[
    int, Field(ge=1, le=2**31 - 1, description="Longest answer in tokens; the server may have a lower limit.")
]
Url = Annotated[
    Text,
    Field(
        min_length=1,
        max_length=2000,
        description="The http(s) address of the image file, where the server was started with --allow-url.",
        examples=["https://example.org/boats.jpg"],
    ),
]
IMAGE_BASE64 = "The image file (PNG, JPEG, WebP, ...) in base64."


class Strict(BaseModel):
    """What is not known is refused, so that a misspelt field is not ignored."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Ask(Strict):
    """A question about an image, which is either sent or behind an address."""

    image: Text | None = Field(None, min_length=1, description=IMAGE_BASE64)
    image_url: Url | None = None
    question: Question
    max_new_tokens: AnswerTokens = LONGEST_ANSWER


class AskNext(Strict):
    """The next question of a session."""

    question: Question
    max_new_tokens: AnswerTokens = LONGEST_ANSWER
    stream: bool = Field(False, description="Answer with server-sent events while the answer is made.")


class ClickIn(Strict):
    """A point of the image."""

    x: float = Field(description="Pixels from the left edge.", allow_inf_nan=False)
    y: float = Field(description="Pixels from the upper edge.", allow_inf_nan=False)
    inside: bool = Field(True, description="Whether the point belongs to the thing.")


class Clicks(Strict):
    """All clicks on a mask so far; none gives the mask of the answer back."""

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
    height: int = Field(description="Of the image as it is displayed, pixels.")
    width: int
    turn: int | None = Field(None, description="The number of the turn in its session, from 0.")

    @staticmethod
    def of(session: Session, turn: AnsweredTurn, outline: bool = False) -> AnswerOut:
        return AnswerOut(
            question=turn.question,
            text=turn.text,
            masks=[MaskOut.of(mask, outline) for mask in turn.masks],
            height=session.height,
            width=session.width,
        )


class SessionOut(BaseModel):
    """An image that questions can be asked about, one by one."""

    session: str = Field(description="The key to this session; who has it can ask in it and see its image.")
    name: str
    height: int = Field(description="Of the image as it is displayed, pixels.")
    width: int

    @staticmethod
    def of(session: Session) -> SessionOut:
        return SessionOut(session=session.id, name=session.name, height=session.height, width=session.width)


class ServerInfo(BaseModel):
    """The model and the limits of this server."""

    model: str
    upload_megabytes: int
    megapixels: int
    full_megapixels: int = Field(description="Larger images are read at a reduced size.")
    question_characters: int
    answer_tokens: int
    clicks: int
    waiting: int = Field(description="Requests that may wait for the model.")
    allow_url: bool = Field(description="Whether `image_url` is fetched.")

    @staticmethod
    def of(model: str, limits: Limits, allow_url: bool) -> ServerInfo:
        return ServerInfo(
            model=model,
            upload_megabytes=limits.upload_megabytes,
            megapixels=MAX_PIXELS // 1_000_000,
            full_megapixels=limits.full_megapixels,
            question_characters=MAX_CHARACTERS,
            answer_tokens=limits.answer_tokens,
            clicks=limits.clicks,
            waiting=limits.waiting,
            allow_url=allow_url,
        )


class Health(BaseModel):
    """Whether the server answers questions."""

    status: str = Field(description="ready, loading or stopping.")


class Problem(BaseModel):
    """Why a request was not answered, in a sentence for people."""

    detail: str
