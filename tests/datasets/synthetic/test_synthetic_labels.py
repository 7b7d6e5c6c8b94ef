"""Label maps of COCO-Stuff and Mapillary, read with PIL: official values, and the things where they were drawn."""

import json

import numpy as np
from PIL import Image

from datasets.synthetic.catalog import CLASS_NAMES, STUFF
from datasets.synthetic.writers import cocostuff

# By hand, from the official list of COCO-Stuff: id less one.
OFFICIAL = {"car": 2, "boat": 8, "chair": 61, "house": 127, "tree": 168, "fish": 255, "mushroom": 255}


def _labels(path):
    image = Image.open(path)
    return image.mode, np.array(image)


def test_cocostuff_has_a_map_for_each_picture_of_the_shared_folder(world):
    maps = {p.stem for p in (world / "cocostuff/train2017").glob("*.png")}
    assert maps == {p.stem for p in (world / "coco/train2017").glob("*.jpg")}
    assert len(maps) == 32


def test_cocostuff_values_are_official(world, materials):
    found = set()
    for material in materials[:40]:
        if material.split != "train":
            continue
        mode, labels = _labels(world / "cocostuff/train2017" / f"{material.image_id:012d}.png")
        assert (mode, labels.shape) == ("L", material.picture.image.shape[:2])
        for seen in material.picture.things:
            if seen.thing.cls in OFFICIAL:
                assert set(np.unique(labels[seen.mask])) == {OFFICIAL[seen.thing.cls]}
                found.add(seen.thing.cls)
        free = ~np.any([seen.mask for seen in material.picture.things], axis=0)
        sky, grass = (material.picture.stuff == tuple(STUFF).index(name) for name in ("sky", "grass"))
        assert (labels[free & sky] == 156).all()
        assert (labels[free & grass] == 123).all()
    assert found == set(OFFICIAL)


def test_cocostuff_calls_water_by_its_shore(materials):
    values = {}
    for material in materials:
        water = material.picture.stuff == tuple(STUFF).index("water")
        water &= ~np.any([seen.mask for seen in material.picture.things], axis=0)
        if water.any():
            ground = material.picture.scene.ground
            values.setdefault("grass" in ground, set()).update(np.unique(cocostuff.label_map(material.picture)[water]))
    assert values == {True: {147}, False: {154}}  # river, sea


def test_mapillary_config_is_the_list_that_its_maps_point_into(world, materials):
    config = json.loads((world / "mapillary/config_v2.0.json").read_text())
    labels = config["labels"]
    assert all(set(label) == {"name", "readable", "instances", "evaluate", "color"} for label in labels)
    readable = [label["readable"] for label in labels]
    assert len(set(readable)) == len(labels)
    assert readable[-1] == "Unlabeled"
    expected = {"car": "Car", "bus": "Bus", "house": "Building", "tree": "Vegetation", "cup": "Unlabeled"}
    seen_classes = set()
    paths = sorted((world / "mapillary/training/v2.0/labels").glob("*.png"))
    assert [p.stem for p in paths] == [f"drawn-{i:08d}" for i in (5, 10, 15, 20, 25, 30, 35, 40)]
    for path in paths:
        assert (world / "mapillary/training/images" / f"{path.stem}.jpg").is_file()
        mode, values = _labels(path)
        material = materials[int(path.stem[-8:]) - 1]
        assert (mode, material.split) == ("P", "train")
        assert values.max() < len(labels)
        for seen in material.picture.things:
            (value,) = np.unique(values[seen.mask])
            seen_classes.add(seen.thing.cls)
            if seen.thing.cls in expected:
                assert readable[value] == expected[seen.thing.cls]
        colours = np.array(Image.open(path).convert("RGB"))
        assert (colours == np.array([label["color"] for label in labels])[values]).all()
    assert len(seen_classes) > len(CLASS_NAMES) / 2


def test_mapillary_uses_its_unlabeled_class(world):
    paths = (world / "mapillary/training/v2.0/labels").glob("*.png")
    labels = json.loads((world / "mapillary/config_v2.0.json").read_text())["labels"]
    assert any((_labels(path)[1] == len(labels) - 1).any() for path in paths)
