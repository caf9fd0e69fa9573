"""Overfitting in parts of the image, which a median over whole images might not show."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from lib.measures.axes import Images
from lib.measures.intervals import Estimate
from lib.measures.statistics import largest_of_many
from lib.models.generative import GeneratorFit
from lib.protocols.zoo import Search, search

GRID = 4
"""parts along either side of an image"""


class Local(NamedTuple):
    """The gap between training and held-out images in the parts of the image."""

    gaps: Float[np.ndarray, "rows columns"]
    """NaN in a part that is not compared"""
    compared: Bool[np.ndarray, "rows columns"]
    """parts whose median error of held-out images is above a twentieth of the largest; the others, such as corners that
    are black in every image, have hardly an error to compare"""
    chance: Estimate
    """how often chance gives a largest gap of that size among the compared parts"""


def errors(fit: GeneratorFit, images: Images, how: Search) -> Float[Tensor, "batch parts"]:
    """Recovery errors of the parts of images, mean squared errors per pixel, row by row of the grid."""
    differences = fit.generator(search(fit, images, how).z) - images
    return adaptive_avg_pool2d(differences.square().mean(1, keepdim=True), GRID).flatten(1).cpu()


def compare(
    train: Float[Tensor, "train parts"],
    test: Float[Tensor, "test parts"],
    *,
    draws: int = 500,
    rng: np.random.Generator,
) -> Local:
    """The gap of each part, and the chance of so large a gap in any of them.

    A part's gap is measured in its own standard deviation under random exchanges between the sides, lest the noisiest
    part decide; see :func:`lib.measures.statistics.largest_of_many`.

    Args:
        train: errors of the parts of training images, as from :func:`errors`.
        test: the same of held-out images.
        draws: random exchanges.
        rng: the source of random numbers for the exchanges.
    """
    kept = _compared(test).numpy()
    largest = largest_of_many(_gaps, train.numpy()[:, kept], test.numpy()[:, kept], draws=draws, rng=rng)
    gaps = np.full(len(kept), np.nan)
    gaps[kept] = largest.value
    return Local(gaps.reshape(GRID, GRID), kept.reshape(GRID, GRID), largest.p)


def smallest_gap(
    train: Float[Tensor, "train parts"],
    test: Float[Tensor, "test parts"],
    sizes: Sequence[float],
    *,
    rng: np.random.Generator,
) -> float:
    """What :func:`compare` would have seen: the smallest gap in one part of the image that it detects.

    The errors of training images are made smaller in one part, so that the truth is known: in that of median error
    among those that are compared. In a corner that is black in every image, no gap would be seen, whatever its size.

    Args:
        train: errors of the parts of training images.
        test: the same of held-out images.
        sizes: gaps that are planted, ascending.
        rng: the source of random numbers for the exchanges.

    Returns:
        The first gap at which the chance is below 1 %; infinity where it is at none.
    """
    medians, kept = test.median(0).values, _compared(test).nonzero()[:, 0]
    part = int(kept[medians[kept].argsort()[len(kept) // 2]])
    for size in sizes:
        planted = train.clone()
        planted[:, part] *= (1 - size) * medians[part] / train[:, part].median()
        if compare(planted, test, rng=rng).chance.value < 0.01:
            return float(size)
    return math.inf


def _compared(test: Float[Tensor, "test parts"]) -> Bool[Tensor, " parts"]:
    medians = test.quantile(0.5, 0)
    return medians > 0.05 * medians.max()


def _gaps(
    train: Float[np.ndarray, "train parts"], test: Float[np.ndarray, "test parts"]
) -> Float[np.ndarray, " parts"]:
    return 1 - np.median(train, 0) / np.median(test, 0)
