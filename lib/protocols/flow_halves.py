"""Two flows of disjoint sets of images, and the images that both make of the same noise (Kadkhodaie et al. 2024)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lib.measures.axes import PerSample
from lib.measures.intervals import Estimate, mean_of_few
from lib.measures.nearest import nearest
from lib.models.data import Dataset
from lib.models.flows import FlowFit
from lib.protocols.flow_sizes import How, Points, emitted, training


class Pair(NamedTuple):
    """What two models make of the same noise, distances in output units."""

    first: Points
    second: Points
    apart: PerSample
    """distance of the two images"""
    own: PerSample
    """distance of an image to the nearest training image of its model, mean of the two"""
    exchanged: PerSample
    """distance of the two images where the second model has other noise: what similarity there is without the noise"""


def pair(first: Points, second: Points, trainings: Sequence[Points]) -> Pair:
    """Compare the samples of two models from the same noise.

    Args:
        first: samples of one model.
        second: samples of the other from the same noise, row by row.
        trainings: the training images of both.

    Raises:
        ValueError: the training sets share an image, or the samples are not as many.
    """
    if first.shape != second.shape:
        raise ValueError(f"samples are compared row by row, got {list(first.shape)} and {list(second.shape)}")
    shared = int((nearest(trainings[0], trainings[1], 1)[0] == 0).sum())
    if shared:
        raise ValueError(f"{shared} training images of the first model are among those of the second")
    own = [nearest(made, train, 1)[0][:, 0] for made, train in zip((first, second), trainings, strict=True)]
    return Pair(first, second, _apart(first, second), sum(own) / 2, _apart(first, second.roll(1, 0)))


def of_fits(fits: Sequence[FlowFit], sides: Sequence[Dataset], how: How) -> Pair:
    """The pair of two fits, each of its own half of the images, with noise that belongs to the first one's seed."""
    trainings = [training(fitted, images) for fitted, images in zip(fits, sides, strict=True)]
    noise = how._replace(seed=fits[0].spec.seed)
    made = [emitted(fitted.model, train, noise) for fitted, train in zip(fits, trainings, strict=True)]
    return pair(*made, trainings)


class Agreement(NamedTuple):
    """What pairs of every size say, with intervals over pairs."""

    apart: list[Estimate]
    """mean distance of the images of the same noise"""
    own: list[Estimate]
    """to the nearest training images"""
    exchanged: list[Estimate]
    """of the images of different noises"""
    nearer: list[Estimate]
    """:func:`nearer_to_each_other`"""
    relative: list[Estimate]
    """:func:`relative`"""


def agreement(sizes: Sequence[Sequence[Pair]]) -> Agreement:
    """Means over the pairs of each size."""
    statistics = [
        lambda found: float(found.apart.mean()),
        lambda found: float(found.own.mean()),
        lambda found: float(found.exchanged.mean()),
        nearer_to_each_other,
        relative,
    ]
    return Agreement(*([mean_of_few(torch.tensor([of(p) for p in pairs])) for pairs in sizes] for of in statistics))


def change(sizes: Sequence[Sequence[Pair]]) -> Estimate:
    """:func:`nearer_to_each_other` at the last size less that at the first, pairs of one seed together."""
    ends = zip(sizes[-1], sizes[0], strict=True)
    return mean_of_few(torch.tensor([nearer_to_each_other(a) - nearer_to_each_other(b) for a, b in ends]))


def _apart(first: Tensor, second: Tensor) -> PerSample:
    return (first - second).norm(dim=1)


def nearer_to_each_other(found: Pair) -> float:
    """Share of noises whose two images are nearer to each other than to training images of their models."""
    return float((found.apart < found.own).double().mean())


def relative(found: Pair) -> float:
    """Mean distance of the two images of a noise over that of images of different noises: 1 if the noise is nothing."""
    return float(found.apart.mean() / found.exchanged.mean())
