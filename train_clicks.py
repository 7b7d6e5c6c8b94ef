"""Teach a model that was trained from nothing what a click on a mask means; nothing else of it changes.

python train_clicks.py --model models/tiny --dataset_dir data/synthetic --out runs/clicks

A released SAM knows clicks. One that LISA trained has seen [SEG] prompts only: its embeddings of points and of masks,
which answers never use, are still random, and its mask decoder does not listen to them. These embeddings and a copy of
the decoder, for clicks only, learn here, on the mistakes that the model makes: a user is imitated who clicks into the
largest error, up to `clicks` times, as SAM was trained (Kirillov et al. 2023, appendix A).
Answers and their figures stay what they were, bit for bit.
"""

from __future__ import annotations

import copy
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parent))  # our `datasets` comes before Hugging Face's

import cv2
import numpy as np
import torch
import tyro
from rich.progress import TextColumn
from torch import Tensor
from torch.nn import Parameter

from datasets.names import open_tree, validation_problems
from datasets.validation import open_validation
from lisa.checkpoint import find_model, load, save
from lisa.cli.exits import exit_with_sentence
from lisa.flag_ranges import number_problems, refuse
from lisa.generation import Predictor
from lisa.losses import dice_loss, iou_score_loss, mask_bce_loss
from lisa.modeling import LisaModel
from lisa.progress import progress_bar
from lisa.seg import gather_seg_states, image_of_seg, seg_positions
from sam_bridge import Clicks, Embeddings, correct_masks, masks_to_low_res


@dataclass(frozen=True, kw_only=True)
class ClickArgs:
    """Teach a model what clicks mean."""

    model: str = "tiny"
    """The model's folder, or "tiny" for the one that comes with the checkout."""
    dataset_dir: Path = Path("data/synthetic")
    """Folder of the data; a referring set is read from it."""
    train_data: str = "refcoco|unc|train"
    """What is learned from."""
    val_data: str = "refcoco|unc|val"
    """What is measured on, before and after."""
    pictures: int = 1200
    """Most pictures of either."""
    other_targets: float = 0.4
    """Share of the masks that are to become another thing of the picture, by a click on it."""
    clicks: int = 3
    """Most clicks on a mask."""
    steps: int = 1500
    """Steps of training, each with `batch_size` masks and all clicks."""
    batch_size: int = 16
    """Masks of a step."""
    lr: float = 1.5e-3
    """Peak learning rate; it warms up over a tenth of the steps and falls to 0."""
    seed: int = 0
    """Of pictures, targets and clicks."""
    out: Path = Path("runs/clicks")
    """Folder of the new model."""
    dtype: Literal["fp32", "bf16", "fp16"] = "fp16"
    """Of the weights on disk."""


@dataclass(frozen=True, kw_only=True)
class Mistakes:
    """Masks as the model gives them, with what they should be; S of B pictures."""

    embeddings: Embeddings
    """SAM's, of the B pictures."""
    picture_of: Tensor
    """(S,) int64."""
    prompts: Tensor
    """(S, E)."""
    before: Tensor
    """(S, l, l) logits."""
    targets: Tensor
    """(S, l, l): share of each cell that is covered."""
    counts: Tensor
    """(B, l, l): share of each cell that is picture, not padding."""
    things: tuple[Tensor, ...]
    """B tensors (K, l, l): everything in the picture that could have been meant."""

    def __len__(self) -> int:
        return len(self.prompts)


