r"""Four tests of samples, each a mean over samples of a score that depends on which images are called training images.

Under the hypothesis that the samples were made without either side, every division of the images into sides of these
sizes was equally probable: the statistic of the true division is compared with that of random ones, which is exact
whatever the samples are. A mean over samples is linear in them: samples with copies among them, which controls need by
the hundred, are other weights on scores that are there already.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lib.protocols.audit_lists import Lists
from lib.protocols.copy_tests import THIRD

NAMES = ("nearer to training", "near copies", "C_T", "authenticity")
"""the four tests, in the order of every first axis"""
Divisions = Bool[Tensor, "divisions members"]
Scores = Float[Tensor, "tests divisions pool"]
Statistics = Float[Tensor, "tests divisions trials"]


def divisions(labels: Bool[Tensor, " members"], draws: int, *, rng: np.random.Generator) -> Divisions:
    """The division as it is, and ``draws`` random ones into sides of the same sizes."""
    own = labels.numpy()
    return torch.from_numpy(np.stack([own, *(rng.permutation(own) for _ in range(draws))]))


def scores(divided: Divisions, samples: Lists, members: Lists) -> Scores:
    """The score of every sample in every test under every division, large where it is suspicious.

    In the order of :data:`NAMES`: whether the nearest training image is nearer than the nearest held-out one; whether a
    training image is the nearest of all, and nearer than a third of the distance to the second nearest; the share of
    held-out images that are farther from the training images, see :func:`lib.measures.copying.ct`; and whether the
    sample is not authentic, see :func:`lib.measures.copying.authentic`.

    Args:
        divided: which images count as training images, a row for each division.
        samples: the nearest of all images, of each sample.
        members: the nearest other ones, of each of the images.
    """
    near = (samples.distance[:, 0] < THIRD * samples.distance[:, 1]).float()
    found = torch.empty(len(NAMES), len(divided), len(samples.which), dtype=torch.float32)
    for row, labels in enumerate(divided):
        to_train, closest = samples.first(labels)
        to_held = samples.first(~labels)[0]
        own = members.first(labels)[0]
        found[0, row] = (1 + torch.sign(to_held - to_train).nan_to_num(0)) / 2
        found[1, row] = near * labels[samples.which[:, 0]]
        found[2, row] = share_farther(to_train, own[~labels])
        found[3, row] = (to_train <= own[closest]).float()
    return found


def share_farther(distance: Float[Tensor, " samples"], others: Float[Tensor, " others"]) -> Float[Tensor, " samples"]:
    """The share of others with a larger distance, ties counting half: its mean is :func:`lib.measures.statistics.auc`.

    Example:
        >>> share_farther(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 2.0]))
        tensor([1.0000, 0.2500])
    """
    ordered = others.sort().values
    below, not_above = (torch.searchsorted(ordered, distance, right=right) for right in (False, True))
    return 1 - (below + not_above).to(distance) / (2 * len(ordered))


class Tested(NamedTuple):
    """What the divisions make of one set of samples, or of several (``trials``)."""

    p: Float[np.ndarray, "tests trials"]
    """share of divisions, the true one among them, with a statistic at least as large"""
    joint: Float[np.ndarray, " trials"]
    """the same of the largest of the four, each in its own standard deviation: one p for all tests"""


def ranked(statistics: Statistics, true: Tensor) -> Tested:
    """Compare the statistics of the true division with those of all.

    Args:
        statistics: of each test, division and trial.
        true: which division is the true one, for each trial.
    """
    spread = statistics.std(1, keepdim=True)
    scaled = (statistics - statistics.mean(1, keepdim=True)) / spread
    scaled = torch.where(spread > 1e-9, scaled, -torch.inf)  # what no exchange moves is never the largest
    return Tested(_rank(statistics, true, 1e-6).numpy(), _rank(scaled.amax(0)[None], true, 1e-4)[0].numpy())


def _rank(values: Tensor, true: Tensor, rounding: float) -> Float[Tensor, "tests trials"]:
    own = values.gather(1, true.expand(len(values), 1, -1))
    return (values >= own - rounding).double().mean(1)  # sums of single precision: what differs by less is equal
