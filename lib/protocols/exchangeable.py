"""Are training and held-out images exchangeable? If they differ without a model, so does what is measured of one.

A classifier two-sample test: a linear classifier is asked to tell the two sides apart from images that it was not
fitted on. Its features are principal components of the pixels, their squares (sides of the same mean may differ in
spread), the mean and the standard deviation of an image, and its mean absolute step between neighbouring pixels (two
cameras, or two ways of compressing). The classifier is least squares on the labels with a small ridge, Fisher's
discriminant. In closed form its scores are linear in the labels, so that it can be fitted anew, in all folds, after
every exchange of images between the sides. Hence the p-value is exact: neither features nor folds know the labels.

That nothing was found is no proof: what could have been found at these numbers of images is said beside it.

Images that come in groups, such as the digits of a writer, differ between sides that were divided by groups: official
parts of data sets often do. The training digits of MNIST do so even among themselves, in the order of their file.

Source: Lopez-Paz & Oquab 2017 (classifier two-sample tests); Kim, Ramdas, Singh & Wasserman 2021 (by permutation).
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from sklearn.decomposition import PCA
from torch import Tensor

from lib.measures.intervals import Estimate, difference, number
from lib.measures.statistics import Permutation, auc, permutation_test

LEVEL = 0.01
"""of the test: one pair of exchangeable sides in a hundred is said to differ"""

COMPONENTS = 20
"""principal components at most; never more than one for ten images"""

RIDGE = 1.0
"""in units of a standardised feature's variance, per image of a fold"""


class Sides(NamedTuple):
    """How training and held-out images differ without any model."""

    auc: Estimate
    """probability that a training image gets a higher score than a held-out one, from a classifier that has seen
    neither; 0.5 is chance. The interval is over images, for the classifiers as they were fitted"""
    p: float
    """exact p-value of the AUC, by exchanging images between the sides"""
    noticed: float
    """the AUC from which on sides would have been said to differ"""
    brightness: Estimate
    """mean of training images minus that of held-out ones, in units of the pixels"""
    contrast: Estimate
    """the same of the standard deviation within an image"""
    sizes: tuple[int, int]
    """training and held-out images that were compared"""
    differ: bool
    """the p-value is below the level"""
    notes: tuple[str, ...]
    """a sentence each, for the first screen"""


def sides(
    train: Float[Tensor, "train channels height width"],
    held_out: Float[Tensor, "held_out _ _ _"],
    *,
    rng: np.random.Generator,
    draws: int = 999,
    folds: int = 5,
    maximum: int = 2000,
) -> Sides:
    """Test whether a classifier tells training from held-out images.

    Args:
        train: training images.
        held_out: held-out images, in the same units.
        rng: the source of random numbers, for which images are compared, folds, and exchanges.
        draws: exchanges.
        folds: parts, each of which is classified by what was fitted on the others.
        maximum: images of a side that are compared at most.

    Raises:
        ValueError: fewer than 20 images on a side, images of different shapes, or not finite.
    """
    if train.shape[1:] != held_out.shape[1:]:
        raise ValueError(f"training images are {list(train.shape[1:])}, held-out images {list(held_out.shape[1:])}")
    if min(len(train), len(held_out)) < 20:
        raise ValueError(f"at least 20 images a side are needed to compare them, got {len(train)} and {len(held_out)}")
    first, second = (_some(side, maximum, rng) for side in (train, held_out))
    bad = sum(int((~side.flatten(1).isfinite().all(1)).sum()) for side in (first, second))
    if bad:
        raise ValueError(f"{bad} of {len(first) + len(second)} images are not finite")
    test, *scores = separation(first, second, rng=rng, draws=draws, folds=folds)
    seed = int(rng.integers(2**31))
    area = difference(*scores, auc, seed=seed).within(0.0, 1.0)
    brightness = difference(*(side.flatten(1).mean(1) for side in (first, second)), seed=seed)
    contrast = difference(*(side.flatten(1).std(1, correction=0) for side in (first, second)), seed=seed)
    noticed = float(np.quantile(test.null, 1 - LEVEL, method="higher"))
    differ = test.p.value <= LEVEL
    found = Sides(area, test.p.value, noticed, brightness, contrast, (len(first), len(second)), differ, ())
    return found._replace(notes=_notes(found))


