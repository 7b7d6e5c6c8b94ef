"""The JSON API: an image and a question in; words, masks and scores out."""

from __future__ import annotations

import asyncio
import base64
from concurrent.futures import Future
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, File, Form, Path, Query, Response, UploadFile

from lisa.image_input import name_of
from lisa.pointing import Click
from lisa.questions import LONGEST_ANSWER, MAX_CHARACTERS
from lisa.serve.examples import EXAMPLES, Example, read_example
from lisa.serve.images import ReadImage
from lisa.serve.limits import RefusedError
from lisa.serve.problems import JsonRoute
from lisa.serve.schemas import AnswerOut, Ask, AskNext, Clicks, MaskOut, Problem, ServerInfo, SessionOut
from lisa.serve.service import InferenceService
from lisa.serve.streaming import start_stream

PREFIX = "/api/v1"

T = TypeVar("T")
SessionId = Annotated[str, Path(min_length=1, max_length=64, description="The key that opening the session gave.")]
Number = Annotated[int, Path(ge=0, le=2**31 - 1)]
Outline = Annotated[bool, Query(description="Also give each mask as an SVG path.")]
ImageFile = Annotated[UploadFile | None, File(description="The image file: PNG, JPEG, WebP, ...")]
ImageUrl = Annotated[
    str | None,
    Form(min_length=1, max_length=2000, description="Its address instead, where the server has --allow-url."),
]
QuestionField = Annotated[str, Form(min_length=1, max_length=MAX_CHARACTERS)]

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The image or the question cannot be used; the sentence says why."},
    403: {"model": Problem, "description": "Not allowed here: another site's page, or addresses of images."},
    404: {"model": Problem, "description": "There is no such session, turn or mask."},
    408: {"model": Problem, "description": "The request came too slowly."},
    413: {"model": Problem, "description": "Too large."},
    421: {"model": Problem, "description": "The server is not called by this name."},
    422: {"model": Problem, "description": "The request is not of the documented form."},
    429: {"model": Problem, "description": "Too many requests wait; try again in a moment."},
    503: {"model": Problem, "description": "The server is full, or shutting down; try again in a moment."},
}


def router(service: InferenceService, allow_url: bool) -> APIRouter:
    """The routes below /api/v1 for a model."""
    api = APIRouter(prefix=PREFIX, responses=REFUSALS, route_class=JsonRoute)
    limits = service.limits

    async def read(data: bytes | None, url: str | None) -> ReadImage:
        if (data is None) == (url is None):
            raise RefusedError(422, "send either an image or the image_url of one")
        if url is not None:
            data = await _fetched(url, allow_url, limits.upload_bytes)
        large = await _done(service.is_large(data))
        return await _done(service.read(data, large))

    async def read_form(image: UploadFile | None, url: str | None) -> tuple[ReadImage, str]:
        data = None if image is None else _checked_size(await image.read(limits.upload_bytes + 1), limits.upload_bytes)
        name = image.filename if image is not None else name_of(url or "")
        return await read(data, url), name or ""

    @api.get("/info")
    async def info() -> ServerInfo:
        """The model and the limits of this server."""
        return ServerInfo.of(service.predictor.name, limits, allow_url)

    @api.post("/ask")
    async def ask(wanted: Ask) -> AnswerOut:
        """One question about one image, which is sent in base64; nothing is remembered."""
        data = None if wanted.image is None else _from_base64(wanted.image, limits.upload_bytes)
        image = await read(data, wanted.image_url)
        return AnswerOut.of(*await _done(service.ask_once(image, "", wanted.question, wanted.max_new_tokens)))

    @api.post("/ask/file")
    async def ask_file(
        question: QuestionField,
        image: ImageFile = None,
        image_url: ImageUrl = None,
        max_new_tokens: Annotated[int, Form(ge=1, le=2**31 - 1)] = LONGEST_ANSWER,
    ) -> AnswerOut:
        """One question about one image, which is sent as a file of a form; nothing is remembered."""
        read_image, name = await read_form(image, image_url)
        return AnswerOut.of(*await _done(service.ask_once(read_image, name, question, max_new_tokens)))

    @api.post("/sessions", status_code=201)
    async def open_session(image: ImageFile = None, image_url: ImageUrl = None) -> SessionOut:
        """An image to ask about, question by question; the answer holds the key to it."""
        return SessionOut.of(await _done(service.open(*await read_form(image, image_url))))

    _add_session_routes(api, service)
    _add_example_routes(api)
    return api


