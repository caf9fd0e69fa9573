"""The memorisation score of an image by the number of images that the models are trained on, at equal epochs.

The images of a fit are the first of a permutation that depends on the seed, in the order of the data: those of a
smaller fit are among those of every larger one, in other rows, and are found by their index.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from lib.measures.axes import PerSample
from lib.measures.intervals import Estimate, paired, share, with_left_out
from lib.measures.statistics import rank_correlation
from lib.models.data import Dataset
from lib.protocols import kfold, null


class Measured(NamedTuple):
    """The scores of the images of one fit, after some epoch."""

    index: Int64[Tensor, " n"]
    """which training images of the data set, ascending"""
    values: dict[str, PerSample]
    """by the names of :class:`lib.measures.memorization.Scores`, and the ``spread`` of log p(x) between models; nats"""
    without: list["Measured"]
    """the same with each repeat left out in turn"""


def fit(
    spec: kfold.KFold, sizes: Sequence[int], repeats: int, dataset: Dataset, device: torch.device, *, executor: Executor
) -> dict[int, kfold.CrossValidation]:
    """The models of every number of training images, fitted or from the cache, in ascending order; zero means all.

    Args:
        spec: the specification of the fits, whose number of images is replaced.
        sizes: the numbers of images.
        repeats: the repeats of each, with other folds and other initial weights.
        dataset: the images.
        device: the device to fit on.
        executor: where repeats are fitted side by side.

    Raises:
        ValueError: more images than there are, or fewer than two different numbers of them.
    """
    specs = {len(one.index(len(dataset.train), dataset.name)): one for one in (replace(spec, images=n) for n in sizes)}
    if len(specs) < 2:
        raise ValueError(f"two different sizes are needed (0: all) for {dataset.name}, got {list(sizes)}")
    found = {n: kfold.fit(specs[n], [spec.rate], repeats, dataset, device, executor=executor) for n in sorted(specs)}
    return {n: models for n, by_rate in found.items() for models in by_rate.values()}


def seen(spec: kfold.KFold, images: int) -> float:
    """How often a model sees each of its training images, on average: batches are whole, so not once in every epoch."""
    part = images * (spec.folds - 1) // spec.folds
    return kfold.optimiser_steps(spec, images) * min(spec.batch, part) / part


def measure(fits: kfold.CrossValidation, dataset: Dataset) -> dict[int, Measured]:
    """The scores after every epoch that was evaluated, by the optimiser steps until then, ascending.

    Args:
        fits: the models of one number of images.
        dataset: the images that they were fitted on, of which the index is.
    """
    index = fits.spec.index(len(dataset.train), dataset.name)
    steps = [kfold.optimiser_steps(replace(fits.spec, epochs=epoch), len(index)) for epoch in fits.scored]
    repeats = (null.without(fits, repeat) for repeat in range(len(fits.held_out)))
    by_epoch = zip(*map(_values, (fits, *repeats)), strict=True)
    return {at: _measured(index, *values) for at, values in zip(steps, by_epoch, strict=True)}


def _values(fits: kfold.CrossValidation) -> list[dict[str, PerSample]]:
    """The columns after every epoch, of the images that were evaluated, which are the first."""
    inside = (kfold.sides(log_p[None], fits.held_out)[0] for log_p in fits.log_p)
    scores = kfold.scores_by_epoch(fits, rng=kfold.source(fits.spec.seed, kfold.NULL))
    spreads = (null.spread(log_p[:, : len(s.score)]) for log_p, s in zip(inside, scores, strict=True))
    return [{**s._asdict(), "spread": spread} for s, spread in zip(scores, spreads, strict=True)]


def _measured(index: Tensor, values: dict[str, PerSample], *without: dict[str, PerSample]) -> Measured:
    some = index[: len(values["score"])]
    return Measured(some, values, [Measured(some, left_out, []) for left_out in without])


def of_the_same(many: Measured, few: Measured) -> Measured:
    """The numbers of a larger fit, of those images alone that a smaller one has.

    Raises:
        ValueError: the larger fit lacks some of them (counted).
    """
    rows = torch.isin(many.index, few.index).nonzero()[:, 0]
    if len(rows) < len(few.index):
        raise ValueError(f"{len(few.index) - len(rows)} of the {len(few.index)} images are not in the larger fit")
    without = [of_the_same(one, few) for one in many.without]
    return Measured(few.index, {name: column[rows] for name, column in many.values.items()}, without)


def excess(matched: np.ndarray, without: np.ndarray, axis: int = -1) -> np.ndarray | np.floating:
    """The median of the matched score less that of its null, as a statistic."""
    return np.median(matched, axis) - np.median(without, axis)


LEVELS: dict[str, tuple[Callable, tuple[str, ...]]] = {
    **{name: (np.median, (name,)) for name in ("score", "balanced", "matched", "null", "spread")},
    "excess": (excess, ("matched", "null")),
}
"""statistics over the images of a fit, each with the columns that it is of; nats"""


def level(measured: Measured, name: str, *, seed: int) -> Estimate:
    """One of :data:`LEVELS` with its interval over images and models.

    Args:
        measured: the scores of a fit.
        name: which of them.
        seed: seed of the bootstrap over images.
    """
    statistic, columns = LEVELS[name]
    return _over_both(statistic, columns, measured, seed=seed)


def change(few: Measured, many: Measured, name: str, *, seed: int) -> Estimate:
    """By how much one of :data:`LEVELS` is larger at many images than at few, of the images of the few.

    Args:
        few: the scores of the smaller fit.
        many: those of the larger one.
        name: which of them.
        seed: seed of the bootstrap over images, each of which keeps its scores at either size.
    """
    statistic, columns = LEVELS[name]
    return _over_both(partial(_rise, statistic), columns, few, of_the_same(many, few), seed=seed)


def agreement(few: Measured, many: Measured, *, seed: int) -> Estimate:
    """The rank correlation of the scores of the same images in two fits; arguments as those of :func:`change`."""
    found = _over_both(rank_correlation, ("score",), few, of_the_same(many, few), seed=seed)
    return found.within(-1.0, 1.0)


def beyond(measured: Measured) -> Estimate:
    """The share of images with a balanced score beyond the .95 quantile of its null, with an interval over both.

    The quantile is taken as it is: .05 are beyond it without memorisation.
    """

    def found(part: Measured) -> Tensor:
        return part.values["balanced_matched"] > part.values["balanced_null"].quantile(0.95)

    over_images = share(int(found(measured).sum()), len(measured.index))
    left_out = [float(found(part).double().mean()) for part in measured.without]
    return with_left_out(over_images, left_out).within(0.0, 1.0)


def _rise(statistic: Callable, *columns: np.ndarray, axis: int = -1) -> np.ndarray | np.floating:
    half = len(columns) // 2
    return statistic(*columns[half:], axis=axis) - statistic(*columns[:half], axis=axis)


def _over_both(statistic: Callable, names: Sequence[str], *measured: Measured, seed: int) -> Estimate:
    """A statistic over images; its interval is widened by what it is with each repeat left out of all fits."""

    def columns(parts: Sequence[Measured]) -> list[PerSample]:
        return [part.values[name] for part in parts for name in names]

    left_out = zip(*(one.without for one in measured), strict=True)
    numbers = [float(statistic(*(column.double().numpy() for column in columns(parts)))) for parts in left_out]
    return with_left_out(paired(statistic, *columns(measured), seed=seed), numbers)
