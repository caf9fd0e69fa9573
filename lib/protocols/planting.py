"""Images planted in training sets, a known number of times: what every measure is to find.

Half of the *candidates* are in a model's training set, once or several times, at random for each model; the other half
is not. Around them stands a *background*, the same images once for every model. A *sham* model is fitted on the
background and on other images in place of the candidates: it has seen none of them, so nothing may be found in it.
"""

import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from lib.measures.axes import Images
from lib.models.data import DataError, Dataset

POOLS, COPIES = 0, 1
"""What follows the seed in the identity of numpy's sources: which images play what, and how often each is planted."""

Index = Int64[Tensor, " images"]


class Pools(NamedTuple):
    """Rows of the training images; no row is in two pools."""

    candidates: Int64[Tensor, " candidates"]
    """those whose presence is known"""
    background: Int64[Tensor, " background"]
    """those around them"""
    others: Int64[Tensor, " others"]
    """those that sham models have in place of candidates"""


class Plan(NamedTuple):
    """Which images of a data set are candidates, which are around them, and how often candidates are planted."""

    dataset: Dataset
    doses: Sequence[int]
    """copies of planted images, different and at least one"""
    each: int
    """candidates that a model has of every dose; as many as of all doses together are held out"""
    background: int
    """images around them"""
    seed: int

    @property
    def planted(self) -> int:
        """Candidates in a training set, counted once; as many are not in it."""
        return len(self.doses) * self.each

    def pools(self) -> Pools:
        """Which images play what, at random.

        Raises:
            ValueError: doses that are not different numbers from one on.
            DataError: more images than the data set has.
        """
        if len(set(self.doses)) < len(self.doses) or min(self.doses, default=0) < 1:
            raise ValueError(f"doses must be different and at least 1, got {list(self.doses)}")
        sizes = [2 * self.planted, self.background, self.planted]
        if sum(sizes) > len(self.dataset.train):
            raise DataError(
                f"each={self.each} of {len(self.doses)} doses and background={self.background} need {sum(sizes)} "
                f"training images, {self.dataset.name} has {len(self.dataset.train)}"
            )
        order = torch.from_numpy(np.random.default_rng([self.seed, POOLS]).permutation(len(self.dataset.train)))
        return Pools(*order[: sum(sizes)].split(sizes))

    def candidates(self) -> Images:
        """The images whose presence is known."""
        return self.dataset.train[self.pools().candidates]

    def copies(self, model: int) -> Index:
        """How often each candidate is in the training set of a model; zero is held out. Of a sham, it is nominal.

        Drawn for each model alone, so that over models no image is planted more often than another but by chance.
        """
        dealt = torch.tensor([copies for copies in self.doses for _ in range(self.each)] + [0] * self.planted)
        order = np.random.default_rng([self.seed, COPIES, model]).permutation(len(dealt))
        return dealt[torch.from_numpy(order)]

    def training_set(self, model: int, *, sham: bool = False) -> Dataset:
        """What a model is fitted on: the background, and candidates or, as often, what a sham has in their place.

        Another process loads it again from the plan, not from a list of rows.
        """
        candidates, background, others = self.pools()
        copies = self.copies(model)
        if sham:
            candidates, copies = others, copies[copies > 0]
        rows = torch.cat([background, candidates.repeat_interleave(copies)])
        found = with_repeats(self.dataset, rows)
        load, numbers = self.dataset.again, (list(self.doses), self.each, self.background, self.seed)
        return found._replace(again=load and functools.partial(_again, load, *numbers, model, sham))


def with_repeats(dataset: Dataset, rows: Index) -> Dataset:
    """The same data with these training images alone, some of them several times; nobody can load it again.

    Args:
        dataset: the data.
        rows: of the training images, in any order and with repetitions.
    """
    digest = hashlib.sha256(f"{dataset.digest} rows {rows.tolist()}".encode()).hexdigest()
    return dataset._replace(
        train=dataset.train[rows], train_labels=dataset.train_labels[rows], digest=digest, again=None
    )


def _again(
    load: Callable[[], Dataset], doses: list[int], each: int, background: int, seed: int, model: int, sham: bool
) -> Dataset:
    return Plan(load(), doses, each, background, seed).training_set(model, sham=sham)
