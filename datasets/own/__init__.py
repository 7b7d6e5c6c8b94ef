"""Data of the user's own, in four formats: json lines, COCO instances, LabelMe, pictures with masks.

docs/own-data.md tells what each looks like.
"""

from datasets.own.family import OwnSeg, OwnValidation, open_own

__all__ = ["OwnSeg", "OwnValidation", "open_own"]
