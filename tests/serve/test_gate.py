"""What an attacker tries: files of the server, other people's images, pages of other sites, requests that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lisa.serve import ServeArgs

CHECKOUT = Path(__file__).resolve().parents[2]
SECRET = CHECKOUT / "pyproject.toml"
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "path",
    [
        f"/{SECRET}",
        f"/static/{SECRET}",
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static/..%2fserver.py",
        "/static/..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/static/..%5c..%5c..%5cetc%5cpasswd",
        "/static//etc/passwd",
        "/static/%00/etc/passwd",
        "/static/",
        "/static/%ff",
        "/openapi.json",
        "/docs",
        "/redoc",
        "/api/about",
        "/api/talks",
        "/api/v1/examples/..%2froutes.py",
        "/api/v1/examples/routes.py",
        "/api/v1/sessions/..%2f..%2finfo/image",
        "/api/v1/sessions/%00/image",
        "/api/v1/sessions/%ff%fe/image",
    ],
)
def test_no_path_leads_to_a_file_or_to_another_server(client, path):
    answer = client.get(path)
    assert answer.status_code == 404, answer.text[:300]
    assert answer.json()["detail"]
    assert "lisa-segmentation" not in answer.text
    assert "root:" not in answer.text


def test_the_page_tells_nothing_of_the_server_and_runs_nothing_but_its_own_files(client):
    answer = client.get("/")
    assert answer.status_code == 200
    for place in (str(CHECKOUT), str(Path.home()), "site-packages"):
        assert place not in answer.text, place
    assert "<style" not in answer.text
    assert "onclick" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    for name in ("main.js", "page.css"):
        answer = client.get(f"/static/{name}")
        assert answer.status_code == 200
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_private_images_are_stored_nowhere_and_every_answer_has_an_id(client, example):
    opened = client.post("/api/v1/sessions", files={"image": ("x.jpg", example)})
    image = client.get(f"/api/v1/sessions/{opened.json()['session']}/image")
    lost = client.get("/api/v1/sessions/nowhere/image")
    for answer in (opened, image, lost):
        assert answer.headers["cache-control"] == "no-store"
    ids = {answer.headers["x-request-id"] for answer in (opened, image, lost)}
    assert len(ids) == 3
    assert client.get("/health", headers={"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert client.get("/health", headers={"X-Request-Id": "a b\tc"}).headers["x-request-id"] != "a b\tc"


def test_a_socket_is_closed_at_once(client):
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/api/v1/info"):
        pass


@pytest.mark.parametrize(
    ("args", "host", "allowed"),
    [
        (ServeArgs(), "localhost:7860", True),
        (ServeArgs(), "LOCALHOST", True),
        (ServeArgs(), "127.0.0.1:1", True),
        (ServeArgs(), "[::1]:7860", True),
        (ServeArgs(), "rebound.example", False),
        (ServeArgs(), "rebound.example:7860", False),
        (ServeArgs(), "localhost.rebound.example", False),
        (ServeArgs(), "localhost@rebound.example", False),
        (ServeArgs(), "192.168.1.5", False),
        (ServeArgs(), "", False),
        (ServeArgs(), "[::1", False),
        (ServeArgs(host="192.168.1.5"), "192.168.1.5:7860", True),
        (ServeArgs(host="192.168.1.5"), "192.168.1.6", False),
        (ServeArgs(host="0.0.0.0"), "192.168.1.5", True),
        (ServeArgs(host="0.0.0.0"), "rebound.example", False),
        (ServeArgs(allowed_hosts=("lisa.example",)), "lisa.example", True),
        (ServeArgs(allowed_hosts=("lisa.example",)), "www.lisa.example", False),
        (ServeArgs(allowed_hosts=("*",)), "anything.example", True),
    ],
)
def test_a_name_that_was_pointed_here_by_somebody_else_is_refused(serve, args, host, allowed):
    client, _ = serve(args)
    for path in ("/", "/api/v1/info", "/health"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == (200 if allowed else 421), answer.text


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Origin": "http://127.0.0.1:7860"}, True),
        ({"Origin": "http://127.0.0.1:7860", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "http://127.0.0.1:7861"}, False),
        ({"Origin": "http://127.0.0.1"}, False),
        ({"Origin": "http://localhost", "Host": "localhost:80"}, True),
        ({"Origin": "https://localhost", "Host": "localhost:443"}, True),  # as some proxies pass it on
        ({"Origin": "https://localhost", "Host": "localhost"}, True),
        ({"Origin": "http://localhost", "Host": "localhost:443"}, False),
        ({"Origin": "http://LOCALHOST.:1", "Host": "localhost.:1"}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://[::1"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
    ],
)
def test_a_page_of_another_site_changes_nothing(client, example, headers, allowed):
    opened = client.post("/api/v1/sessions", files={"image": ("x.jpg", example)}, headers=headers)
    assert opened.status_code == (201 if allowed else 403)
    asked = client.post("/api/v1/ask", json={}, headers=headers)
    assert asked.status_code == (422 if allowed else 403)
    gone = client.delete("/api/v1/sessions/x", headers=headers)
    assert gone.status_code == (404 if allowed else 403)
    assert client.get("/api/v1/info", headers=headers).status_code == 200


NONSENSE = [
    b"", b"[]", b"{}", b"null", b"NaN", b"5", b'"text"', b"\xff\xfe", b"[" * 30_000, b'{"question": NaN}',
    b'{"question": "Where?", "image": "AAAA", "max_new_tokens": NaN}',
    b'{"question": "Where?", "image": "AAAA", "max_new_tokens": 1e400}',
    b'{"question": "Where?", "image": "AAAA", "max_new_tokens": 1' + b"0" * 5000 + b"}",
    b'{"question": "\\ud800", "image": "AAAA"}', b'{"question": "Where?", "image": "\\udfff"}',
    b'{"question": "Where?", "image": "AAAA", "\\ud800": 1}', b'{"\\u0000": 1}',
    b'{"image_url": "http://\\ud800/", "question": "?"}',
    '{"question": "Wo?", "image": "\u00e4\u00f6"}'.encode(), '{"question": "\u00e4"}'.encode("latin-1"),
    '{"question": "?"}'.encode("utf-16"), b'{"stream": "yes", "question": 5}',
    b'{"clicks": [{"x": NaN, "y": Infinity}]}',
    b'{"clicks": [{"x": 1, "y": 1, "inside": 2}]}', b'{"clicks": [[1, 2]]}', b'{"clicks": "\\ud800"}',
]  # fmt: skip


@pytest.mark.parametrize("body", NONSENSE)
def test_nonsense_is_told_with_a_sentence_and_leaves_no_trace_in_the_log(client, example, caplog, body):
    session = client.post("/api/v1/sessions", files={"image": ("x.jpg", example)}).json()["session"]
    caplog.set_level("INFO")
    sent = [
        client.post("/api/v1/ask", content=body, headers=JSON),
        client.post(f"/api/v1/sessions/{session}/turns", content=body, headers=JSON),
        client.put(f"/api/v1/sessions/{session}/turns/0/masks/0/clicks", content=body, headers=JSON),
        client.post("/api/v1/sessions", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"}),
        client.post("/api/v1/sessions", content=body, headers={"Content-Type": "multipart/form-data"}),
        client.post("/api/v1/ask/file", content=body, headers={"Content-Type": "application/x-www-form-urlencoded"}),
        client.post("/api/v1/ask", content=body, headers={"Content-Type": b"text/plain; charset=\xff"}),
        client.post("/api/v1/ask/file", files={"question": (None, body), "image": (None, body)}),
    ]
    for answer in sent:
        assert 400 <= answer.status_code < 500, (answer.request.url, answer.text)
        assert json.loads(answer.content.decode())["detail"]
    assert not [record for record in caplog.records if record.exc_info]
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"[]," * 50_000 + b"[]]",
        b"{" + b",".join(b'"%d":0' % number for number in range(20_000)) + b"}",
        b'{"question": "Where?", "image": ' + b'{"a":' * 20_000 + b"0" + b"}" * 20_001,
    ],
)
def test_json_of_more_values_than_any_request_has_is_not_read(client, body):
    """3 MB of them kept the server's loop for 1.5 seconds; 27 MB may be sent."""
    for kind in ("application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"):
        answer = client.post("/api/v1/ask", content=body, headers={"Content-Type": kind})
        assert answer.status_code == 413, answer.text
        assert "more than 10000 values" in answer.json()["detail"]


