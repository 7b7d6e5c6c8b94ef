"""Large images: read within a budget, reduced, and with masks of the file's own size."""

from __future__ import annotations

import io
import threading
import time

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from sent_files import large_png

from lisa.formats import encode_rle
from lisa.image_input import to_pixels
from lisa.serve.images import is_large, read_image
from lisa.serve.limits import Limits, RefusedError
from lisa.serve.rle import enlarged_rle

SMALL = Limits(full_megapixels=1)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def scene(mode: str = "RGB", size: tuple[int, int] = (1501, 1103)) -> Image.Image:
    """Smooth colours, so that a mean of pixels is near each of them."""
    x, y = np.meshgrid(np.linspace(0, 250, size[0]), np.linspace(0, 250, size[1]))
    if mode == "I;16":
        return Image.fromarray((x * 256).astype(np.uint16))
    return Image.fromarray(np.stack([x, y, 250 - x], axis=2).astype(np.uint8)).convert(mode)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGB"), ("JPEG", "RGB")])
def test_a_large_image_is_the_small_one_made_smaller_whichever_way_it_is_turned(kind, mode, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(scene(mode), kind, exif=exif)
    assert is_large(data, SMALL)
    whole, read = to_pixels(data), read_image(data, SMALL)
    assert (read.height, read.width) == whole.shape[:2]
    height, width = read.pixels.shape[:2]
    assert height * width <= 1_000_000
    small = np.asarray(Image.fromarray(whole).resize((width, height), Image.Resampling.BOX)).astype(int)
    assert np.abs(small - read.pixels).max() <= 6


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("PNG", mode) for mode in ("L", "P", "LA", "RGBA", "1", "I;16")]
    + [("JPEG", "L"), ("JPEG", "CMYK"), ("WEBP", "RGB"), ("WEBP", "RGBA"), ("TIFF", "RGB"), ("TIFF", "I;16")]
    + [("TIFF", "CMYK"), ("BMP", "RGB"), ("GIF", "P"), ("PPM", "RGB"), ("JPEG2000", "RGB"), ("AVIF", "RGB")],
)
def test_every_format_and_mode_is_reduced(kind, mode):
    data = saved(scene(mode, (1502, 1104)), kind)
    whole, read = to_pixels(data), read_image(data, SMALL)
    height, width = read.pixels.shape[:2]
    assert (read.height, read.width, height * width <= 1_000_000) == (1104, 1502, True)
    small = np.asarray(Image.fromarray(whole).resize((width, height), Image.Resampling.BOX)).astype(int)
    assert np.abs(small - read.pixels).mean() < 3


def test_an_image_that_is_not_large_is_read_as_by_the_library():
    data = saved(scene(), "PNG")
    read = read_image(data, Limits())
    np.testing.assert_array_equal(read.pixels, to_pixels(data))
    assert read.pixels.shape == (read.height, read.width, 3)


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("WEBP", {}), ("AVIF", {}), ("JPEG2000", {}), ("JPEG", {"progressive": True})]
)
def test_what_takes_more_memory_than_there_is_is_refused_before_it_is_decoded(kind, options):
    data = saved(scene(), kind, **options)
    with pytest.raises(RefusedError, match=rf"1501 x 1103 pixels, and decoding it as {kind} would take .* make it sma"):
        read_image(data, Limits(full_megapixels=1, decode_megabytes=2))


def test_a_large_image_that_is_cut_off_or_moves_is_refused_with_a_sentence():
    data = saved(scene(), "PNG")
    with pytest.raises(ValueError, match=r"the image: cannot be read .* save it again"):
        read_image(data[: len(data) // 2], SMALL)
    frames = [scene("L"), scene("L").rotate(90)]
    moving = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="holds several"):
        read_image(moving, SMALL)


@pytest.mark.parametrize(("height", "width"), [(7, 5), (21, 15), (50, 33), (8, 5), (7, 99)])
def test_a_mask_is_enlarged_to_nearest_pixels(height, width):
    rng = np.random.default_rng(0)
    masks = [rng.random((7, 5)) > share for share in (0.3, 0.5, 0.8)] + [np.zeros((7, 5), bool), np.ones((7, 5), bool)]
    for mask in masks:
        rows, columns = np.arange(height) * 7 // height, np.arange(width) * 5 // width
        expected = mask[rows][:, columns]
        rle = enlarged_rle(mask, height, width)
        assert rle == encode_rle(expected)
        np.testing.assert_array_equal(coco_mask.decode(rle), expected)


def test_masks_and_clicks_of_a_large_image_are_in_pixels_of_its_file(serve, example):
    with Image.open(io.BytesIO(example)) as image:
        large = image.convert("RGB").resize((image.width * 8, image.height * 8))
    client, _ = serve(full_megapixels=1)
    question = "Please segment the boats in this image."
    asked = {}
    for name, data in (("small", example), ("large", saved(large, "PNG"))):
        opened = client.post("/api/v1/sessions", files={"image": ("x.png", data)}).json()
        path = f"/api/v1/sessions/{opened['session']}/turns"
        (mask,) = client.post(path, json={"question": question, "stream": False}).json()["masks"]
        assert mask["rle"]["size"] == [opened["height"], opened["width"]]
        x, y = 0.9 * opened["width"], 0.1 * opened["height"]
        clicks = {"clicks": [{"x": x, "y": y, "inside": True}]}
        answer = client.put(f"{path}/0/masks/0/clicks?outline=true", json=clicks)
        corners = [
            float(word) for word in answer.json()["outline"].replace("M", " ").replace("L", " ").split("Z")[0].split()
        ]
        assert max(corners[::2]) <= opened["width"]
        asked[name] = [coco_mask.decode(one["rle"]).astype(bool) for one in (mask, answer.json())]
        beyond = {"clicks": [{"x": opened["width"] + 1, "y": 0}]}
        assert f"of {opened['width']} x" in client.put(f"{path}/0/masks/0/clicks", json=beyond).json()["detail"]
        assert client.get(f"/api/v1/sessions/{opened['session']}/masks.zip").status_code == 200
    for small, large_mask in zip(asked["small"], asked["large"], strict=True):
        near = np.repeat(np.repeat(small, 8, axis=0), 8, axis=1)
        assert (near & large_mask).sum() / (near | large_mask).sum() > 0.85


def test_nobody_waits_for_a_large_image_of_another(serve, example):
    client, service = serve()
    data = large_png(6000, 5000)
    going = threading.Event()
    service.large.submit(going.wait, 30)  # a large image that takes long
    opened = []
    send = lambda: opened.append(client.post("/api/v1/sessions", files={"image": ("x.png", data)}))  # noqa: E731
    waiting = threading.Thread(target=send)
    waiting.start()
    while len(service.large) < 2:
        time.sleep(0.01)
    assert client.post("/api/v1/sessions", files={"image": ("x.jpg", example)}).status_code == 201
    assert not opened
    going.set()
    waiting.join(60)
    assert opened[0].json()["height"] == 5000


@pytest.mark.parametrize("size", [(300_000, 1), (1, 300_000)])
def test_a_strip_is_refused_by_its_sides(size):
    file = io.BytesIO()
    Image.new("L", size).save(file, "PNG")
    with pytest.raises(ValueError, match="at most 256 times the other"):
        read_image(file.getvalue(), Limits())
