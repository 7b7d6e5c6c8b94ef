"""The JSON API as a program meets it: answers that are the model's, and sentences for what cannot be answered."""

from __future__ import annotations

import base64
import io
import json
import threading
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from sent_files import gif, image_file, png_header

from lisa import Lisa
from lisa.serve import ServeArgs

CHECKOUT = Path(__file__).resolve().parents[2]
BOATS = "Please segment the boats in this image."


def ask(client, data: bytes, question: str = BOATS, **more):
    return client.post("/api/v1/ask", json={"image": base64.b64encode(data).decode(), "question": question, **more})


def open_session(client, data: bytes, name: str = "boats.jpg") -> str:
    answer = client.post("/api/v1/sessions", files={"image": (name, data)})
    assert answer.status_code == 201, answer.text
    return answer.json()["session"]


def set_clicks(client, session: str, clicks: list, turn: int = 0, mask: int = 0):
    return client.put(f"/api/v1/sessions/{session}/turns/{turn}/masks/{mask}/clicks", json={"clicks": clicks})


def decode(mask: dict) -> np.ndarray:
    return coco_mask.decode(mask["rle"]).astype(bool)


def assert_refused(answer, status: int, words: str) -> None:
    """Status, and a sentence that holds the words and no place on the server's disk."""
    assert answer.status_code == status, answer.text
    told = answer.json()["detail"]
    assert words in told
    assert not any(place in answer.text for place in (str(CHECKOUT), str(Path.home()), "/tmp", "/usr", "/etc"))
    assert "object at 0x" not in told


def test_an_answer_is_that_of_the_library_by_base64_and_by_form(client, predictor, example):
    expected = Lisa(predictor).ask(example, BOATS)
    by_json = ask(client, example).json()
    by_form = client.post("/api/v1/ask/file", files={"image": ("x.jpg", example)}, data={"question": BOATS}).json()
    assert by_json == by_form
    assert by_json["text"] == expected.text
    assert (by_json["height"], by_json["width"]) == expected.masks.shape[1:]
    assert len(by_json["masks"]) == len(expected.masks) == 1
    mask = by_json["masks"][0]
    np.testing.assert_array_equal(decode(mask), expected.masks[0])
    assert mask["phrase"] == expected.phrases[0]
    assert mask["expected_iou"] == pytest.approx(expected.scores.expected_iou[0], abs=1e-5)
    assert mask["seg_probability"] == pytest.approx(expected.scores.seg_probability[0], abs=1e-5)


def test_a_session_goes_on_as_in_the_library(client, predictor, example):
    chat = Lisa(predictor).chat(example)
    session = open_session(client, example)
    for question in (BOATS, "What is in this picture?", BOATS):
        expected = chat.ask(question, max_new_tokens=128)
        answer = client.post(f"/api/v1/sessions/{session}/turns", json={"question": question}).json()
        assert answer["text"] == expected.text
        assert [decode(mask).tolist() for mask in answer["masks"]] == expected.masks.tolist()


def test_an_answer_without_a_mask_has_none(client, example):
    answer = ask(client, example, "What is in this picture?").json()
    assert answer["text"]
    assert answer["masks"] == []


def test_the_schema_is_published_and_tells_of_every_refusal(client):
    document = client.get("/api/v1/openapi.json").json()
    operation = document["paths"]["/api/v1/ask"]["post"]
    assert {"200", "400", "413", "422", "429"} <= set(operation["responses"])
    answer = document["components"]["schemas"]["MaskOut"]["properties"]
    assert all(answer[name].get("description") for name in ("phrase", "expected_iou", "seg_probability"))
    assert all(operation.get("summary") for path in document["paths"].values() for operation in path.values())
    assert not any("gradio" in path for path in document["paths"])


def test_clicks_correct_a_mask_and_without_clicks_it_is_what_it_was(client, example):
    session = open_session(client, example)
    (first,) = client.post(f"/api/v1/sessions/{session}/turns", json={"question": BOATS}).json()["masks"]
    clicks = [{"x": 20.5, "y": 150, "inside": True}, {"x": 200, "y": 20.5, "inside": False}]
    corrected = set_clicks(client, session, clicks).json()
    assert corrected["phrase"] == first["phrase"]
    assert not np.array_equal(decode(corrected), decode(first))
    assert set_clicks(client, session, clicks).json() == corrected
    coco = client.get(f"/api/v1/sessions/{session}/coco.json").json()
    assert coco["annotations"][0]["segmentation"] == corrected["rle"]
    assert set_clicks(client, session, []).json() == first


