"""The JSON API: a picture and a question in; words, masks and scores out."""

from __future__ import annotations

import asyncio
import base64
import binascii
from concurrent.futures import Future
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, File, Form, Path, Query, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from lisa.pointing import Click
from lisa.questions import LONGEST_ANSWER, MAX_CHARACTERS
from lisa.serve.downloads import coco_json, masks_zip
from lisa.serve.examples import EXAMPLES, Example, read_example
from lisa.serve.host import Host
from lisa.serve.limits import RefusedError
from lisa.serve.schema import About, AnswerOut, Ask, AskNext, Correct, MaskOut, Problem, TalkOut

T = TypeVar("T")
Token = Annotated[str, Path(min_length=1, max_length=64)]
Outline = Annotated[bool, Query(description="Also give each mask as an SVG path.")]
Picture = Annotated[UploadFile, File(description="The picture file: PNG, JPEG, WebP, ...")]
Words = Annotated[str, Form(min_length=1, max_length=MAX_CHARACTERS)]

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The picture or the question cannot be used; the sentence says why."},
    404: {"model": Problem, "description": "There is no such talk, answer or mask."},
    413: {"model": Problem, "description": "Too large."},
    422: {"model": Problem, "description": "The request is not of the documented form."},
    429: {"model": Problem, "description": "Too many requests wait; try again in a moment."},
}


def router(host: Host) -> APIRouter:
    """The routes below /api for a model."""
    api = APIRouter(prefix="/api", responses=REFUSALS)
    limits = host.limits

    @api.get("/about")
    async def about() -> About:
        """The model and the limits of this server."""
        return About.of(host.predictor.name, limits)

    @api.post("/ask")
    async def ask(wanted: Ask) -> AnswerOut:
        """One question about one picture, which is sent in base64; nothing is remembered."""
        data = _from_base64(wanted.image, limits.upload_bytes)
        talk, spoken = await _done(host.ask_once(data, "", wanted.question, wanted.max_new_tokens))
        return AnswerOut.of(talk, spoken)

    @api.post("/ask/file")
    async def ask_file(
        image: Picture, question: Words, max_new_tokens: Annotated[int, Form(ge=1)] = LONGEST_ANSWER
    ) -> AnswerOut:
        """One question about one picture, which is sent as a file of a form; nothing is remembered."""
        data = await _read(image, limits.upload_bytes)
        talk, spoken = await _done(host.ask_once(data, image.filename or "", question, max_new_tokens))
        return AnswerOut.of(talk, spoken)

    @api.post("/talks", status_code=201)
    async def open_talk(image: Picture) -> TalkOut:
        """A picture to ask about, question by question; the answer holds the key to it."""
        data = await _read(image, limits.upload_bytes)
        return TalkOut.of(await _done(host.open(data, image.filename or "")))

    @api.post("/talks/{talk}/ask")
    async def ask_next(talk: Token, wanted: AskNext, outline: Outline = False) -> AnswerOut:
        """The next question of a talk, asked with all that was said before."""
        told, spoken = await _done(host.ask(talk, wanted.question, wanted.max_new_tokens))
        return AnswerOut.of(told, spoken, outline)

    @api.post("/talks/{talk}/correct")
    async def correct(talk: Token, wanted: Correct, outline: Outline = False) -> MaskOut:
        """A mask after clicks on what belongs to the thing and what does not."""
        clicks = [Click(click.x, click.y, click.inside) for click in wanted.clicks]
        return MaskOut.of(await _done(host.correct(talk, wanted.answer, wanted.mask, clicks)), outline)

    @api.get("/talks/{talk}/picture", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}})
    async def picture(talk: Token) -> Response:
        """The picture, made smaller for a page."""
        return Response(host.talks.get(talk).preview, media_type="image/jpeg")

    @api.get("/talks/{talk}/masks.zip", response_class=Response, responses={200: {"content": {"application/zip": {}}}})
    async def masks(talk: Token) -> Response:
        """Every mask of the talk as a lossless PNG (0 and 255) of the picture's size."""
        return _file(await _done(host.desk.hand_in(masks_zip, host.talks.get(talk))), "masks.zip", "application/zip")

    @api.get("/talks/{talk}/coco.json", response_class=Response, responses={200: {"content": {"application/json": {}}}})
    async def coco(talk: Token) -> Response:
        """Every mask of the talk as COCO instances."""
        return _file(await _done(host.desk.hand_in(coco_json, host.talks.get(talk))), "coco.json", "application/json")

    @api.delete("/talks/{talk}", status_code=204)
    async def close(talk: Token) -> None:
        """Forget a picture and what was said about it."""
        host.talks.drop(talk)

    @api.get("/examples")
    async def examples() -> list[Example]:
        """Pictures to try."""
        return list(EXAMPLES)

    @api.get("/examples/{name}", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}})
    async def example(name: Annotated[str, Path(max_length=64)]) -> Response:
        """A picture to try."""
        return Response(read_example(name), media_type="image/jpeg")

    return api


async def refused(_: Request, error: Exception) -> JSONResponse:
    """The answer to a request that a user can mend."""
    status = error.status if isinstance(error, RefusedError) else 400
    headers = {"Retry-After": "2"} if status == 429 else None
    return JSONResponse({"detail": str(error)}, status, headers)


async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
    """As `refused`, for a request of another form; what was sent is not repeated."""
    told = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg'].lower()}" for one in error.errors()[:5]]
    return JSONResponse({"detail": f"the request is not of the form that the API documents ({'; '.join(told)})"}, 422)


async def failed(_: Request, error: Exception) -> JSONResponse:
    """What nobody expected: the log has it, the answer does not."""
    return JSONResponse({"detail": "something went wrong on the server; its log says what"}, 500)


async def _done(future: Future[T]) -> T:
    # Shielded: when the client goes away the work goes on, so that the model's thread and the line stay in step.
    return await asyncio.shield(asyncio.wrap_future(future))


async def _read(image: UploadFile, most: int) -> bytes:
    data = await image.read(most + 1)
    return _checked_size(data, most)


def _from_base64(text: str, most: int) -> bytes:
    if len(text) > (most + 2) // 3 * 4:
        raise _too_large(most)
    try:
        return _checked_size(base64.b64decode(text, validate=True), most)
    except binascii.Error as error:
        raise ValueError(f"image is not base64 ({error}); encode the bytes of the picture file") from error


def _checked_size(data: bytes, most: int) -> bytes:
    if len(data) > most:
        raise _too_large(most)
    if not data:
        raise ValueError("the picture file is empty; choose another one")
    return data


def _too_large(most: int) -> RefusedError:
    return RefusedError(413, f"the picture file has more than {most // 1_000_000} MB; make it smaller")


def _file(data: bytes, name: str, media_type: str) -> Response:
    return Response(data, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})
