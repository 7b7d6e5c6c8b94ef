"""The Python API: what people call, with the kept model."""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import sys
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from lisa import Lisa
from lisa.image_input import to_pixels

BOATS = "Please segment the boats in this image."
CARRY = "What could carry people over the water? Please output segmentation mask."
WHAT = "What is in this picture?"


@pytest.fixture(scope="session")
def pictures(world):
    """Four pictures of the synthetic world."""
    return sorted((world / "coco" / "train2017").glob("*.jpg"))[:4]


class _Site(BaseHTTPRequestHandler):
    example: Path

    def do_GET(self):
        path, _, target = self.path.partition("?to=")
        if path == "/moved":
            self.send_response(302)
            self.send_header("Location", target)
            self.end_headers()
        elif path == "/example.jpg":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.example.read_bytes())
        elif path == "/drip":
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(100):
                    self.wfile.write(b"x")
                    self.wfile.flush()
                    time.sleep(0.05)
        else:
            self.send_error(404)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(example):
    """The address of a small site."""
    _Site.example = example
    with ThreadingHTTPServer(("127.0.0.1", 0), _Site) as site:
        thread = threading.Thread(target=site.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{site.server_port}"
        site.shutdown()


class CountingModel:
    """How many pictures passed SAM's encoder, and how many calls of it there were."""

    def __init__(self, lisa):
        self.pictures = self.calls = 0
        encoder = lisa.predictor.model.sam.image_encoder
        self.hook = encoder.register_forward_hook(self._count)

    def _count(self, _, inputs, __):
        self.pictures += len(inputs[0])
        self.calls += 1


@pytest.fixture
def counted(kept_lisa):
    counter = CountingModel(kept_lisa)
    yield counter
    counter.hook.remove()


def same(one, other):
    return one.text == other.text and np.array_equal(one.masks, other.masks)


def test_an_answer_has_words_masks_scores_under_their_names_and_phrases(kept_lisa, example):
    answer = kept_lisa.ask(example, CARRY)
    assert answer.text.count("[SEG]") == len(answer.masks) == len(answer.phrases) == len(answer.scores) == 1
    assert answer.masks.shape[1:] == answer.image.shape[:2]
    assert answer.masks.dtype == bool
    assert 0 < answer.masks.mean() < 0.5
    assert 0.5 < answer.scores.expected_iou[0] <= 1
    assert 0.5 < answer.scores.seg_probability[0] <= 1
    assert (answer.question, answer.image_name) == (CARRY, "example.jpg")


def test_the_probability_of_seg_is_that_of_a_forward_pass_over_the_answer(kept_lisa, example):
    """By the language model's own forward over question and answer, without cache."""
    from lisa.conversation import Conversation

    predictor = kept_lisa.predictor
    answer = kept_lisa.ask(example, CARRY)
    batch = predictor.processor([answer.image], [[Conversation.of(f"<image>\n{CARRY}", answer.text)]])
    model = predictor.model
    with torch.inference_mode():
        hidden = model.hidden_states(batch.rows, model.backbone.image_tokens(batch.pixel_values))
        (place,) = (batch.rows.labels[0] == model.config.seg_token_id).nonzero()[:, 0].tolist()
        expected = model.backbone.logits(hidden[0, place - 1]).softmax(-1)[model.config.seg_token_id]
    assert answer.scores.seg_probability[0] == pytest.approx(expected.item(), abs=1e-4)
    [[forced]] = predictor.teacher_forced([answer.image], [[Conversation.of(f"<image>\n{CARRY}", answer.text)]])
    assert forced.scores.seg_probability[0] == pytest.approx(expected.item(), abs=1e-4)


def test_a_talk_gives_the_answers_of_single_questions_and_remembers(kept_lisa, example):
    chat = kept_lisa.chat(example)
    first = chat.ask(BOATS)
    assert same(first, kept_lisa.ask(example, BOATS))
    assert (first.image_name, first.question) == ("example.jpg", BOATS)
    chat.ask(WHAT)
    assert len(chat.turns) == 4


def test_answers_to_many_come_in_order_and_are_those_of_single_questions(kept_lisa, example, pictures):
    pairs = [(example, BOATS), *((path, q) for path in pictures for q in (WHAT, CARRY)), (example, WHAT)]
    answers = list(kept_lisa.ask_many(pairs, batch_size=3))
    assert [(a.image_name, a.question) for a in answers] == [(path.name, q) for path, q in pairs]
    for answer, (path, question) in zip(answers, pairs, strict=True):
        assert same(answer, kept_lisa.ask(path, question))


def test_questions_about_the_same_picture_encode_it_once(kept_lisa, example, pictures, counted):
    pairs = [(pictures[0], BOATS), (example, BOATS), (example, CARRY), (example, BOATS), (pictures[1], BOATS)]
    answers = list(kept_lisa.ask_many(pairs, batch_size=3))
    assert [len(answer.masks) for answer in answers] == [1] * 5
    assert counted.pictures == 3


def test_a_buffer_that_is_filled_anew_is_another_picture(kept_lisa, example, pictures):
    frames = [to_pixels(path)[:150, :200] for path in pictures[:2]]
    buffer = np.empty_like(frames[0])

    def film():
        for frame in frames:
            buffer[:] = frame
            yield buffer, BOATS

    for answer, frame in zip(kept_lisa.ask_many(film(), batch_size=4), frames, strict=True):
        np.testing.assert_array_equal(answer.image, frame)


def test_a_pair_that_cannot_be_used_is_told_after_the_answers_before_it(kept_lisa, example, tmp_path):
    pairs = [(example, WHAT), (tmp_path / "gone.png", WHAT), (example, WHAT)]
    answers = kept_lisa.ask_many(pairs)
    assert next(answers).question == WHAT
    with pytest.raises(FileNotFoundError, match=r"pair 1: .*gone\.png: no such picture"):
        next(answers)
    for question, sentence in (("why " * 2000, "tokens"), ("a </s> b", "holds </s>"), (" ", "is empty")):
        with pytest.raises(ValueError, match=f"pair 0: .*{sentence}"):
            list(kept_lisa.ask_many([(example, question)]))
    with pytest.raises(ValueError, match="batch_size is 1 or more"):
        kept_lisa.ask_many([], batch_size=0)


def as_bytes(image, format_):
    stream = io.BytesIO()
    image.save(stream, format_)
    return stream.getvalue()


def test_a_picture_in_any_form_is_the_same_picture(example):
    image = Image.open(example)
    pixels = np.asarray(image.convert("RGB"))
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    forms = [str(example), example, example.read_bytes(), image, pixels, tensor, tensor / 255, pixels / 255]
    for form in [*forms, np.dstack([pixels, pixels[:, :, :1]])]:
        np.testing.assert_array_equal(to_pixels(form), pixels)


def test_grey_arrays_become_three_channels():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for form in (grey, grey[:, :, None], torch.from_numpy(grey), torch.from_numpy(grey)[None], Image.fromarray(grey)):
        np.testing.assert_array_equal(to_pixels(form), np.repeat(grey[:, :, None], 3, axis=2))


def test_exif_orientation_counts_in_files_bytes_and_pil(tmp_path):
    pixels = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=image.getexif())
    turned = np.rot90(pixels, -1)  # orientation 6: the top of the scene is at the right of the file
    path = tmp_path / "turned.png"
    for form in (path, path.read_bytes(), Image.open(path)):
        np.testing.assert_array_equal(to_pixels(form), turned)