def test_a_thousand_clicks_are_not_too_many_values(client):
    body = {"clicks": [{"x": 1.5, "y": 2.5, "inside": True}] * 1000}
    assert client.put("/api/v1/sessions/x/turns/0/masks/0/clicks", json=body).status_code == 404


def test_json_is_utf_8_however_its_type_is_written(client):
    body = '{"question": "Where?", "image": "AAAA"}'.encode("utf-16")
    answer = client.post("/api/v1/ask", content=body, headers={"Content-Type": "Application/JSON"})
    assert "not UTF-8" in answer.json()["detail"]


def test_a_request_with_two_lengths_is_refused_and_its_connection_closed(client):
    headers = {"Content-Length": "2", "Transfer-Encoding": "chunked"}
    answer = client.post("/api/v1/ask", content=b"{}", headers=JSON | headers)
    assert answer.status_code == 400
    assert "send one of them" in answer.json()["detail"]
    assert answer.headers["connection"] == "close"


def test_load_balancers_may_ask_for_the_head_of_health(client):
    answer = client.head("/health")
    assert (answer.status_code, answer.content) == (200, b"")


def test_one_client_does_not_take_everything(serve, example):
    import threading

    client, service = serve(requests_per_client=2)
    session = client.post("/api/v1/sessions", files={"image": ("x.jpg", example)}).json()["session"]
    go, path = threading.Event(), f"/api/v1/sessions/{session}/turns"
    service.queue.submit(go.wait, 30)
    answers = []
    waiting = [
        threading.Thread(target=lambda: answers.append(client.post(path, json={"question": "Where?"})))
        for _ in range(2)
    ]
    for thread in waiting:
        thread.start()
    while len(service.queue) < 3:
        go.wait(0.01)
    refused = client.get("/api/v1/info")
    assert refused.status_code == 429
    assert "2 requests of this address" in refused.json()["detail"]
    go.set()
    for thread in waiting:
        thread.join(60)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert client.get("/api/v1/info").status_code == 200


