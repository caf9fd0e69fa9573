"""Does a Fréchet distance between generated and real images differ for training and held-out images?"""

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from torch import Tensor

from lib.measures.axes import Images
from lib.measures.intervals import Estimate
from lib.measures.recovery import frechet_distance
from lib.measures.statistics import permutation_test


class Frechet(NamedTuple):
    """The distances of generated images to training and to held-out images."""

    distance: float
    """squared Fréchet distance to held-out images, squared units of the features"""
    difference: float
    """(distance to held-out images - distance to training images) / distance to held-out images"""
    chance: Estimate
    """how often the difference is as large when training and held-out images change sides at random"""


def classifier(images: Images, labels: Int64[Tensor, " batch"], *, units: int, seed: int) -> MLPClassifier:
    """A small classifier of images, with one layer of rectified units, trained for at most twelve passes.

    Args:
        images: to train on; best of neither side of a comparison.
        labels: their classes.
        units: hidden units.
        seed: seed of its weights and of the order of images.
    """
    network = MLPClassifier((units,), max_iter=12, early_stopping=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is good enough long before it converges
        return network.fit(images.flatten(1).cpu().numpy(), labels.numpy())


def accuracy(network: MLPClassifier, images: Images, labels: Int64[Tensor, " batch"]) -> float:
    """The share of images that a classifier puts into their class."""
    return network.score(images.flatten(1).cpu().numpy(), labels.numpy())


def hidden_units(network: MLPClassifier, images: Images) -> Float[Tensor, "batch units"]:
    """The values of the hidden units of a classifier: its features of images."""
    below = images.flatten(1).cpu().numpy() @ network.coefs_[0] + network.intercepts_[0]
    return torch.from_numpy(np.maximum(below, 0)).double()


def compare(
    generated: Float[Tensor, "generated features"],
    train: Float[Tensor, "real features"],
    test: Float[Tensor, "real features"],
    *,
    draws: int = 200,
    rng: np.random.Generator,
) -> Frechet:
    """Are generated images nearer to training than to held-out images, and more so than by chance?

    Args:
        generated: features of generated images.
        train: features of training images.
        test: features of as many held-out images.
        draws: random exchanges between training and held-out images.
        rng: the source of random numbers for the exchanges.

    Raises:
        ValueError: a set with no more members than features.
    """

    def nearer(first: Tensor, second: Tensor) -> float:
        return 1 - frechet_distance(generated, first) / frechet_distance(generated, second)

    exchanged = permutation_test(nearer, train, test, draws=draws, rng=rng)
    return Frechet(frechet_distance(generated, test), exchanged.value, exchanged.p)


def smallest_share(
    generated: Float[Tensor, "generated features"],
    train: Float[Tensor, "real features"],
    test: Float[Tensor, "real features"],
    shares: Sequence[float],
    *,
    rng: np.random.Generator,
) -> float:
    """What :func:`compare` would have seen: the smallest share of generated images that, were they copies, it detects.

    Generated images are replaced by the training images of the comparison, so that the truth is known.

    Args:
        generated: features of generated images.
        train: features of training images.
        test: features of as many held-out images.
        shares: of the generated images that are replaced, ascending.
        rng: the source of random numbers for the exchanges.

    Returns:
        The first share at which the chance is below 1 %; infinity where it is at none.
    """
    for share in shares:
        copies = round(share * len(generated))
        planted = torch.cat([train.repeat(-(-copies // len(train)), 1)[:copies], generated[copies:]])
        if compare(planted, train, test, rng=rng).chance.value < 0.01:
            return float(share)
    return math.inf
