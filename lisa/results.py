"""Answer: what LISA says about a picture, and where."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lisa.conversation import SEG

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """How sure the model is of each of N masks."""

    expected_iou: np.ndarray
    """(N,) float in [0, 1]: the IoU with the truth that SAM's mask decoder expects of each mask."""
    seg_probability: np.ndarray
    """(N,) float in [0, 1]: the probability that the language model gave [SEG] where it said it."""

    def __len__(self) -> int:
        return len(self.expected_iou)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Answer:
    """One answer about one picture of (H, W) pixels; N masks, one for each [SEG]."""

    text: str
    """The words, with [SEG] where the answer points."""
    masks: np.ndarray
    """(N, H, W) bool."""
    scores: Scores
    """`expected_iou` and `seg_probability` of each mask."""
    question: str = ""
    """What was asked."""
    image: np.ndarray | None = field(default=None)
    """(H, W, 3) uint8 RGB: the picture, for drawing; None where only the masks are wanted."""
    image_name: str = ""
    """The picture's file name, without its folder; "" for a picture that came from memory."""

    def __repr__(self) -> str:
        height, width = self.masks.shape[1:]
        return f"Answer({self.text!r}, {len(self.masks)} masks of {height} x {width})"

    @property
    def phrases(self) -> list[str]:
        """The words that lead to each [SEG]: N strings, "" where nothing stands before it."""
        return phrases_of(self.text, len(self.masks))

    def plot(self, ax: Any = None, opacity: float = 0.5) -> Image:
        """The picture with every mask in its colour, and its phrase below; a notebook shows it.

        With `ax`, Axes of matplotlib, it is drawn there as well.

        >>> answer.plot().size
        (258, 217)
        """
        from PIL import Image

        from lisa.drawing import overlay_masks, with_legend

        drawn = Image.fromarray(with_legend(overlay_masks(self.picture, self.masks, opacity), self.phrases))
        if ax is not None:
            ax.imshow(drawn)
            ax.set_axis_off()
        return drawn

    def save(self, folder: str | Path, stem: str = "") -> list[Path]:
        """Write `STEM.json`, every mask as a PNG (0 and 255), and one overlay; returns what was written.

        stem is the picture's name by default; an earlier answer with that stem is overwritten, mask by mask.

        >>> [path.name for path in answer.save("out")]
        ['example.json', 'example_mask_0.png', 'example_overlay.png']
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        stem = stem or Path(self.image_name).stem or "answer"
        (folder / f"{stem}.json").write_text(self.to_json() + "\n", encoding="utf-8")
        return [folder / f"{stem}.json", *save_masks(self, folder, stem)]

    def to_dict(self) -> dict:
        """Plain values for JSON: question, text, image, and for each mask phrase, scores, box, area and RLE.

        >>> sorted(answer.to_dict()["masks"][0])
        ['area', 'bbox', 'expected_iou', 'phrase', 'rle', 'seg_probability']
        """
        from lisa.formats import answer_record

        return answer_record(self)

    def to_json(self) -> str:
        """`to_dict` as text.

        >>> json.loads(answer.to_json())["text"]
        'Sure, the purple boat at the bottom [SEG].'
        """
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def to_coco(self) -> dict:
        """COCO instances: this image, an annotation with lossless RLE for each mask; the category is the question.

        Without a mask there is no category; the words are in `answers` of the image.

        >>> coco = answer.to_coco()
        >>> coco["images"][0]["file_name"], len(coco["annotations"])
        ('example.jpg', 1)
        """
        from lisa.formats import coco_instances

        return coco_instances([self])

    def polygons(self) -> list[list[np.ndarray]]:
        """For each mask its outer outlines, (K, 2) int32 x and y of pixels on the border; holes are not cut out.

        `cv2.fillPoly` draws the mask from them, holes filled.

        >>> [len(outlines) for outlines in answer.polygons()]
        [1]
        """
        from lisa.formats import outlines

        return [outlines(mask) for mask in self.masks]

    def to_supervision(self) -> Any:
        """`supervision.Detections`: masks, boxes, the expected IoU as confidence, phrases in `data`.

        >>> len(answer.to_supervision())
        1
        """
        from lisa.formats import detections

        return detections(self)

    @property
    def picture(self) -> np.ndarray:
        """`image`; ValueError where the answer came without it."""
        if self.image is None:
            raise ValueError("this answer came without its picture; dataclasses.replace(answer, image=pixels) adds it")
        return self.image


def phrases_of(text: str, number: int) -> list[str]:
    """The words that lead to each of the first `number` [SEG] of a text; "" where nothing stands before it."""
    return [piece.strip(" ,.;:") for piece in text.split(SEG)[:number]]


def no_masks(size: tuple[int, int]) -> tuple[np.ndarray, Scores]:
    """What an answer that points at nothing has, for a picture of (H, W)."""
    empty = np.zeros(0, np.float32)
    return np.zeros((0, *size), bool), Scores(expected_iou=empty, seg_probability=empty)


def save_masks(answer: Answer, folder: Path, stem: str) -> list[Path]:
    """Every mask as a lossless PNG (0 and 255), and one overlay with all of them; returns what was written."""
    from lisa.drawing import overlay_masks, with_legend, write_png

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for index, mask in enumerate(answer.masks):
        written.append(folder / f"{stem}_mask_{index}.png")
        write_png(written[-1], mask.astype(np.uint8) * 255)
    if len(answer.masks):
        written.append(folder / f"{stem}_overlay.png")
        write_png(written[-1], with_legend(overlay_masks(answer.picture, answer.masks), answer.phrases))
    return written
