"""The training mixture: item i of epoch e is a function of (seed, e, i), on any worker and any rank."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from datasets.own import OwnSeg, open_own
from datasets.reason_seg import open_reason_seg
from datasets.refer_seg import open_refer_seg
from datasets.sample import Dataset, NothingToAskError, Sample, SampleOptions
from datasets.sem_seg import open_sem_seg
from datasets.tree import SEPARATOR, Tree
from datasets.vqa import open_vqa

MOST_DRAWS = 100
"""Pictures without anything to ask for, one after the other, before a dataset is given up."""

FAMILIES: dict[str, Callable[[Tree, str, SampleOptions], Dataset]] = {
    "sem_seg": open_sem_seg,
    "refer_seg": open_refer_seg,
    "vqa": open_vqa,
    "reason_seg": open_reason_seg,
    "own": open_own,
}


@dataclass(frozen=True, kw_only=True)
class MixtureOptions(SampleOptions):
    """What a model is trained on. Lists of names are joined by "||"."""

    dataset: str = "sem_seg||refer_seg||vqa||reason_seg"
    """Families of datasets."""
    sample_rates: str = "9,3,3,1"
    """How often each family is drawn, relative to the others."""
    sem_seg_data: str = "ade20k||cocostuff||pascal_part||paco_lvis||mapillary"
    """Datasets of the sem_seg family, each drawn equally often."""
    refer_seg_data: str = "refclef||refcoco||refcoco+||refcocog"
    """Datasets of the refer_seg family, each drawn equally often."""
    vqa_data: str = "llava_instruct_150k"
    """Files of the vqa family, below llava_dataset, each drawn equally often."""
    reason_seg_data: str = "ReasonSeg|train"
    """Datasets of the reason_seg family with their splits, e.g. "ReasonSeg|train_val"."""
    own_data: str = ""
    """Paths of the user's own data (docs/own-data.md), each drawn equally often."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rates()

    def rates(self) -> dict[str, float]:
        """The probability of each family; the sum is 1."""
        families = self.dataset.split(SEPARATOR)
        try:
            rates = np.array([float(rate) for rate in self.sample_rates.split(",")])
        except ValueError as error:
            raise ValueError(f'sample_rates is {self.sample_rates!r}, but must be like "9,3"') from error
        if len(families) == 1:
            rates = np.ones(1)  # one family needs no rates
        if len(rates) != len(families):
            raise ValueError(f"{len(rates)} sample_rates for {len(families)} families; give one each")
        if not (np.isfinite(rates).all() and (rates >= 0).all() and rates.sum() > 0):
            raise ValueError(f"sample_rates {self.sample_rates!r} must not be negative, and not all zero")
        if unknown := [family for family in families if family not in FAMILIES]:
            raise ValueError(f"no family of datasets is called {unknown[0]!r}; known: {', '.join(FAMILIES)}")
        if len(set(families)) != len(families):
            raise ValueError(f"a family is named twice in {self.dataset!r}")
        return dict(zip(families, (rates / rates.sum()).tolist(), strict=True))

    def names(self, family: str) -> list[str]:
        """The datasets of a family."""
        return getattr(self, f"{family}_data").split(SEPARATOR)


class Mixture:
    """Families by rate, then a dataset of the family and a picture of it, both uniformly."""

    def __init__(
        self, families: list[list[Dataset]], rates: list[float], seed: int, ignored_is_background: bool = False
    ) -> None:
        self._families = families
        self._rates = rates
        self._seed = seed
        self._ignored_is_background = ignored_is_background
        self.readable: Callable[[Sample], Sample] | None = None
        """Makes the texts of official data readable for the model that is trained (see `datasets.texts`)."""

    @property
    def own(self) -> list[OwnSeg]:
        """The datasets of the user's own."""
        return [dataset for family in self._families for dataset in family if isinstance(dataset, OwnSeg)]

    @property
    def is_own(self) -> bool:
        """Whether nothing else is in the mixture."""
        return len(self.own) == sum(map(len, self._families))

    def sample(self, epoch: int, index: int) -> Sample:
        """Item `index` of an epoch; there is no last one."""
        rng = np.random.default_rng((self._seed, epoch, index))
        datasets = self._families[rng.choice(len(self._families), p=self._rates)]
        dataset = datasets[rng.integers(len(datasets))]
        # Texts of own data were checked when the run began.
        sample = _draw(dataset, rng, None if isinstance(dataset, OwnSeg) else self.readable)
        if self._ignored_is_background:
            sample = replace(sample, ignore=np.zeros_like(sample.ignore))
        return sample


def _draw(dataset: Dataset, rng: np.random.Generator, readable: Callable[[Sample], Sample] | None = None) -> Sample:
    """An image of the dataset, drawn again where one holds nothing to ask for, or nothing that the model can read."""
    reason = ""
    for _ in range(MOST_DRAWS):
        try:
            sample = dataset.sample(int(rng.integers(len(dataset))), rng)
            return sample if readable is None else readable(sample)
        except NothingToAskError as error:
            reason = str(error)
    raise ValueError(
        f"{dataset.data}: {MOST_DRAWS} images in a row hold nothing that could be asked for (the last: {reason}); "
        "are its label maps those of this dataset, and is --model_max_length long enough? `python -m datasets.check` "
        "tells"
    )


def open_mixture(place: Path | Tree, options: MixtureOptions, seed: int) -> Mixture:
    """Open every dataset that can be drawn; what is wrong with their files shows here, not while training."""
    if seed < 0:
        raise ValueError(f"the seed is {seed}, but must not be negative")
    tree = Tree.of(place)
    rates = {family: rate for family, rate in options.rates().items() if rate > 0}
    families = [[FAMILIES[f](tree, name, options) for name in options.names(f)] for f in rates]
    return Mixture(families, list(rates.values()), seed, options.ignored_is_background)
