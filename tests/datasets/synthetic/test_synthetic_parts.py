"""PACO-LVIS and Pascal-Part, read with pycocotools: areas, names and instances are those of the scene."""

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from datasets.synthetic.draw import draw_scene
from datasets.synthetic.parts import part_instances
from datasets.synthetic.scene import Scene, Thing

JSON = {
    "paco": ("vlpart/paco/annotations/paco_lvis_v1_train.json", "coco"),
    "pascal": ("vlpart/pascal_part/train.json", "vlpart/pascal_part/VOCdevkit/VOC2010/JPEGImages"),
}


@pytest.fixture(scope="module", params=JSON)
def parts(request, world):
    """The name of a dataset, what pycocotools reads, and its folder of pictures."""
    file, images = JSON[request.param]
    return request.param, COCO(str(world / file)), world / images


def _vehicle(cls, flip, angle, *others):
    thing = Thing(cls=cls, colour="red", x=150, y=100, size=120, shade=1.0, stretch=1.0, angle=angle, flip=flip)
    common = {"seed": 0, "index": 0, "split": "train", "light": "day", "horizon": 0.0, "relief": None}
    scene = Scene(height=200, width=300, ground=("grass",), things=(thing, *others), **common)
    return draw_scene(scene).things[0]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("angle", [-8.0, 8.0])
def test_each_wheel_and_each_window_is_one_piece_of_its_own(flip, angle):
    bus = _vehicle("bus", flip, angle)
    for part, count in (("wheels", 2), ("windows", 3)):
        masks = part_instances(bus, part)
        assert len(masks) == count
        assert (np.sum(masks, axis=0) == bus.parts[part]).all()
        areas = [mask.sum() for mask in masks]
        assert max(areas) < 1.15 * min(areas)
        columns = sorted(np.nonzero(mask)[1].mean() for mask in masks)
        assert min(np.diff(columns)) > 20


def test_a_wheel_in_two_pieces_is_still_one():
    lamp = Thing(cls="lamp", colour="red", x=110, y=118, size=30, shade=1.0, stretch=1.0, angle=0.0, flip=False)
    car = _vehicle("car", False, 0.0, lamp)
    pieces = cv2.connectedComponents(car.parts["wheels"].astype(np.uint8))[0] - 1
    assert (pieces, len(part_instances(car, "wheels"))) == (3, 2)


def test_a_part_that_is_hidden_has_no_instance():
    house = Thing(cls="house", colour="red", x=150, y=125, size=130, shade=1.0, stretch=1.0, angle=0.0, flip=False)
    assert part_instances(_vehicle("car", False, 0.0, house), "wheels") == []


def test_pictures_exist_in_their_size_and_are_of_training(parts, materials):
    name, coco, images = parts
    assert [image["id"] for image in coco.dataset["images"]] == (
        [5, 9, 13, 17, 25, 29, 33, 37] if name == "paco" else [5, 15, 25, 35]
    )
    for image in coco.dataset["images"]:
        assert Image.open(images / image["file_name"]).size == (image["width"], image["height"])
        assert materials[image["id"] - 1].split == "train"
        assert coco.getAnnIds(image["id"])


def test_annotations_are_what_was_drawn(parts, materials):
    name, coco, _ = parts
    for annotation in coco.dataset["annotations"]:
        mask = coco.annToMask(annotation).astype(bool)
        picture = materials[annotation["image_id"] - 1].picture
        category = coco.cats[annotation["category_id"]]["name"]
        cls, _, part = category.partition(":")
        cls = {"aeroplane": "airplane", "table_lamp": "lamp"}.get(cls, cls.split("_(")[0])
        part = {"wheel": "wheels", "window": "windows"}.get(part, part)
        assert part or name == "paco"
        candidates = [s.parts[part] if part else s.mask for s in picture.things if s.thing.cls == cls]
        drawn = max(candidates, key=lambda other: (mask & other).sum())
        # A part's instances together are the part.
        assert (mask & drawn).sum() >= 0.93 * mask.sum()
        assert abs(annotation["area"] - mask.sum()) <= max(4, 0.08 * annotation["area"])
        x, y, w, h = annotation["bbox"]
        rows, columns = np.nonzero(mask)
        assert (x <= columns.min() + 1, y <= rows.min() + 1) == (True, True)
        assert (x + w >= columns.max(), y + h >= rows.max()) == (True, True)


def test_every_part_that_is_seen_is_annotated(parts, materials):
    _, coco, _ = parts
    for image_id in coco.imgs:
        things = materials[image_id - 1].picture.things
        annotations = coco.loadAnns(coco.getAnnIds(image_id))
        areas = [a["area"] for a in annotations if ":" in coco.cats[a["category_id"]]["name"]]
        drawn = sum(int(mask.sum()) for seen in things for mask in seen.parts.values())
        left_out = sum(len(seen.parts) for seen in things) * 3 * 12
        assert drawn - left_out <= sum(areas) <= drawn


def test_names_follow_the_grammar_of_the_real_ones(parts):
    name, coco, _ = parts
    names = [category["name"] for category in coco.dataset["categories"]]
    assert len(set(names)) == len(names)
    if name == "paco":
        assert {"car_(automobile)", "car_(automobile):wheel", "bus_(vehicle):window", "chair:seat"} <= set(names)
        assert all(name.count(":") <= 1 for name in names)
    else:
        assert {"aeroplane:wing", "car:wheel"} <= set(names)
        assert all(name.count(":") == 1 for name in names)


def test_paco_has_whole_things_too_and_several_instances_of_a_part(world, materials):
    coco = COCO(str(world / JSON["paco"][0]))
    several = 0
    for image_id in coco.imgs:
        annotations = coco.loadAnns(coco.getAnnIds(image_id))
        names = [coco.cats[a["category_id"]]["name"] for a in annotations]
        assert sum(":" not in name for name in names) == len(materials[image_id - 1].picture.things)
        several += any(names.count(name) > 1 for name in names if name.endswith(("wheel", "window")))
    assert several > 0