def test_masks_and_coco_are_taken_home_as_they_were_told(client, example, tmp_path):
    session = open_session(client, example, "../../etc/my <b>boats</b>.jpg")
    answers = [
        client.post(f"/api/v1/sessions/{session}/turns", json={"question": q}).json() for q in (BOATS, "Where?", BOATS)
    ]
    told = [mask for answer in answers for mask in answer["masks"]]
    assert len(told) >= 2
    archive = zipfile.ZipFile(io.BytesIO(client.get(f"/api/v1/sessions/{session}/masks.zip").content))
    assert all("/" not in name and ".." not in name and "<" not in name for name in archive.namelist())
    pixels = [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in archive.namelist()]
    assert [set(np.unique(one)) <= {0, 255} for one in pixels] == [True] * len(told)
    assert [(one > 0).tolist() for one in pixels] == [decode(mask).tolist() for mask in told]
    from pycocotools.coco import COCO

    (tmp_path / "coco.json").write_bytes(client.get(f"/api/v1/sessions/{session}/coco.json").content)
    coco = COCO(str(tmp_path / "coco.json"))
    assert [coco.annToMask(one).astype(bool).tolist() for one in coco.anns.values()] == [
        decode(m).tolist() for m in told
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"%PDF-1.4 not a picture", "cannot be read as a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>", "cannot be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) run", "cannot be read as a picture"),
        (image_file()[:60], "cannot be read as a picture"),
        (png_header(20_000, 10_000), "megapixels"),
        (png_header(2**31 - 1, 2**31 - 1), "megapixels"),
        (gif(frames=3), "holds several pictures"),
    ],
)
def test_what_is_no_image_is_refused_with_a_sentence(client, data, words):
    assert_refused(ask(client, data), 400, words)
    assert_refused(client.post("/api/v1/sessions", files={"image": ("/etc/passwd", data)}), 400, words)


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("   ", "the question is empty"),
        ("where is the boat\x07?", "control character U+0007"),
        ("where is \ud800?", "half of a character"),
        ("where is <image>?", "holds <image>"),
        ("where is [SEG]?", "holds [SEG]"),
        ("a </s> b", "holds <"),
        ("why " * 2400, "tokens"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_a_sentence(client, example, question, words):
    body = json.dumps({"image": base64.b64encode(example).decode(), "question": question})
    answer = client.post("/api/v1/ask", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text
    if "half" not in words:
        assert words in answer.json()["detail"]


def test_html_in_a_question_is_text_like_any_other(client, example):
    question = '<img src=x onerror="alert(1)"> Please segment the boats. {{7*7}} ${7*7}'
    answer = ask(client, example, question)
    assert answer.status_code == 200
    assert answer.json()["question"] == question
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "body",
    [
        {"image": "AAAA"},
        {"image": "AAAA", "question": 5},
        {"image": "AAAA", "question": ""},
        {"image": "AAAA", "question": "x" * 10_001},
        {"image": "AAAA", "question": "Where?", "prompt": "a misspelt field"},
        {"image": "AAAA", "question": "Where?", "max_new_tokens": 0},
        {"image": {"path": "/etc/passwd"}, "question": "Where?"},
        [],
    ],
)
def test_a_request_of_another_form_is_told_so_and_not_repeated(client, body):
    answer = client.post("/api/v1/ask", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("the request is not of the form")
    assert len(answer.text) < 600
    assert "passwd" not in answer.text


def test_base64_that_is_none_and_an_empty_file_are_refused(client):
    assert_refused(client.post("/api/v1/ask", json={"image": "not base64!", "question": "Where?"}), 400, "base64")
    assert_refused(client.post("/api/v1/sessions", files={"image": ("x.jpg", b"")}), 400, "is empty")


@pytest.mark.parametrize(
    ("turn", "mask", "clicks", "status", "words"),
    [
        (1, 0, [], 404, "there is no turn 1"),
        (0, 1, [], 404, "there is no mask 1"),
        (-1, 0, [], 422, "form"),
        (10**30, 0, [], 422, "form"),
        (0, 0, [{"x": -1, "y": 0, "inside": True}], 400, "is not in the image"),
        (0, 0, [{"x": 1e9, "y": 0, "inside": True}], 400, "is not in the image"),
        (0, 0, [{"x": 1, "y": 1, "inside": True}] * 21, 413, "21 clicks"),
        (0, 0, [{"x": "one", "y": 1}], 422, "form"),
        (0, 0, [{"x": True, "y": 1}], 422, "form"),
    ],
)
def test_a_correction_that_cannot_be_made_is_refused(client, example, turn, mask, clicks, status, words):
    session = open_session(client, example)
    client.post(f"/api/v1/sessions/{session}/turns", json={"question": BOATS})
    assert_refused(set_clicks(client, session, clicks, turn, mask), status, words)


def test_without_a_mask_there_is_nothing_to_take_home(client, example):
    session = open_session(client, example)
    for kind in ("masks.zip", "coco.json"):
        assert_refused(client.get(f"/api/v1/sessions/{session}/{kind}"), 404, "has a mask yet")


def test_a_session_is_reached_by_its_key_alone_and_ends_when_it_is_closed(client, example):
    session = open_session(client, example)
    assert len(session) >= 32
    assert client.get(f"/api/v1/sessions/{session}/image").headers["content-type"] == "image/jpeg"
    assert_refused(client.get(f"/api/v1/sessions/{session[:-1]}/image"), 404, "no such session")
    assert client.delete(f"/api/v1/sessions/{session}").status_code == 204
    for answer in (
        client.get(f"/api/v1/sessions/{session}/image"),
        client.post(f"/api/v1/sessions/{session}/turns", json={"question": BOATS}),
        client.delete(f"/api/v1/sessions/{session}"),
    ):
        assert_refused(answer, 404, "no such session")


def test_the_image_that_is_shown_has_lost_what_its_file_said_about_its_owner(client):
    exif = Image.Exif()
    exif[0x010E] = "my home"
    session = open_session(client, image_file(kind="JPEG", exif=exif))
    assert b"my home" not in client.get(f"/api/v1/sessions/{session}/image").content


def test_too_large_a_file_is_refused_before_it_is_read(serve):
    client, _ = serve(upload_megabytes=1)
    large = b"x" * 1_100_000
    assert_refused(client.post("/api/v1/sessions", files={"image": ("x.jpg", large)}), 413, "more than 1 MB")
    assert_refused(ask(client, large), 413, "more than 1 MB")

    def chunks():
        for _ in range(40):
            yield b"x" * 100_000

    answer = client.post(
        "/api/v1/sessions", content=chunks(), headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert answer.status_code in (400, 413)
    session = open_session(client, image_file())
    long = {"question": "x" * 70_000}
    assert_refused(client.post(f"/api/v1/sessions/{session}/turns", json=long), 413, "64 kB")


def test_who_comes_when_too_many_wait_is_told_to_come_again(serve, example):
    client, service = serve(waiting=1)
    session = open_session(client, example)
    going, go = threading.Event(), threading.Event()
    first = service.queue.submit(lambda: (going.set(), go.wait(30)))
    assert going.wait(30)
    second = service.queue.submit(lambda: "second")
    answer = client.post(f"/api/v1/sessions/{session}/turns", json={"question": BOATS})
    assert_refused(answer, 429, "try again")
    assert answer.headers["retry-after"]
    go.set()
    assert first.result(30)
    assert second.result(30) == "second"
    assert client.post(f"/api/v1/sessions/{session}/turns", json={"question": BOATS}).status_code == 200


def test_the_image_that_was_used_longest_ago_is_forgotten_first(serve, example):
    client, service = serve(sessions=2, cached_sessions=1)
    first, second = open_session(client, example), open_session(client, example)
    client.post(f"/api/v1/sessions/{first}/turns", json={"question": BOATS})
    third = open_session(client, example)
    assert len(service.sessions) == 2
    assert client.get(f"/api/v1/sessions/{second}/image").status_code == 404
    assert {client.get(f"/api/v1/sessions/{session}/image").status_code for session in (first, third)} == {200}


def test_only_the_last_sessions_keep_the_language_models_memory_and_none_forgets_what_was_said(
    serve, predictor, example
):
    client, service = serve(cached_sessions=1)
    sessions = [open_session(client, example) for _ in range(2)]
    chat = Lisa(predictor).chat(example)
    for question in (BOATS, "What is in this picture?"):
        expected = chat.ask(question, max_new_tokens=128).text
        for session in sessions:
            assert (
                client.post(f"/api/v1/sessions/{session}/turns", json={"question": question}).json()["text"] == expected
            )
    held = [service.sessions.get(session).chat._cache.get_seq_length() for session in sessions]
    assert held[0] == 0
    assert held[1] > 0


def test_an_image_that_nobody_asks_about_is_forgotten(serve, example):
    client, service = serve(idle_minutes=5)
    session = open_session(client, example)
    service.sessions.get(session).used -= 301
    assert client.get(f"/api/v1/sessions/{session}/image").status_code == 404
    assert len(service.sessions) == 0


def test_a_fault_of_the_server_is_not_told_to_strangers_but_to_the_log_with_the_requests_id(
    serve, example, monkeypatch, caplog
):
    client, service = serve()
    caplog.set_level("INFO", logger="lisa.serve")
    broken = lambda *_: (_ for _ in ()).throw(RuntimeError("/home/me/secret is missing"))  # noqa: E731
    monkeypatch.setattr(service, "_ask_once", broken)
    answer = ask(client, example)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    failures = [record for record in caplog.records if record.exc_info]
    assert len(failures) == 1
    assert answer.headers["x-request-id"] in failures[0].getMessage()
    assert "secret" in str(failures[0].exc_info[1])


def events(answer) -> list[tuple[str, dict]]:
    pieces = [piece.split("\n") for piece in answer.text.split("\n\n") if piece.startswith("event: ")]
    return [(kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for kind, data in pieces]


def test_an_answer_streams_and_its_mask_comes_before_its_end(client, example):
    session = open_session(client, example)
    question = "What could carry people over the water? Please output segmentation mask."
    answer = client.post(f"/api/v1/sessions/{session}/turns", json={"question": question, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = events(answer)
    texts = [value["text"] for kind, value in told if kind == "text"]
    assert len(texts) > 3
    assert all(later.startswith(earlier.rstrip()) for earlier, later in pairwise(texts))
    kinds = [kind for kind, _ in told]
    assert kinds.count("mask") == kinds.count("answer") == 1
    assert kinds[-1] == "answer"
    assert told[kinds.index("mask")][1]["outline"].startswith("M")
    again = open_session(client, example)
    whole = client.post(f"/api/v1/sessions/{again}/turns", json={"question": question}).json()
    assert told[-1][1] == {"text": whole["text"], "turn": 0}


def test_what_goes_wrong_in_a_stream_is_its_last_event_and_what_is_known_before_is_a_status(serve, example):
    client, _ = serve(masks=1)
    session = open_session(client, example)
    path = f"/api/v1/sessions/{session}/turns"
    answer = client.post(path, json={"question": "why " * 2400, "stream": True})
    ((kind, value),) = events(answer)
    assert kind == "error"
    assert "tokens" in value["detail"]
    assert_refused(client.post(path, json={"question": "<image>", "stream": True}), 400, "holds <image>")
    nowhere = client.post("/api/v1/sessions/x/turns", json={"question": BOATS, "stream": True})
    assert_refused(nowhere, 404, "no such session")


def test_an_address_is_fetched_only_where_the_server_may_and_never_from_its_own_network(serve):
    body = {"image_url": "http://127.0.0.1:9/boats.jpg", "question": BOATS}
    client, _ = serve()
    assert_refused(client.post("/api/v1/ask", json=body), 403, "--allow-url")
    assert_refused(client.post("/api/v1/sessions", data={"image_url": body["image_url"]}), 403, "--allow-url")
    client, _ = serve(ServeArgs(allow_url=True))
    assert client.get("/api/v1/info").json()["allow_url"] is True
    assert_refused(client.post("/api/v1/ask", json=body), 400, "private network")
    for url in (
        "http://localhost/x",
        "http://[::1]/x",
        "http://169.254.169.254/latest/meta-data",
        "http://2130706433/",
    ):
        assert_refused(client.post("/api/v1/sessions", data={"image_url": url}), 400, "private network")
    assert_refused(client.post("/api/v1/ask", json={"question": BOATS}), 422, "send either an image")
