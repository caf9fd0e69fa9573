"""What the memorisation score is where no image matters, and what is left of it beyond that.

Source of the score: van den Burg & Williams 2021, equation 5. What it is read against here is ours.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from lib.measures.axes import PerSample
from lib.measures.intervals import Estimate, estimate, paired, with_left_out
from lib.measures.memorization import Scores, gaussian_null, score, split
from lib.measures.statistics import reliability
from lib.protocols.kfold import ByModel, CrossValidation, Folds

DRAWS = 20_000
"""simulated images for each spread"""


class NormalNull(NamedTuple):
    """The median score of images that no model memorised, by the spread of log p(x) between models."""

    spreads: Sequence[float | int]
    """standard deviations of log p(x) between models, nats, ascending"""
    medians: list[float]
    """of the score at each, nats"""

    def bias(self, spread: float | int) -> float:
        """The median score at a spread, interpolated."""
        return float(PchipInterpolator(self.spreads, self.medians)(spread))

    def needed(self, median: float | int) -> float:
        """The spread at which the median score is so large, interpolated."""
        return float(PchipInterpolator(self.medians, self.spreads)(median))

    def bias_of(self, spread: Estimate) -> Estimate:
        """:meth:`bias` with an interval: it rises with the spread, so its ends are those of the spread."""
        return spread.under(self.bias)


def normal_null(spreads: Sequence[float | int], models_in: int, models_out: int, *, rng: torch.Generator) -> NormalNull:
    """The score by simulation where log p(x) of every model is a draw from one normal distribution.

    Args:
        spreads: standard deviations of log p(x) between models, nats, ascending.
        models_in: models trained with an image; 90 in the paper.
        models_out: models trained without it; 10 in the paper.
        rng: the source of random numbers.
    """
    scores = (gaussian_null(float(spread), models_in, models_out, DRAWS, rng=rng) for spread in spreads)
    return NormalNull(spreads, [float(values.median()) for values in scores])


def quantile(level: float) -> Callable:
    """A quantile as a statistic for :mod:`lib.measures.intervals`."""
    return partial(_quantile, level)


def _quantile(level: float, values: np.ndarray, axis: int = -1) -> np.ndarray | np.floating:
    return np.quantile(values, level, axis)


def spread(log_p: Float[Tensor, "models n"]) -> PerSample:
    """The standard deviation of log p(x) between models, of each image, nats."""
    return log_p.std(0)


def median(values: PerSample, *, seed: int) -> Estimate:
    """A median with its interval over images.

    Args:
        values: one number for each image.
        seed: seed of the bootstrap.
    """
    return estimate(values, np.median, seed=seed)


def median_change(first: PerSample, second: PerSample, *, seed: int) -> Estimate:
    """The median of the first numbers minus that of the second, of the same images.

    Args:
        first: one number for each image.
        second: another for each.
        seed: seed of the bootstrap.
    """
    return paired(_change, first, second, seed=seed)


def _change(first: np.ndarray, second: np.ndarray, axis: int = -1) -> np.ndarray | np.floating:
    return np.median(first, axis) - np.median(second, axis)


def growth(first: Scores, last: Scores, *, seed: int) -> Estimate:
    """Growth of the .95 quantile of the matched score from one epoch to another, beyond that of its null, nats.

    Args:
        first: the scores after the earlier epoch, of all images or the first of them.
        last: the scores after the later one.
        seed: seed of the bootstrap over images.
    """
    return paired(_growth, *_of_the_same(first, last), seed=seed)


def growth_of(first: Scores, last: Scores) -> float:
    """The number of :func:`growth`."""
    return float(_growth(*(values.numpy() for values in _of_the_same(first, last))))


def _of_the_same(first: Scores, last: Scores) -> tuple[PerSample, ...]:
    count = len(first.score)
    return first.matched, first.null, last.matched[:count], last.null[:count]


def _growth(
    first: np.ndarray, first_null: np.ndarray, last: np.ndarray, last_null: np.ndarray, axis: int = -1
) -> np.ndarray | np.floating:
    high = quantile(0.95)
    return (high(last, axis) - high(last_null, axis)) - (high(first, axis) - high(first_null, axis))


def unequal_share(scores: Scores, *, seed: int) -> Estimate:
    """The share of the median score that is gone once both sides have as many models.

    Args:
        scores: the scores after an epoch.
        seed: seed of the bootstrap over images.
    """
    return paired(_lost, scores.score, scores.balanced, seed=seed)


def _lost(full: np.ndarray, balanced: np.ndarray, axis: int = -1) -> np.ndarray | np.floating:
    return 1 - np.median(balanced, axis) / np.median(full, axis)


def beyond_null(scores: Scores) -> float:
    """The share of images with a balanced score beyond the .95 quantile of its null: .05 without memorisation."""
    return float((scores.balanced_matched > scores.balanced_null.quantile(0.95)).double().mean())


def with_repeats(over_images: Estimate, statistic: Callable, *fits: CrossValidation) -> Estimate:
    """An estimate whose interval over images is widened by what other models would change.

    The models come in repeats, each with folds and weights of its own: every repeat is left out in turn, see
    :func:`lib.measures.intervals.with_left_out`.

    Args:
        over_images: the estimate with its interval over images.
        statistic: the same number as a function of the models.
        fits: the models, such as those of two learning rates; a repeat is left out of all.
    """
    repeats = range(len(fits[0].held_out))
    return with_left_out(over_images, [float(statistic(*(without(each, k) for each in fits))) for k in repeats])


def without(fits: CrossValidation, repeat: int) -> CrossValidation:
    """The same models but for those of one repeat."""
    kept = [k for k in range(len(fits.held_out)) if k != repeat]
    return fits._replace(log_p=fits.log_p[:, kept], held_out=fits.held_out[kept])


def halves(log_p: ByModel, held_out: Folds) -> tuple[PerSample, PerSample]:
    """The score from each half of the repeats; with an odd number, the last is not used.

    Args:
        log_p: log p(x) of the final models.
        held_out: which model of a repeat was not trained with the image.

    Raises:
        ValueError: fewer than two repeats.
    """
    half = len(held_out) // 2
    if not half:
        raise ValueError(f"two halves need at least 2 repeats, got {len(held_out)}")
    first, second = (score(*split(log_p[part], held_out[part])) for part in (slice(0, half), slice(half, 2 * half)))
    return first, second


def reliability_by_repeats(log_p: ByModel, held_out: Folds, repeats: Sequence[int], *, seed: int) -> list[Estimate]:
    """How well the score would agree with itself from so many repeats, from the correlation of two halves.

    Args:
        log_p: log p(x) of the final models.
        held_out: which model of a repeat was not trained with the image.
        repeats: numbers of repeats; a half of those that are there is measured, others are projected.
        seed: seed of the bootstrap over images.
    """
    pair, half = halves(log_p, held_out), len(held_out) // 2
    return [reliability(*pair, count / half, seed=seed) for count in repeats]
