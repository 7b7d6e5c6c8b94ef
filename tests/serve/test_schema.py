"""Property tests made from the API's own schema: whatever fits it, or does not, gets an answer that it documents."""

from __future__ import annotations

import pytest
import schemathesis
from clients import client_of
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

HEADERS = {"Host": "127.0.0.1:7860"}
EXAMPLES = 12
"""Requests of each kind to each operation."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


@pytest.fixture(scope="module")
def app(predictor):
    """A server whose answers are short."""
    from lisa.serve import InferenceService, Limits, build_app

    service = InferenceService(predictor, Limits(answer_tokens=4))
    gate = build_app(service)

    async def app(scope, receive, send):
        """Without the end that comes after each of schemathesis' requests."""
        if scope["type"] != "lifespan":
            await gate(scope, receive, send)
            return
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})

    yield app
    service.close()


@pytest.fixture(scope="module")
def session(app, example):
    """A session in which something was asked, so that there is a mask to correct."""
    client = client_of(app)
    opened = client.post("/api/v1/sessions", files={"image": ("x.jpg", example)}).json()["session"]
    client.post(f"/api/v1/sessions/{opened}/turns", json={"question": "Please segment the boats in this image."})
    return opened


OPERATIONS = [
    "GET /api/v1/info",
    "POST /api/v1/ask",
    "POST /api/v1/ask/file",
    "POST /api/v1/sessions",
    "POST /api/v1/sessions/{session}/turns",
    "PUT /api/v1/sessions/{session}/turns/{turn}/masks/{mask}/clicks",
    "GET /api/v1/sessions/{session}/image",
    "GET /api/v1/sessions/{session}/masks.zip",
    "GET /api/v1/sessions/{session}/coco.json",
    "DELETE /api/v1/sessions/{session}",
    "GET /api/v1/examples",
    "GET /api/v1/examples/{name}",
    "GET /health",
    "GET /metrics",
]


@pytest.fixture(scope="module")
def operations(app) -> dict:
    """Every operation of the published schema by its name."""
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, headers=HEADERS)
    found = [result.ok() for result in schema.get_all_operations()]
    return {f"{one.method.upper()} {one.path}": one for one in found}


def test_every_operation_is_tested(operations):
    assert sorted(operations) == sorted(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fits", "does not fit"])
def test_every_request_gets_a_documented_answer(operations, session, name, mode):
    """What fits the schema, and what does not."""
    operation = operations[name]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case):
        if "session" in (case.path_parameters or {}) and operation.method.upper() != "DELETE":
            case.path_parameters["session"] = session  # else nearly all would be 404
        case.call_and_validate(headers=HEADERS, checks=CHECKS)

    try:
        check()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, "nothing fits the schema"
        assert not [*operation.body, *operation.query], f"nothing misfits {name}"
