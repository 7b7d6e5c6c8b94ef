"""Pictures on their way to SAM."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from parity_checks.reading import read_mask, read_picture
from parity_checks.report import Report
from sam_bridge import resize_and_pad
from sam_bridge.sizes import PIXEL_MEAN, PIXEL_STD


def check_pictures(report: Report, images: Path, side: int) -> None:
    """Sizes, and what the resize before SAM makes of the pictures, where the folder has it."""
    sizes = images / "sizes_hw.json"
    if sizes.is_file():
        for stem, wanted in json.loads(sizes.read_text(encoding="utf-8")).items():
            report.equal("images", f"{stem} size", list(read_picture(images / f"{stem}.png").shape[:2]), wanted)
    for path in sorted(images.glob("*_resized_*.png")):
        source = images / f"{path.name.split('_resized_')[0]}.png"
        pixels, size = resize_and_pad(read_picture(source), side)
        wanted = (read_picture(path).astype(np.float32) - np.float32(PIXEL_MEAN)) / np.float32(PIXEL_STD)
        height, width = size.resized
        report.equal(
            "images", f"{path.stem} pixels", pixels[:, :height, :width], torch.from_numpy(wanted).permute(2, 0, 1)
        )
        padding = pixels.clone()
        padding[:, :height, :width] = 0
        report.equal("images", f"{path.stem} padding", padding.abs().max().item(), 0.0)
    for path in sorted(images.glob("*_mask*.png")):
        picture = images / f"{path.name.split('_mask')[0]}.png"
        report.equal("images", f"{path.stem} size", read_mask(path).shape, read_picture(picture).shape[:2])