def animation(format_):
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 120, 240)]
    stream = io.BytesIO()
    frames[0].save(stream, format_, save_all=True, append_images=frames[1:])
    return stream.getvalue()


def bomb(width, height):
    """A PNG of a few bytes that declares its size."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (b"not a picture", "the picture: cannot be read as a picture"),
        (b"", "cannot be read as a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "cannot be read as a picture"),
        (bomb(20_000, 10_000), "beyond the limit of 150 megapixels"),
        (bomb(14_000, 12_000), "beyond the limit of 150 megapixels"),
        (np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (20_000, 10_000, 3), (0, 0, 0)), "150 megapixels"),
        (animation("GIF"), "this GIF holds several pictures"),
        (animation("WEBP"), "this WEBP holds several pictures"),
        (animation("TIFF"), "this TIFF holds several pictures"),
        (Image.open(io.BytesIO(animation("PNG"))), "this PNG holds several pictures"),
        (np.zeros((3, 8, 8), np.uint8), r"is \(H, W, 3\).* not \(3, 8, 8\)"),
        (np.zeros((0, 8, 3), np.uint8), r"not \(0, 8, 3\)"),
        (np.zeros((8, 8, 3), np.int64), "uint8, or float from 0 to 1, not int64"),
        (np.full((8, 8, 3), 200.0), "this one from 200 to 200; divide by 255"),
        (np.full((8, 8, 3), np.nan), "from nan to nan"),
        (torch.zeros(8, 8, 3), r"permute\(2, 0, 1\)"),
        (7, "not int"),
        ("http://127.0.0.1:1/x.png", "only with allow_url=True"),
        ("ftp://example.org/x.png", "only http:// and https://"),
        ("file:///etc/passwd", "only http:// and https://"),
    ],
)
def test_what_is_no_usable_picture_is_refused_with_a_sentence(image, sentence):
    with pytest.raises(ValueError, match=sentence):
        to_pixels(image)


def test_a_folder_and_a_pipe_are_no_pictures(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ValueError, match="a picture is a file"):
            to_pixels(path)
    with pytest.raises(FileNotFoundError, match="no such picture"):
        to_pixels("nowhere.png")


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ("", "the question is empty"),
        (" \n\t ", "the question is empty"),
        ("a" * 10_001, "has 10001 characters, more than 10000"),
        ("a\x00b", r"character 2 .* control character U\+0000"),
        ("\x1b[31mred", r"character 1 .* U\+001B"),
        ("half \ud83d of an emoji", r"U\+D83D"),
        ("<image> and?", "holds <image>, which stands for the picture"),
        ("where is [SEG]?", r"holds \[SEG\], which only the software may write"),
        ("</s> then", "holds </s>"),
        (7, "a question is text, not int"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_a_sentence(kept_lisa, example, question, sentence):
    with pytest.raises(ValueError, match=sentence):
        kept_lisa.ask(example, question)
    with pytest.raises(ValueError, match=sentence):
        kept_lisa.chat(example).ask(question)


@pytest.mark.parametrize(
    "question", ["<b>where</b> is <script>it()</script>?", "Wo ist das Boot? 船はどこ? 🛶👩‍🚀", "line\r\nline\tend"]
)
def test_html_and_any_script_are_text_like_any_other(kept_lisa, example, question):
    answer = kept_lisa.ask(example, question)
    assert answer.question == question.replace("\r", "")


def test_a_url_is_fetched_by_flag_within_limits(server, example, monkeypatch):
    pixels = to_pixels(example)
    np.testing.assert_array_equal(to_pixels(f"{server}/example.jpg", allow_url="private"), pixels)
    np.testing.assert_array_equal(to_pixels(f"{server}/moved?to=/example.jpg", allow_url="private"), pixels)
    with pytest.raises(OSError, match=r"cannot be fetched .*404"):
        to_pixels(f"{server}/gone.jpg", allow_url="private")
    with pytest.raises(ValueError, match="only http:// and https://"):
        to_pixels(f"{server}/moved?to=ftp://127.0.0.1/x.png", allow_url="private")
    monkeypatch.setattr("lisa.fetch.MAX_DOWNLOAD", 1000)
    with pytest.raises(ValueError, match="the limit of an image"):
        to_pixels(f"{server}/example.jpg", allow_url="private")
    monkeypatch.setattr("lisa.fetch.DOWNLOAD_SECONDS", 0.3)
    with pytest.raises(OSError, match="cannot be fetched"):
        to_pixels(f"{server}/drip", allow_url="private")


def test_a_saved_answer_holds_masks_overlay_and_json(kept_lisa, example, tmp_path):
    answer = kept_lisa.ask(example, CARRY)
    written = answer.save(tmp_path / "out")
    assert [path.name for path in written] == ["example.json", "example_mask_0.png", "example_overlay.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(written[1])) == 255, answer.masks[0])
    record = json.loads(written[0].read_text())
    assert record == json.loads(answer.to_json()) == answer.to_dict()
    assert record["image"] == {"file_name": "example.jpg", "height": 193, "width": 248}
    np.testing.assert_array_equal(coco_mask.decode(record["masks"][0]["rle"]).astype(bool), answer.masks[0])
    nothing = kept_lisa.ask(to_pixels(example), WHAT)
    assert [path.name for path in nothing.save(tmp_path / "out")] == ["answer.json"]


def test_a_plot_is_the_picture_with_its_mask_and_goes_onto_axes_too(kept_lisa, example):
    answer = kept_lisa.ask(example, CARRY)
    drawn = np.asarray(answer.plot())
    changed = (drawn[:193, :248] != answer.image).any(axis=2)
    assert changed[answer.masks[0]].mean() > 0.9
    assert not changed[:20].any()  # the sky is far from the boat

    class Axes:
        def imshow(self, image):
            self.image = image

        def set_axis_off(self):
            self.off = True

    axes = Axes()
    assert answer.plot(ax=axes) is axes.image
    assert axes.off


def test_it_opens_in_pycocotools_bit_for_bit(kept_lisa, example, tmp_path):
    from pycocotools.coco import COCO

    answer = kept_lisa.ask(example, CARRY)
    (tmp_path / "coco.json").write_text(json.dumps(answer.to_coco()))
    coco = COCO(tmp_path / "coco.json")
    (annotation,) = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    np.testing.assert_array_equal(coco.annToMask(annotation).astype(bool), answer.masks[0])
    assert annotation["area"] == answer.masks[0].sum()
    ys, xs = np.nonzero(answer.masks[0])
    assert annotation["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
    assert coco.cats[annotation["category_id"]]["name"] == CARRY


def test_detections_of_supervision_are_the_masks_and_scores(kept_lisa, example):
    pytest.importorskip("supervision")
    answer = kept_lisa.ask(example, CARRY)
    detections = answer.to_supervision()
    np.testing.assert_array_equal(detections.mask, answer.masks)
    np.testing.assert_array_equal(detections.confidence, answer.scores.expected_iou)
    assert detections.data["phrase"].tolist() == answer.phrases
    assert len(kept_lisa.ask(example, WHAT).to_supervision()) == 0


def test_only_the_matrices_of_the_language_model_are_quantised(kept_lisa):
    from lisa.quantize import language_matrices

    names = language_matrices(kept_lisa.predictor.model)
    layers = kept_lisa.predictor.model.config.vlm_config.text_config.num_hidden_layers
    assert len(names) == 7 * layers  # q, k, v, o, gate, up, down
    assert all(".language_model." in name for name in names)


def test_quantising_without_bitsandbytes_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ImportError, match=r"quantize needs bitsandbytes .*pip install 'lisa-segmentation\[quant\]'"):
        Lisa.load("tiny", quantize="8bit")
    with pytest.raises(ValueError, match="'8bit' or '4bit', not '2bit'"):
        Lisa.load("tiny", quantize="2bit")


@pytest.mark.parametrize("quantize", ["8bit", "4bit"])
def test_a_quantised_model_points(example, quantize):
    pytest.importorskip("bitsandbytes")
    answer = Lisa.load("tiny", device="cpu", quantize=quantize).ask(example, CARRY)
    assert len(answer.masks) == 1
    assert answer.scores.expected_iou[0] > 0.5
