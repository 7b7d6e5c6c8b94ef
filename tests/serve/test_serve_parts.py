"""The parts of a server: the line in front of the model, outlines, who waits for an answer."""

from __future__ import annotations

import re
import threading

import cv2
import numpy as np
import pytest

from lisa.serve.limits import Limits, RefusedError
from lisa.serve.outline import outline_path, preview_jpeg
from lisa.serve.request_queue import RequestQueue


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


def test_a_large_mask_is_outlined_on_a_small_grid_in_pixels_of_the_image():
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
    queue, done, go = RequestQueue(waiting=5), [], threading.Event()
    futures = [queue.submit(go.wait, 30), *(queue.submit(done.append, number) for number in range(5))]
    with pytest.raises(RefusedError, match="6 questions are waiting already"):
        queue.submit(done.append, 9)
    go.set()
    for future in futures:
        future.result(30)
    assert done == [0, 1, 2, 3, 4]
    queue.submit(done.append, 5).result(30)
    assert len(queue) == 0
    queue.close()


def test_work_that_fails_leaves_the_line():
    queue = RequestQueue(waiting=0)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            queue.submit(lambda: 1 / 0).result(30)
    queue.close()


def test_an_answer_that_nobody_waits_for_ends_and_is_not_remembered(predictor, example):
    from lisa.serve import InferenceService
    from lisa.serve.sessions import Progress, StoppedError

    service = InferenceService(predictor)
    session = service.open(service.read(example, False).result(60), "boats.jpg").result(60)
    heard = []
    progress = Progress(on_text=heard.append, stopped=lambda: len(heard) == 2)
    with pytest.raises(StoppedError):
        service.ask(session.id, "Please segment the boats in this image.", 64, progress).result(60)
    assert len(heard) == 2
    assert session.turns == []
    assert session.chat.turns == ()
    _, turn = service.ask(session.id, "Please segment the boats in this image.", 64).result(60)
    assert len(turn.masks) == 1
    service.close()
    with pytest.raises(RefusedError, match="shutting down"):
        service.ask(session.id, "Where?", 64)


def test_limits_are_more_than_nothing():
    from lisa.serve import InferenceService

    with pytest.raises(ValueError, match=r"(?s)2 problems.*--body_seconds nan.*--clicks 0"):
        InferenceService(None, Limits(clicks=0, body_seconds=float("nan")))
    with pytest.raises(ValueError, match="--waiting -1"):
        InferenceService(None, Limits(waiting=-1))
