"""Errors -> answers with a sentence."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from lisa.serve.limits import RefusedError

_SENTENCES = {404: "there is nothing here", 405: "this path does not take this method"}


MOST_VALUES = 10_000
"""Values of a JSON body; the largest request that the API documents, a thousand clicks, has fewer than half of that."""


class JsonRoute(APIRoute):
    """Refuses JSON of another encoding, which Python's own reader would guess, and of more values than any request has.

    An image in base64 is one value; millions of them would keep the server's only loop busy for seconds.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As FastAPI's, after a look at the body."""
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            if "json" in request.headers.get("content-type", "").lower():
                _check_json(await request.body())
            return await handle(request)

        return checked


def _check_json(body: bytes) -> None:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedError(400, f"the request is not UTF-8 (byte {error.start}); encode it so") from error
    if sum(map(body.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise RefusedError(413, f"the request has more than {MOST_VALUES} values; no request of this API has so many")


def add_handlers(app: FastAPI) -> None:
    """Every error of the application becomes {"detail": a sentence}."""
    app.add_exception_handler(ValueError, refused)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(HTTPException, http_problem)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(Exception, failed)


async def refused(_: Request, error: Exception) -> JSONResponse:
    """The answer to a request that a user can mend."""
    return _problem(error.status if isinstance(error, RefusedError) else 400, str(error))


async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
    """As `refused`, for a request of another form; what was sent is not repeated, but for names of its fields."""
    told = [f"{'.'.join(str(part)[:40] for part in one['loc'])}: {one['msg'].lower()}" for one in error.errors()[:5]]
    return _problem(422, f"the request is not of the form that the API documents ({'; '.join(told)})")


async def http_problem(_: Request, error: HTTPException) -> JSONResponse:
    """As `refused`, for errors of the framework."""
    return _problem(error.status_code, _SENTENCES.get(error.status_code, str(error.detail)), error.headers)


async def gone(_: Request, error: Exception) -> Response:
    """For the log and the metrics alone; 499 is what nginx calls it."""
    return Response(status_code=499)


async def failed(_: Request, error: Exception) -> JSONResponse:
    """What nobody expected: the log has it, the answer does not."""
    return _problem(500, "something went wrong on the server; its log says what")


def _problem(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    # Names of fields come from JSON, which can hold half of a character.
    return JSONResponse({"detail": sentence.encode("utf-8", "replace").decode("utf-8")}, status, headers)
