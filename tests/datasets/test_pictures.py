"""Picture files of every kind, and annotations in their geometry."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from datasets.images import Picture, image_size, read_header, read_image, read_label_map, read_picture
from lisa.pixels import orient

GRADIENT = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_and_its_size_are_turned_as_pil_turns_them(tmp_path, save_picture, orientation):
    path = save_picture(tmp_path / "a.png", GRADIENT, orientation)
    with Image.open(path) as image:
        upright = np.array(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(read_image(path), upright)
    assert image_size(path) == upright.shape[:2]


def test_an_orientation_that_is_not_defined_changes_nothing():
    np.testing.assert_array_equal(orient(GRADIENT, 0), GRADIENT)
    np.testing.assert_array_equal(orient(GRADIENT, 9), GRADIENT)


def test_greyscale_is_repeated_over_the_channels(tmp_path, save_picture):
    path = save_picture(tmp_path / "a.png", np.array([[0, 200]], np.uint8))
    assert read_image(path).tolist() == [[[0, 0, 0], [200, 200, 200]]]


def test_sixteen_bits_are_scaled_not_clipped(tmp_path, save_picture):
    path = save_picture(tmp_path / "a.png", np.array([[0, 257, 32896, 65535]], np.uint16))
    assert read_image(path)[0, :, 1].tolist() == [0, 1, 128, 255]


def test_transparency_is_dropped(tmp_path, save_picture):
    path = save_picture(tmp_path / "a.png", np.array([[[10, 20, 30, 0]]], np.uint8))
    assert read_image(path).tolist() == [[[10, 20, 30]]]


@pytest.mark.parametrize("transparent", [None, b"\x00\xff\xff"])
def test_a_palette_is_looked_up(tmp_path, transparent):
    image = Image.fromarray(np.array([[0, 2]], np.uint8), mode="P")
    image.putpalette([1, 2, 3, 4, 5, 6, 7, 8, 9])
    options = {} if transparent is None else {"transparency": transparent}
    image.save(tmp_path / "a.png", **options)
    assert read_image(tmp_path / "a.png").tolist() == [[[1, 2, 3], [7, 8, 9]]]


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1)])
def test_the_smallest_and_narrowest_pictures_are_read(tmp_path, save_picture, size):
    pixels = np.full((*size, 3), 90, np.uint8)
    np.testing.assert_array_equal(read_image(save_picture(tmp_path / "a.png", pixels)), pixels)


def test_pixels_can_be_written_to(tmp_path, save_picture):
    assert read_image(save_picture(tmp_path / "a.png", GRADIENT)).flags.writeable


def test_a_missing_picture_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg: no such picture"):
        read_image(tmp_path / "gone.jpg")


def damaged_files(whole: bytes) -> dict[str, bytes]:
    return {
        "empty": b"",
        "text": b"<html>404</html>",
        "cut_in_the_header": whole[:20],
        "cut_in_the_middle": whole[: len(whole) // 2],
    }


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("damage", damaged_files(b""))
def test_a_damaged_picture_is_named_with_the_mend(tmp_path, save_picture, suffix, damage):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save_picture(tmp_path / f"broken{suffix}", noise)
    path.write_bytes(damaged_files(path.read_bytes())[damage])
    with pytest.raises(ValueError, match=rf"broken\{suffix}: cannot be read as a picture.*Restore it"):
        read_image(path)


def test_a_folder_in_place_of_a_picture_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be read as a picture"):
        read_image(tmp_path)


def test_a_decompression_bomb_is_refused(tmp_path, save_picture, monkeypatch):
    path = save_picture(tmp_path / "a.png", GRADIENT)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    with pytest.raises(ValueError, match=r"a\.png: declares a size beyond the limit of 150 megapixels"):
        read_image(path)


def test_a_picture_beyond_our_own_limit_is_refused_before_it_is_decoded(tmp_path, save_picture, monkeypatch):
    path = save_picture(tmp_path / "a.png", GRADIENT)
    monkeypatch.setattr("lisa.pixels.MAX_PIXELS", 23)
    for read in (read_image, image_size, read_label_map):
        with pytest.raises(ValueError, match=r"a\.png: declares a size beyond the limit .*4 x 6"):
            read(path)
    monkeypatch.setattr("lisa.pixels.MAX_PIXELS", 24)
    assert image_size(path) == (6, 4)


def test_a_header_fits_annotations_of_the_displayed_and_the_stored_size(tmp_path, save_picture):
    turned = read_header(save_picture(tmp_path / "a.png", GRADIENT, 6))
    assert turned.size == (4, 6)
    assert turned.fits((4, 6))
    assert turned.fits((6, 4))
    upright = read_header(save_picture(tmp_path / "b.png", GRADIENT))
    assert upright.fits((6, 4))
    assert not upright.fits((4, 6))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [(np.zeros((2, 2), np.float32), "floating-point"), (np.full((2, 2), 70000, np.int32), "16 bits")],
)
def test_brightness_of_unknown_range_is_refused(tmp_path, pixels, message):
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=rf"a\.tif: .*{message}"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_label_map_keeps_its_ids(tmp_path, save_picture, dtype):
    ids = np.array([[0, 7], [150, 255]], dtype)
    np.testing.assert_array_equal(read_label_map(save_picture(tmp_path / "a.png", ids)), ids)


def test_a_palette_label_map_gives_indices_not_colours(tmp_path):
    image = Image.fromarray(np.array([[0, 2]], np.uint8), mode="P")
    image.putpalette([1, 2, 3, 4, 5, 6, 7, 8, 9])
    image.save(tmp_path / "a.png")
    assert read_label_map(tmp_path / "a.png").tolist() == [[0, 2]]


def test_a_label_map_in_colours_is_refused(tmp_path, save_picture):
    path = save_picture(tmp_path / "colours.png", GRADIENT)
    with pytest.raises(ValueError, match=r"colours\.png: a label map has one integer id per pixel.*RGB"):
        read_label_map(path)


def picture(height: int, width: int, orientation: int = 1) -> Picture:
    pixels = np.zeros((height, width, 3), np.uint8)
    return Picture(path=Path("a.jpg"), pixels=pixels, orientation=orientation)


def test_an_annotation_of_the_stored_size_is_turned_with_its_picture(tmp_path, save_picture):
    stored = np.zeros((2, 5), bool)
    stored[0, 3:] = True
    path = save_picture(tmp_path / "a.png", np.where(stored, 255, 0).astype(np.uint8), orientation=6)
    upright = read_picture(path)
    aligned = upright.align(stored, "label")
    np.testing.assert_array_equal(aligned, upright.pixels[..., 0] == 255)
    assert aligned.shape == (5, 2)


def test_an_annotation_of_the_displayed_size_stays_as_it_is():
    mask = np.eye(4, 3, dtype=bool)
    np.testing.assert_array_equal(picture(4, 3, orientation=6).align(mask, "label"), mask)


@pytest.mark.parametrize(("shape", "orientation"), [((3, 4), 1), ((3, 4), 3), ((8, 6), 6)])
def test_an_annotation_of_another_size_is_refused_with_both_sizes(shape, orientation):
    with pytest.raises(ValueError, match=rf"x\.json is for {shape[1]} x {shape[0]} .*a\.jpg has 3 x 4; restore"):
        picture(4, 3, orientation).align(np.zeros(shape, bool), "x.json")