def separation(
    first: Float[Tensor, "first *image"],
    second: Float[Tensor, "second *image"],
    *,
    rng: np.random.Generator,
    draws: int,
    folds: int = 5,
) -> tuple[Permutation, Float[Tensor, " first"], Float[Tensor, " second"]]:
    """How well a classifier separates two sides, with the AUC after every exchange, and the scores of either side.

    Args:
        first: images of one side.
        second: those of the other.
        rng: the source of random numbers for folds and exchanges.
        draws: exchanges.
        folds: parts, each of which is classified by what was fitted on the others.
    """
    scores = _Scores(_features(torch.cat([first, second]).cpu()), folds, rng)
    rows = np.arange(len(first) + len(second))
    mine, others = rows[: len(first)], rows[len(first) :]
    test = permutation_test(scores.separation, mine, others, draws=draws, rng=rng)
    own = torch.from_numpy(scores(mine))
    return test, own[: len(first)], own[len(first) :]


class _Scores:
    """Out-of-fold scores of every image for any division into sides: linear in the labels, so made once."""

    def __init__(self, features: Float[np.ndarray, "images features"], folds: int, rng: np.random.Generator) -> None:
        self.n = len(features)
        self.parts = []
        for test in np.array_split(rng.permutation(self.n), folds):
            others = np.setdiff1d(np.arange(self.n), test)
            mean, scale = features[others].mean(0), features[others].std(0)
            x, new = ((features[rows] - mean) / np.where(scale > 0, scale, 1) for rows in (others, test))
            gram = x.T @ x + RIDGE * np.eye(x.shape[1])
            self.parts.append((test, others, new, np.linalg.solve(gram, x.T)))

    def __call__(self, first: np.ndarray) -> Float[np.ndarray, " images"]:
        """The scores, high for images like those of the first side."""
        labels, scores = np.zeros(self.n), np.empty(self.n)
        labels[first] = 1
        for test, others, new, solve in self.parts:
            scores[test] = new @ (solve @ labels[others])  # the features are centred: no intercept enters
        return scores

    def separation(self, first: np.ndarray, second: np.ndarray) -> float:
        scores = self(first)
        return float(auc(scores[first], scores[second]))


def _features(images: Tensor) -> Float[np.ndarray, "images features"]:
    flat = images.flatten(1)
    count = max(1, min(COMPONENTS, len(flat) // 10, flat.shape[1]))
    pca = PCA(count, svd_solver="randomized", random_state=0)  # a fixed start: the same for the same images
    components = torch.from_numpy(pca.fit_transform(flat.numpy()))
    steps = [images.diff(dim=axis).abs().flatten(1).mean(1) for axis in (2, 3) if images.shape[axis] > 1]
    summaries = torch.stack([flat.mean(1), flat.std(1, correction=0), *steps], 1)
    return torch.cat([components, components.square(), summaries], 1).double().numpy()


def _some(images: Tensor, maximum: int, rng: np.random.Generator) -> Tensor:
    if len(images) <= maximum:
        return images
    return images[torch.from_numpy(np.sort(rng.permutation(len(images))[:maximum])).to(images.device)]


def _notes(found: Sides) -> tuple[str, ...]:
    compared = f"{found.sizes[0]:,} training and {found.sizes[1]:,} held-out images"
    if not found.differ:
        return (
            f"{compared} cannot be told apart by a classifier without any model (AUC {found.auc}, "
            f"p = {number(found.p)}); an AUC of {number(found.noticed)} or more would have been noticed",
        )
    told = (
        f"{compared} differ without any model: a classifier tells them apart (AUC {found.auc}, p = {number(found.p)}); "
        "what a model prefers among them may be this difference, so only what exceeds it in real images counts"
    )
    means = {"brightness": found.brightness, "contrast": found.contrast}
    return told, *(f"their mean {name} differs by {gap}" for name, gap in means.items() if gap.low > 0 or gap.high < 0)