def _add_session_routes(api: APIRouter, service: InferenceService) -> None:
    @api.post("/sessions/{session}/turns", responses={200: {"content": {"text/event-stream": {}}}})
    async def ask_next(session: SessionId, wanted: AskNext, outline: Outline = False) -> AnswerOut:
        """The next question of a session, asked with all that was said before."""
        if wanted.stream:
            return start_stream(service, session, wanted.question, wanted.max_new_tokens)
        asked, turn = await _done(service.ask(session, wanted.question, wanted.max_new_tokens))
        answer = AnswerOut.of(asked, turn, outline)
        answer.turn = asked.turns.index(turn)
        return answer

    @api.put("/sessions/{session}/turns/{turn}/masks/{mask}/clicks")
    async def set_clicks(
        session: SessionId, turn: Number, mask: Number, wanted: Clicks, outline: Outline = False
    ) -> MaskOut:
        """A mask after clicks on what belongs to the thing and what does not; turn and mask count from 0."""
        clicks = [Click(click.x, click.y, click.inside) for click in wanted.clicks]
        return MaskOut.of(await _done(service.correct(session, turn, mask, clicks)), outline)

    @api.get("/sessions/{session}/image", response_class=Response, responses=_file_of("image/jpeg"))
    async def image(session: SessionId) -> Response:
        """The image, made smaller for a page."""
        return Response(service.sessions.get(session).preview, media_type="image/jpeg")

    @api.get("/sessions/{session}/masks.zip", response_class=Response, responses=_file_of("application/zip"))
    async def masks(session: SessionId) -> Response:
        """Every mask of the session as a lossless PNG (0 and 255) of the image's size."""
        return _file(await _done(service.masks_zip(session)), "masks.zip", "application/zip")

    @api.get("/sessions/{session}/coco.json", response_class=Response, responses=_file_of("application/json"))
    async def coco(session: SessionId) -> Response:
        """Every mask of the session as COCO instances."""
        return _file(await _done(service.coco_json(session)), "coco.json", "application/json")

    @api.delete("/sessions/{session}", status_code=204)
    async def close(session: SessionId) -> None:
        """Forget an image and what was said about it."""
        service.sessions.remove(session)


def _add_example_routes(api: APIRouter) -> None:
    @api.get("/examples")
    async def examples() -> list[Example]:
        """Images to try."""
        return list(EXAMPLES)

    @api.get("/examples/{name}", response_class=Response, responses=_file_of("image/jpeg"))
    async def example(name: Annotated[str, Path(max_length=64)]) -> Response:
        """An image to try."""
        return Response(read_example(name), media_type="image/jpeg")


async def _done(future: Future[T]) -> T:
    # Shielded: when the client goes away the work goes on, so that the model's thread and the line stay in step.
    return await asyncio.shield(asyncio.wrap_future(future))


async def _fetched(url: str, allowed: bool, most: int) -> bytes:
    from lisa.fetch import fetch

    if not allowed:
        raise RefusedError(403, "this server fetches no images; send the file, or start the server with --allow-url")
    try:
        return await asyncio.to_thread(fetch, url, most)
    except OSError as error:
        raise ValueError(str(error)) from error


def _from_base64(text: str, most: int) -> bytes:
    if len(text) > (most + 2) // 3 * 4:
        raise _too_large(most)
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(f"image is not base64 ({error}); encode the bytes of the image file") from error
    return _checked_size(data, most)


def _checked_size(data: bytes, most: int) -> bytes:
    if len(data) > most:
        raise _too_large(most)
    if not data:
        raise ValueError("the image file is empty; choose another one")
    return data


def _too_large(most: int) -> RefusedError:
    return RefusedError(413, f"the image file has more than {most // 1_000_000} MB; make it smaller")


def _file(data: bytes, name: str, media_type: str) -> Response:
    return Response(data, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _file_of(media_type: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {media_type: {}}}}
