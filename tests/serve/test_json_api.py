"""The JSON API as a program meets it: answers that are the model's, and sentences for what cannot be answered."""

from __future__ import annotations

import base64
import io
import json
import struct
import threading
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from sent_files import gif, picture_file

from lisa import Lisa

CHECKOUT = Path(__file__).resolve().parents[2]
BOATS = "Please segment the boats in this image."


def ask(client, data: bytes, question: str = BOATS, **more):
    return client.post("/api/ask", json={"image": base64.b64encode(data).decode(), "question": question, **more})


def open_talk(client, data: bytes, name: str = "boats.jpg") -> str:
    answer = client.post("/api/talks", files={"image": (name, data)})
    assert answer.status_code == 201, answer.text
    return answer.json()["talk"]


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
    by_form = client.post("/api/ask/file", files={"image": ("x.jpg", example)}, data={"question": BOATS}).json()
    assert by_json == by_form
    assert by_json["text"] == expected.text
    assert (by_json["height"], by_json["width"]) == expected.masks.shape[1:]
    assert len(by_json["masks"]) == len(expected.masks) == 1
    mask = by_json["masks"][0]
    np.testing.assert_array_equal(decode(mask), expected.masks[0])
    assert mask["phrase"] == expected.phrases[0]
    assert mask["expected_iou"] == pytest.approx(expected.scores.expected_iou[0], abs=1e-5)
    assert mask["seg_probability"] == pytest.approx(expected.scores.seg_probability[0], abs=1e-5)


def test_a_talk_goes_on_as_in_the_library(client, predictor, example):
    chat = Lisa(predictor).chat(example)
    talk = open_talk(client, example)
    for question in (BOATS, "What is in this picture?", BOATS):
        expected = chat.ask(question, max_new_tokens=128)
        answer = client.post(f"/api/talks/{talk}/ask", json={"question": question}).json()
        assert answer["text"] == expected.text
        assert [decode(mask).tolist() for mask in answer["masks"]] == expected.masks.tolist()


def test_an_answer_without_a_mask_has_none(client, example):
    answer = ask(client, example, "What is in this picture?").json()
    assert answer["text"]
    assert answer["masks"] == []


def test_the_schema_is_published_and_tells_of_every_refusal(client):
    document = client.get("/api/openapi.json").json()
    operation = document["paths"]["/api/ask"]["post"]
    assert {"200", "400", "413", "422", "429"} <= set(operation["responses"])
    answer = document["components"]["schemas"]["MaskOut"]["properties"]
    assert all(answer[name].get("description") for name in ("phrase", "expected_iou", "seg_probability"))
    assert all(operation.get("summary") for path in document["paths"].values() for operation in path.values())
    assert not any("gradio" in path for path in document["paths"])


def test_clicks_correct_a_mask_and_without_clicks_it_is_what_it_was(client, predictor, example):
    talk = open_talk(client, example)
    (first,) = client.post(f"/api/talks/{talk}/ask", json={"question": BOATS}).json()["masks"]
    clicks = [{"x": 20.5, "y": 150, "inside": True}, {"x": 200, "y": 20.5, "inside": False}]
    body = {"answer": 0, "mask": 0, "clicks": clicks}
    corrected = client.post(f"/api/talks/{talk}/correct", json=body).json()
    assert corrected["phrase"] == first["phrase"]
    assert not np.array_equal(decode(corrected), decode(first))
    assert client.post(f"/api/talks/{talk}/correct", json=body).json() == corrected
    coco = client.get(f"/api/talks/{talk}/coco.json").json()
    assert coco["annotations"][0]["segmentation"] == corrected["rle"]
    again = client.post(f"/api/talks/{talk}/correct", json={**body, "clicks": []}).json()
    assert again == first