@torch.inference_mode()
def collect(predictor: Predictor, dataset_dir: Path, data: str, limit: int) -> Mistakes:
    """What the model points at in the pictures of a data set, asked for everything in them."""
    model, sam = predictor.model, predictor.model.config.sam_size
    validation = open_validation(dataset_dir, data)
    rows: dict[str, list] = {field.name: [] for field in fields(Mistakes)}
    total = min(limit, len(validation))
    with progress_bar() as bar:
        for index in bar.track(range(total), total, description=f"reading {data}"):
            sample = validation.sample(index)
            batch = predictor.processor([sample.image], [list(sample.conversations)]).to(model.device)
            hidden = model.hidden_states(batch.rows, model.image_tokens(batch))
            positions = seg_positions(batch.rows, model.config.seg_token_id, model.config.seg_state)
            states, image_of = gather_seg_states(hidden, positions), image_of_seg(batch.rows, positions)
            output = model.masks_from_states(states, image_of, batch.sam_pixels)
            sizes = (batch.sizes[0], sam.image_size, sam.low_res)
            rows["embeddings"].append(output.embeddings)
            rows["picture_of"].append(image_of + index)
            rows["prompts"].append(output.prompts)
            rows["before"].append(output.low_res)
            rows["targets"].append(masks_to_low_res(sample.masks, *sizes))
            rows["counts"].append(masks_to_low_res(np.ones((1, *sample.image.shape[:2]), bool), *sizes))
            rows["things"].append(masks_to_low_res(sample.things, *sizes))
    embeddings, things = Embeddings.cat(rows.pop("embeddings")), tuple(rows.pop("things"))
    tensors = {name: torch.cat(parts).to(model.device) for name, parts in rows.items()}
    return Mistakes(embeddings=embeddings, things=things, **tensors)