def test_what_happens_is_counted(serve, example):
    from prometheus_client.parser import text_string_to_metric_families

    client, _ = serve()
    session = client.post("/api/v1/sessions", files={"image": ("x.jpg", example)}).json()["session"]
    client.get(f"/api/v1/sessions/{session}/image")
    client.get("/nowhere")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert session not in answer.text
    samples = [one for family in text_string_to_metric_families(answer.text) for one in family.samples]
    counted = {
        (one.labels["method"], one.labels["route"], one.labels["status"]): one.value
        for one in samples
        if one.name == "lisa_requests_total"
    }
    assert counted == {
        ("POST", "/api/v1/sessions", "201"): 1,
        ("GET", "/api/v1/sessions/{session}/image", "200"): 1,
        ("GET", "none", "404"): 1,
    }
    values = {one.name: one.value for one in samples if not one.labels}
    assert values["lisa_sessions"] == 1
    assert values["lisa_queue_length"] == 0
    assert values["lisa_requests_running"] == 1
    assert values["lisa_receiving_bytes"] == 0
    assert "process_resident_memory_bytes" in values
    assert client.get("/health").json() == {"status": "ready"}


def test_a_name_never_leads_out_of_its_folder():
    from lisa.serve.service import plain_name

    assert plain_name("../../etc/passwd") == "passwd"
    assert plain_name("C:\\Users\\me\\boat.jpg") == "boat.jpg"
    assert plain_name('<img src=x onerror="alert(1)">.png') == "_img src_x onerror__alert(1)__.png"
    assert plain_name("\0\n") == "__"
    assert plain_name("..") == plain_name("") == plain_name("/") == "image"
    assert len(plain_name("x" * 5000 + ".jpeg")) <= 100
    assert json.dumps(plain_name("日本 boat.jpg"), ensure_ascii=False) == '"日本 boat.jpg"'