def test_masks_and_coco_are_taken_home_as_they_were_told(client, example, tmp_path):
    talk = open_talk(client, example, "../../etc/my <b>boats</b>.jpg")
    answers = [client.post(f"/api/talks/{talk}/ask", json={"question": q}).json() for q in (BOATS, "Where?", BOATS)]
    told = [mask for answer in answers for mask in answer["masks"]]
    assert len(told) >= 2
    archive = zipfile.ZipFile(io.BytesIO(client.get(f"/api/talks/{talk}/masks.zip").content))
    assert all("/" not in name and ".." not in name and "<" not in name for name in archive.namelist())
    pixels = [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in archive.namelist()]
    assert [set(np.unique(one)) <= {0, 255} for one in pixels] == [True] * len(told)
    assert [(one > 0).tolist() for one in pixels] == [decode(mask).tolist() for mask in told]
    from pycocotools.coco import COCO

    (tmp_path / "coco.json").write_bytes(client.get(f"/api/talks/{talk}/coco.json").content)
    coco = COCO(str(tmp_path / "coco.json"))
    assert [coco.annToMask(one).astype(bool).tolist() for one in coco.anns.values()] == [
        decode(m).tolist() for m in told
    ]


def png_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it has width x height pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"%PDF-1.4 not a picture", "cannot be read as a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>", "cannot be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) run", "cannot be read as a picture"),
        (picture_file()[:60], "cannot be read as a picture"),
        (png_header(20_000, 10_000), "megapixels"),
        (png_header(2**31 - 1, 2**31 - 1), "megapixels"),
        (gif(frames=3), "holds several pictures"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_sentence(client, data, words):
    assert_refused(ask(client, data), 400, words)
    assert_refused(client.post("/api/talks", files={"image": ("/etc/passwd", data)}), 400, words)


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
    answer = client.post("/api/ask", content=body, headers={"Content-Type": "application/json"})
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
    answer = client.post("/api/ask", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("the request is not of the form")
    assert len(answer.text) < 600
    assert "passwd" not in answer.text


def test_base64_that_is_none_and_an_empty_file_are_refused(client):
    assert_refused(client.post("/api/ask", json={"image": "not base64!", "question": "Where?"}), 400, "base64")
    assert_refused(client.post("/api/talks", files={"image": ("x.jpg", b"")}), 400, "is empty")


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"answer": 1}, 404, "there is no answer 1"),
        ({"mask": 1}, 404, "there is no mask 1"),
        ({"answer": -1}, 422, "form"),
        ({"clicks": [{"x": -1, "y": 0, "inside": True}]}, 400, "is not in the picture"),
        ({"clicks": [{"x": 1e9, "y": 0, "inside": True}]}, 400, "is not in the picture"),
        ({"clicks": [{"x": 1, "y": 1, "inside": True}] * 21}, 413, "21 clicks"),
        ({"clicks": [{"x": "one", "y": 1}]}, 422, "form"),
    ],
)
def test_a_correction_that_cannot_be_made_is_refused(client, example, change, status, words):
    talk = open_talk(client, example)
    client.post(f"/api/talks/{talk}/ask", json={"question": BOATS})
    body = {"answer": 0, "mask": 0, "clicks": [], **change}
    assert_refused(client.post(f"/api/talks/{talk}/correct", json=body), status, words)