def click(logits: np.ndarray, target: np.ndarray, rng: np.random.Generator) -> tuple[float, float, bool] | None:
    """x, y on the low-res grid and whether it is inside: near the middle of the largest error; None without one.

    logits (l, l), target (l, l) in [0, 1]. A person does not hit the very middle, so the point is drawn among those
    that lie at least half as deep in the error.
    """
    wrong = (logits > 0) != (target > 0.5)
    number, labels, stats, _ = cv2.connectedComponentsWithStats(wrong.astype(np.uint8))
    if number == 1:
        return None
    largest = labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()
    depth = cv2.distanceTransform(np.pad(largest, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    rows, columns = np.nonzero(depth >= 0.5 * depth.max())
    k = rng.integers(len(rows))
    y, x = rows[k], columns[k]
    return x + rng.random(), y + rng.random(), bool(target[y, x] > 0.5)


def rounds(
    predictor: Predictor, known: Mistakes, chosen: Tensor, targets: Tensor, clicks: int, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Low-res logits and predicted IoU of the chosen masks after the first click, the second, ...

    A mask without an error is clicked where it is right.
    """
    sam = predictor.model.sam
    scale = sam.size.image_size / sam.size.low_res
    embeddings = known.embeddings.index_select(known.picture_of[chosen])
    before = known.before[chosen]
    points: list[list[tuple[float, float]]] = [[] for _ in chosen]
    inside: list[list[bool]] = [[] for _ in chosen]
    for _ in range(clicks):
        for k, (logits, target) in enumerate(zip(before.cpu().numpy(), targets.cpu().numpy(), strict=True)):
            at = click(logits, target, rng) or click(-np.ones_like(logits), target, rng) or (0.5, 0.5, False)
            points[k].append((at[0] * scale, at[1] * scale))
            inside[k].append(at[2])
        given = Clicks(points=before.new_tensor(points), inside=torch.tensor(inside, device=before.device))
        decoder = predictor.model.click_decoder
        low_res, scores = correct_masks(sam, embeddings, known.prompts[chosen], given, before, decoder)
        yield low_res.float(), scores
        before = low_res.detach().float()


def retarget(known: Mistakes, chosen: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """(S, l, l) targets, some of them another thing of the picture."""
    targets = known.targets[chosen].clone()
    for k, index in enumerate(chosen.tolist()):
        things = known.things[int(known.picture_of[index])]
        if len(things) and rng.random() < share:
            targets[k] = things[int(rng.integers(len(things)))]
    return targets


@torch.inference_mode()
def measure(predictor: Predictor, known: Mistakes, args: ClickArgs, share: float) -> list[float]:
    """Mean IoU on the low-res grid without a click, after the first, the second, ..."""
    rng = np.random.default_rng(args.seed)
    overlaps: list[list[Tensor]] = [[] for _ in range(args.clicks + 1)]
    for chosen in torch.arange(len(known)).split(64):
        targets = retarget(known, chosen, share, rng)
        after = [low_res for low_res, _ in rounds(predictor, known, chosen, targets, args.clicks, rng)]
        for number, logits in enumerate([known.before[chosen], *after]):
            overlaps[number].append(overlap(logits, targets))
    return [torch.cat(parts).mean().item() for parts in overlaps]


def overlap(logits: Tensor, targets: Tensor) -> Tensor:
    """IoU of each mask (S,); 1 where both are empty."""
    said, wanted = logits > 0, targets > 0.5
    union = (said | wanted).flatten(1).sum(1)
    return torch.where(union > 0, (said & wanted).flatten(1).sum(1) / union.clamp_min(1), 1.0)


def prepare(model: LisaModel) -> list[Parameter]:
    """What learns: the embeddings of points and of masks, and a mask decoder for clicks; the rest is frozen."""
    encoder = model.sam.prompt_encoder
    model.requires_grad_(False)
    if model.click_decoder is None:
        model.config.click_decoder = True
        model.click_decoder = copy.deepcopy(model.sam.mask_decoder)
        with torch.no_grad():  # a mask prompt begins as the prompt for no mask, which the decoder knows
            encoder.mask_downscaling[-1].weight.zero_()
            encoder.mask_downscaling[-1].bias.copy_(encoder.no_mask_embed.weight[0])
    learning = [*model.click_decoder.parameters(), *encoder.mask_downscaling.parameters()]
    learning += [encoder.not_a_point_embed.weight, *(encoder.point_embeddings[k].weight for k in (0, 1))]
    for parameter in learning:
        parameter.requires_grad_(True)
    return learning


def learn(predictor: Predictor, known: Mistakes, args: ClickArgs) -> None:
    """Train what `prepare` names."""
    learning = prepare(predictor.model)
    optimizer = torch.optim.AdamW(learning, lr=args.lr, weight_decay=0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, args.steps, pct_start=0.1)
    rng = np.random.default_rng(args.seed)
    losses: deque[float] = deque(maxlen=100)
    with progress_bar(TextColumn("loss {task.fields[loss]:.3f}")) as bar:
        task = bar.add_task("learning", total=args.steps, loss=float("nan"))
        for _ in range(args.steps):
            chosen = torch.from_numpy(rng.integers(len(known), size=args.batch_size))
            targets = retarget(known, chosen, args.other_targets, rng)
            counts = known.counts[known.picture_of[chosen]]
            after = rounds(predictor, known, chosen, targets, args.clicks, rng)
            loss = sum(loss_of(logits, scores, targets, counts) for logits, scores in after) / args.clicks
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learning, 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            bar.update(task, advance=1, loss=sum(losses) / len(losses))


def loss_of(logits: Tensor, scores: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
    """The loss of masks (S, l, l) and of their predicted IoU (S,), weighed as in training."""
    masks = 2 * mask_bce_loss(logits, targets, counts) + dice_loss(logits, targets, counts)
    return (masks + 0.1 * iou_score_loss(scores, logits, targets, counts)).mean()


def main(argv: list[str] | None = None) -> list[float]:
    """Flags -> a model that understands clicks; returns the IoU before any click, after the first, ..."""
    args = tyro.cli(ClickArgs, args=argv, description=__doc__)
    check_flags(args)
    torch.manual_seed(args.seed)
    predictor = load(args.model, dtype="fp32")
    known, held_out = (
        collect(predictor, args.dataset_dir, data, args.pictures) for data in (args.train_data, args.val_data)
    )
    for share, words in ((0.0, "of the thing asked for"), (1.0, "of any thing of the picture")):
        print(
            f"IoU {words} after 0, 1, ... clicks, before: {_row(measure(predictor, held_out, args, share))}", flush=True
        )
    learn(predictor, known, args)
    for share, words in ((0.0, "of the thing asked for"), (1.0, "of any thing of the picture")):
        after = measure(predictor, held_out, args, share)
        print(f"IoU {words} after 0, 1, ... clicks, learned: {_row(after)}", flush=True)
    save(predictor.model, predictor.processor, args.out, args.dtype)
    return after


def check_flags(args: ClickArgs) -> None:
    """Refuse all that can be known to be wrong before the model loads, at once."""
    tree, wrong = open_tree(args.dataset_dir, "", Path())
    problems = [*number_problems(args), *wrong]
    problems += validation_problems("--train_data", tree, [args.train_data])
    problems += validation_problems("--val_data", tree, [args.val_data])
    if args.out.is_file():
        problems.append(f"--out {args.out} is a file; name a folder for the model")
    try:
        find_model(args.model)
    except (ValueError, OSError) as error:
        problems.append(str(error))
    refuse(problems)


def _row(values: list[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


if __name__ == "__main__":
    exit_with_sentence(main)
