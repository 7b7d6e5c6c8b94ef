# /// script
# requires-python = ">=3.10"
# dependencies = ["datumaro==1.13.12", "labelme==6.3.1", "pycocotools==2.0.10"]
#
# [tool.uv]
# exclude-dependencies = ["pyqt5", "pyqt5-qt5"]
# ///
"""Read annotations with the classes of other tools, which say what they found as JSON.

They have an environment of their own, locked in strict_readers.py.lock: datumaro, with which CVAT imports, wants an
older OpenCV and pandas than ours, and of pycocotools this is the first version that is strict.
"""

from __future__ import annotations

import contextlib
import json
import sys
import types
from collections.abc import Callable


def pycocotools(annotations: str) -> dict:
    """The file, and its own annotations as results about it: their number and how well they fit."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    coco = COCO(annotations)
    coco.info()
    results = [
        {name: one[name] for name in ("image_id", "category_id", "segmentation", "score")} for one in coco.anns.values()
    ]
    evaluation = COCOeval(coco, coco.loadRes(results), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return {"annotations": len(coco.anns), "average precision": evaluation.stats[0]}


def datumaro(root: str) -> dict:
    """[image, category, area] of every annotation of annotations/instances_*.json below a folder, by kind of reader."""
    import datumaro as dm

    found = {}
    for kind in (dm.Dataset, dm.StreamDataset):
        data = kind.import_from(root, "coco_instances")
        names = data.categories()[dm.AnnotationType.label]
        found[kind.__name__] = sorted(
            [item.id, names[one.label].name, int(one.get_area())]
            for item in data
            for one in item.annotations
            if one.type == dm.AnnotationType.mask
        )
    return found


def labelme(*files: str) -> dict:
    """Open each file and save it as LabelMe does, after its first label is changed; tell what was in it."""
    # Its window, which the reader imports and does not use, needs a display: empty modules stand for it.
    qt = sys.modules["PyQt5"] = types.ModuleType("PyQt5")
    for name in ("QtCore", "QtGui", "QtWidgets"):
        sys.modules[f"PyQt5.{name}"] = module = types.ModuleType(name)
        setattr(qt, name, module)
    from labelme import LabelFile, utils

    found = {}
    for file in files:
        read = LabelFile(file)
        found[file] = [[shape["label"], int(shape["mask"].sum())] for shape in read.shapes]
        shapes = [
            {name: shape[name] for name in ("label", "points", "group_id", "description", "shape_type", "flags")}
            | {"mask": utils.img_arr_to_b64(shape["mask"].astype("uint8"))}
            for shape in read.shapes
        ]
        read.save(file, shapes, read.image_path, None, None, read.image_data, read.other_data, read.flags)
    return found


def main() -> None:
    readers: dict[str, Callable[..., dict]] = {"pycocotools": pycocotools, "datumaro": datumaro, "labelme": labelme}
    kind, *paths = sys.argv[1:]
    with contextlib.redirect_stdout(sys.stderr):
        found = readers[kind](*paths)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
