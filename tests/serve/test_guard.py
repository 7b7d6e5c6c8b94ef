"""What an attacker tries: files of the server, Gradio's own routes, other people's pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SECRET = CHECKOUT / "pyproject.toml"


@pytest.mark.parametrize(
    "path",
    [
        f"/gradio_api/file={SECRET}",
        f"/gradio_api/file/{SECRET}",
        f"/file={SECRET}",
        f"/file/{SECRET}",
        "/gradio_api/file=pyproject.toml",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=C:/windows/win.ini",
        "/gradio_api/proxy=http://127.0.0.1:22/",
        "/gradio_api/proxy=https://example.org/",
        "/assets/../../../../../../../../etc/passwd",
        "/assets/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/assets/..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/static/..%5c..%5c..%5cetc%5cpasswd",
        "/assets//etc/passwd",
        "/static/%00/etc/passwd",
        "/custom_component/1/client/component/..%2f..%2f..%2fetc%2fpasswd",
        "/gradio_api/custom_component/1/client/component/index.js",
        "/gradio_api/deep_link?session_hash=x",
        "/gradio_api/info",
        "/gradio_api/openapi.json",
        "/gradio_api/runs",
        "/gradio_api/stream/x/y/1/playlist.m3u8",
        "/monitoring",
        "/monitoring/summary",
        "/openapi.json",
        "/docs",
        "/redoc",
        "/gradio_api/upload_progress?upload_id=1",
        "/api/examples/..%2fpage.py",
        "/api/examples/page.py",
        "/api/talks/..%2f..%2fabout/picture",
    ],
)
def test_no_road_leads_to_a_file_or_to_another_server(client, path):
    answer = client.get(path)
    assert answer.status_code in (400, 404, 405), answer.text[:300]
    assert "lisa-segmentation" not in answer.text
    assert "root:" not in answer.text


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/upload", "/gradio_api/component_server", "/gradio_api/run/predict", "/gradio_api/api/predict",
     "/gradio_api/call/ask", "/gradio_api/call/v2/ask", "/gradio_api/stream/x", "/gradio_api/process_recording",
     "/gradio_api/vibe-edit", "/gradio_api/run-history/connect", "/login", "/gradio_api/profiling/clear"],
)  # fmt: skip
def test_gradios_own_ways_to_send_and_to_call_are_closed(client, path):
    answer = client.post(path, files={"files": ("x.txt", b"x")})
    assert answer.status_code == 404
    assert answer.json()["detail"] == "there is nothing here"


@pytest.mark.parametrize(
    "value",
    [
        {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
        {"path": "http://127.0.0.1:22/x", "url": "http://127.0.0.1:22/x", "meta": {"_type": "gradio.FileData"}},
        [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}],
        ["/etc/passwd"],
    ],
)
def test_a_file_that_is_passed_off_as_text_is_refused(client, value):
    body = {"data": [value, "x", "1"], "fn_index": 0, "session_hash": "abc", "trigger_id": 1}
    for sent in (body, {**body, "data": ["x", "x", "1"], "event_data": value}):
        answer = client.post("/gradio_api/queue/join", json=sent)
        assert answer.status_code == 400
        assert "passwd" not in answer.text


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"data": 5}', b"\xff", b"[" * 30_000, b'{"data": "text"}'])
def test_nonsense_in_the_queue_is_refused(client, body):
    answer = client.post("/gradio_api/queue/join", content=body, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500


def test_the_page_tells_nothing_of_the_server_and_loads_nothing_from_elsewhere(client):
    for path in ("/", "/config"):
        answer = client.get(path)
        assert answer.status_code == 200
        for place in {str(CHECKOUT), str(Path.home()), "/tmp", "site-packages"}:
            if len(place) > 1:
                assert place not in answer.text, place
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "http" not in policy


def test_a_socket_is_closed_at_once(client):
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/gradio_api/queue/join"):
        pass


def routes_of(routes):
    """(path, method) of all routes, those of included routers too."""
    for route in routes:
        if hasattr(route, "original_router"):
            yield from routes_of(route.original_router.routes)
        else:
            yield from ((route.path, method) for method in route.methods)


def test_what_is_open_of_gradio_is_what_the_page_needs(client):
    """A new Gradio must not bring new open roads unnoticed: of its routes these and no others pass the guard."""
    from lisa.serve.guard import _is_open

    (gradio_app,) = [route.app for route in client.app.routes if hasattr(getattr(route, "app", None), "blocks")]
    opened = {
        path.rstrip("/") or "/"
        for path, method in routes_of(gradio_app.routes)
        if _is_open(method, path.replace("{path:path}", "x").replace("{session_hash}", "x"))
    }
    assert opened == {
        "/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt", "/assets/{path:path}",
        "/static/{path:path}", "/svelte/{path:path}", "/gradio_api/startup-events", "/gradio_api/app_id",
        "/gradio_api/theme.css", "/gradio_api/queue/data", "/gradio_api/heartbeat/{session_hash}",
        "/gradio_api/queue/join", "/gradio_api/cancel", "/gradio_api/reset",
    }  # fmt: skip


def test_a_name_never_leads_out_of_its_folder():
    from lisa.serve.host import plain_name

    assert plain_name("../../etc/passwd") == "passwd"
    assert plain_name("C:\\Users\\me\\boat.jpg") == "boat.jpg"
    assert plain_name('<img src=x onerror="alert(1)">.png') == "_img src_x onerror__alert(1)__.png"
    assert plain_name("\0\n") == "__"
    assert plain_name("..") == plain_name("") == plain_name("/") == "picture"
    assert len(plain_name("x" * 5000 + ".jpeg")) <= 100
    assert json.dumps(plain_name("日本 boat.jpg"), ensure_ascii=False) == '"日本 boat.jpg"'
