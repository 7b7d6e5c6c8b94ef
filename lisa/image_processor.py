"""The image processor of a vision tower, checked on an image before it is used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from transformers import AutoImageProcessor, BaseImageProcessor

from lisa.foreign_errors import refused
from lisa.json_files import read_json
from lisa.processing import LisaProcessor

_MEND = "copy the whole folder again"


def open_image_processor(folder: Path, backend: str) -> BaseImageProcessor:
    """The vision tower's image processor; ValueError when it cannot be made."""
    read_json(folder / "preprocessor_config.json")
    with refused(
        f"the image processor of {folder} (preprocessor_config.json) cannot be used", "copy the whole folder again"
    ):
        return AutoImageProcessor.from_pretrained(folder, backend=backend, local_files_only=True)


def check_pixels(folder: Path, processor: LisaProcessor) -> None:
    """Make the pixels of a small image, and refuse a processor whose pixels the vision tower cannot take."""
    with refused(
        f"the image processor of {folder} (preprocessor_config.json) cannot be used", "copy the whole folder again"
    ):
        pixels = processor.pictures.pixels([np.zeros((32, 48, 3), dtype=np.uint8)])[0]
    if not pixels.isfinite().all():
        raise ValueError(
            f"the image processor of {folder} makes pixels that are not finite: look at image_std, image_mean and "
            "rescale_factor in preprocessor_config.json"
        )
    side = getattr(processor.config.vlm_config.vision_config, "image_size", None)
    if processor.pictures.tokens_per_image and isinstance(side, int) and pixels.shape[-2:] != (side, side):
        raise ValueError(
            f"the image processor of {folder} (preprocessor_config.json) makes images of {tuple(pixels.shape[-2:])} "
            f"pixels, but the vision tower (config.json) takes {(side, side)}; {_MEND}"
        )
