"""The parts of a server: the line in front of the model, outlines, what streams to the page."""

from __future__ import annotations

import re
import threading
from itertools import pairwise

import cv2
import numpy as np
import pytest

from lisa.serve.desk import Desk
from lisa.serve.limits import RefusedError
from lisa.serve.outline import outline_path, preview_jpeg


def drawn(path: str, height: int, width: int) -> np.ndarray:
    """What a browser fills, by the even-odd rule, tested at the middles of pixels: (H, W) bool."""
    inside = np.zeros((height, width), bool)
    for piece in re.findall(r"M([^Z]*)Z", path):
        points = np.array([[float(value) for value in pair.split()] for pair in piece.split("L")], np.float32)
        for y in range(height):
            for x in range(width):
                inside[y, x] ^= cv2.pointPolygonTest(points, (x + 0.5, y + 0.5), False) > 0
    return inside


def test_an_outline_is_filled_to_the_very_mask():
    rng = np.random.default_rng(0)
    masks = [np.ones((5, 7), bool), np.pad(np.ones((1, 1), bool), 3), rng.random((12, 9)) > 0.5]
    ring = np.ones((9, 9), bool)
    ring[2:7, 2:7] = False
    ring[4, 4] = True
    for mask in [*masks, ring]:
        np.testing.assert_array_equal(drawn(outline_path(mask, 100), *mask.shape), mask)


def test_nothing_has_no_outline():
    assert outline_path(np.zeros((4, 4), bool), 100) == ""


def test_a_large_mask_is_outlined_on_a_small_grid_in_pixels_of_the_picture():
    mask = np.zeros((400, 800), bool)
    mask[100:300, 200:600] = True
    numbers = [float(number) for number in re.findall(r"[\d.]+", outline_path(mask, 80))]
    assert len(numbers) == 8
    assert min(numbers[::2]) == pytest.approx(200, abs=4)
    assert max(numbers[::2]) == pytest.approx(600, abs=4)
    assert max(numbers[1::2]) == pytest.approx(300, abs=4)


def test_a_preview_is_as_large_as_it_may_be():
    for shape, expected in (((100, 50), (100, 50)), ((1000, 500), (200, 100)), ((3000, 1), (200, 1))):
        data = np.frombuffer(preview_jpeg(np.zeros((*shape, 3), np.uint8), 200), np.uint8)
        assert cv2.imdecode(data, cv2.IMREAD_COLOR).shape[:2] == expected


def test_work_is_done_in_the_order_in_which_it_came():
    desk, done, go = Desk(waiting=5), [], threading.Event()
    futures = [desk.hand_in(go.wait, 30), *(desk.hand_in(done.append, number) for number in range(5))]
    with pytest.raises(RefusedError, match="6 questions are waiting already"):
        desk.hand_in(done.append, 9)
    go.set()
    for future in futures:
        future.result(30)
    assert done == [0, 1, 2, 3, 4]
    desk.hand_in(done.append, 5).result(30)
    assert desk.there == 0
    desk.close()


def test_work_that_fails_leaves_the_line():
    desk = Desk(waiting=0)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            desk.hand_in(lambda: 1 / 0).result(30)
    desk.close()


def test_an_answer_streams_and_its_mask_comes_before_its_end(predictor, example):
    from lisa.serve import Host
    from lisa.serve.page import _stream

    host = Host(predictor)
    talk = host.open(example, "boats.jpg").result(60)
    question = "What could carry people over the water? Please output segmentation mask."
    told = list(_stream(host, question, talk.token, "7"))
    assert {one["ticket"] for one in told} == {"7"}
    texts = [one["text"] for one in told]
    assert all(later.startswith(earlier.rstrip()) for earlier, later in pairwise(texts))
    assert [one["done"] for one in told] == [False] * (len(told) - 1) + [True]
    assert told[-1]["masks"][0]["outline"].startswith("M")
    assert told[-1]["text"] == talk.spoken[0].text
    host.close()


def test_an_answer_that_nobody_waits_for_ends_and_is_not_remembered(predictor, example):
    from lisa.serve import Host
    from lisa.serve.talks import Progress, StoppedError

    host = Host(predictor)
    talk = host.open(example, "boats.jpg").result(60)
    heard = []
    progress = Progress(on_text=heard.append, stopped=lambda: len(heard) == 2)
    with pytest.raises(StoppedError):
        host.ask(talk.token, "Please segment the boats in this image.", 64, progress).result(60)
    assert len(heard) == 2
    assert talk.spoken == []
    assert talk.session.turns == ()
    _, spoken = host.ask(talk.token, "Please segment the boats in this image.", 64).result(60)
    assert len(spoken.masks) == 1
    host.close()


@pytest.mark.parametrize(("question", "token"), [("", "x"), ("Where?", ""), (None, None)])
def test_the_page_asks_nothing_without_a_question_or_a_picture(predictor, question, token):
    from lisa.serve import Host
    from lisa.serve.page import _stream

    host = Host(predictor)
    assert list(_stream(host, question, token, "")) == []
    host.close()
