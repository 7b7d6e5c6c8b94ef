"""Phrase grounding: teach both image encoders to see before the language model has learned to speak.

Two stages come before the answers:

- "vision": the mean of the image tokens on a thing, read by the language model's own head, says the words of its name
  ("red car at the left"), so that the language model is shown pictures in the words it knows; so does the mean of SAM's
  image embedding, which else sees colours long before it tells a mushroom from a car;
- "grounding": the questions and answers as they are, read by the language model without the picture. Their words
  prompt the mask decoder, and SAM's image embedding answers the prompt at every place (the dense loss of
  `lisa.objective`). What words alone can tell is learned here, at two thirds of the cost: to speak, to carry "red car"
  from the question to [SEG], that a boat floats.

While it answers, the language model is also taught where to look: each of its states on the way to a [SEG] is to find
the target among the image tokens (`looking_loss`).

A released LISA stands on pretrained CLIP and SAM; a model that starts from nothing needs this stage instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from lisa.tokenization import IGNORE_INDEX

if TYPE_CHECKING:
    from lisa.packing import Rows


def token_of_thing(image_tokens: Tensor, coverage: Tensor) -> Tensor:
    """Mean of the image tokens on each thing, (M, D): image_tokens (M, P, D), weighed by coverage (M, P).

    A single token sees a part; what the parts are evidence for adds up in their mean.
    """
    return torch.einsum("mp,mpd->md", _shares(coverage).to(image_tokens.dtype), image_tokens)


def word_rarity(words: Tensor, real: Tensor) -> Tensor:
    """Inverse document frequency of each word among the M names: (M, T), 0 at padding (Sparck Jones 1972).

    words (M, T) ids; real (M, T) is false at padding. "car" tells more than "the".
    """
    _, kind = torch.unique(words, return_inverse=True)
    holds = torch.zeros(len(words), words.numel(), device=words.device)
    holds.scatter_reduce_(1, kind, real.float(), "amax")
    rarity = torch.log((1 + len(words)) / holds.sum(0).clamp_min(1))
    return rarity[kind] * real


def naming_loss(log_probabilities: Tensor, words: Tensor, weights: Tensor) -> Tensor:
    """Cross entropy of a name's words at its thing, weighted mean over words, per name: (M,).

    log_probabilities (M, V) of the words at each thing; words, weights (M, T).
    """
    said = log_probabilities.gather(1, words)
    return -(said * weights).sum(1) / weights.sum(1).clamp_min(1e-6)


def states_on_the_way(rows: Rows, seg_token_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """Row, column and mask (N,) of every state that predicts a word of an answer up to a [SEG], this one included.

    The mask is that of the next [SEG] of the same conversation, counted in reading order.
    """
    is_seg = rows.labels == seg_token_id
    next_seg = (is_seg.flatten().cumsum(0) - is_seg.flatten().long()).view_as(is_seg)
    row, column = (rows.labels[:, 1:] != IGNORE_INDEX).nonzero(as_tuple=True)
    mask = next_seg[row, column + 1]
    seg_row, seg_column = is_seg.nonzero(as_tuple=True)
    # A place after all of them, for words that no [SEG] follows.
    seg_row, segment = (F.pad(of_seg, (0, 1), value=-1) for of_seg in (seg_row, rows.segments[seg_row, seg_column]))
    leads = (seg_row[mask] == row) & (segment[mask] == rows.segments[row, column + 1])
    return row[leads], column[leads], mask[leads]


def looking_loss(scores: Tensor, coverage: Tensor) -> Tensor:
    """Kullback-Leibler divergence from where the target is to where a state looks, per state: (N,).

    scores (N, P) logits over the image tokens, the lowest number where there is none; coverage (N, P) of the state's
    target. 0 where no token is covered.
    """
    return F.kl_div(scores.log_softmax(1), _shares(coverage), reduction="none").sum(1)


def _shares(coverage: Tensor) -> Tensor:
    """Coverage (N, P) of each thing, scaled to sum 1; 0 where nothing is covered."""
    return coverage / coverage.sum(1, keepdim=True).clamp_min(1e-6)