def test_a_click_that_is_no_number_is_refused(client, example):
    talk = open_talk(client, example)
    client.post(f"/api/talks/{talk}/ask", json={"question": BOATS})
    for value in ("NaN", "Infinity"):
        body = f'{{"answer": 0, "mask": 0, "clicks": [{{"x": {value}, "y": 1, "inside": true}}]}}'
        answer = client.post(f"/api/talks/{talk}/correct", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422


def test_without_a_mask_there_is_nothing_to_take_home(client, example):
    talk = open_talk(client, example)
    for kind in ("masks.zip", "coco.json"):
        assert_refused(client.get(f"/api/talks/{talk}/{kind}"), 404, "has a mask yet")


def test_a_talk_is_reached_by_its_key_alone_and_ends_when_it_is_closed(client, example):
    talk = open_talk(client, example)
    assert len(talk) >= 32
    assert client.get(f"/api/talks/{talk}/picture").headers["content-type"] == "image/jpeg"
    assert_refused(client.get(f"/api/talks/{talk[:-1]}/picture"), 404, "no such talk")
    assert client.delete(f"/api/talks/{talk}").status_code == 204
    for answer in (
        client.get(f"/api/talks/{talk}/picture"),
        client.post(f"/api/talks/{talk}/ask", json={"question": BOATS}),
        client.delete(f"/api/talks/{talk}"),
    ):
        assert_refused(answer, 404, "no such talk")


def test_the_picture_that_is_shown_has_lost_what_its_file_said_about_its_owner(client):
    exif = Image.Exif()
    exif[0x010E] = "my home"
    talk = open_talk(client, picture_file(kind="JPEG", exif=exif))
    assert b"my home" not in client.get(f"/api/talks/{talk}/picture").content


def test_too_large_a_file_is_refused_before_it_is_read(serve):
    client, _ = serve(upload_megabytes=1)
    large = b"x" * 1_100_000
    assert_refused(client.post("/api/talks", files={"image": ("x.jpg", large)}), 413, "more than 1 MB")
    assert_refused(ask(client, large), 413, "more than 1 MB")

    def chunks():
        for _ in range(40):
            yield b"x" * 100_000

    answer = client.post("/api/talks", content=chunks(), headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert answer.status_code in (400, 413)
    talk = open_talk(client, picture_file())
    long = {"question": "x" * 70_000}
    assert_refused(client.post(f"/api/talks/{talk}/ask", json=long), 413, "64 kB")


def test_who_comes_when_too_many_wait_is_told_to_come_again(serve, example):
    client, host = serve(waiting=1)
    talk = open_talk(client, example)
    going, go = threading.Event(), threading.Event()
    first = host.desk.hand_in(lambda: (going.set(), go.wait(30)))
    assert going.wait(30)
    second = host.desk.hand_in(lambda: "second")
    answer = client.post(f"/api/talks/{talk}/ask", json={"question": BOATS})
    assert_refused(answer, 429, "try again")
    assert answer.headers["retry-after"]
    go.set()
    assert first.result(30)
    assert second.result(30) == "second"
    assert client.post(f"/api/talks/{talk}/ask", json={"question": BOATS}).status_code == 200


def test_the_picture_that_was_used_longest_ago_is_forgotten_first(serve, example):
    client, host = serve(talks=2, warm=1)
    first, second = open_talk(client, example), open_talk(client, example)
    client.post(f"/api/talks/{first}/ask", json={"question": BOATS})
    third = open_talk(client, example)
    assert len(host.talks) == 2
    assert client.get(f"/api/talks/{second}/picture").status_code == 404
    assert {client.get(f"/api/talks/{talk}/picture").status_code for talk in (first, third)} == {200}


def test_only_the_last_talks_keep_the_language_models_memory_and_none_forgets_what_was_said(serve, predictor, example):
    client, host = serve(warm=1)
    talks = [open_talk(client, example) for _ in range(2)]
    chat = Lisa(predictor).chat(example)
    for question in (BOATS, "What is in this picture?"):
        expected = chat.ask(question, max_new_tokens=128).text
        for talk in talks:
            assert client.post(f"/api/talks/{talk}/ask", json={"question": question}).json()["text"] == expected
    held = [host.talks.get(talk).session._cache.get_seq_length() for talk in talks]
    assert held[0] == 0
    assert held[1] > 0


def test_a_picture_that_nobody_asks_about_is_forgotten(serve, example):
    client, host = serve(idle_minutes=5)
    talk = open_talk(client, example)
    host.talks.get(talk).used -= 301
    assert client.get(f"/api/talks/{talk}/picture").status_code == 404
    assert len(host.talks) == 0


def test_a_fault_of_the_server_is_not_told_to_strangers(serve, example, monkeypatch):
    client, host = serve()
    monkeypatch.setattr(host, "_begin", lambda *_: (_ for _ in ()).throw(RuntimeError("/home/me/secret is missing")))
    answer = ask(client, example)
    assert answer.status_code == 500
    assert "secret" not in answer.text
