"""Are highly memorised images merely improbable ones, or ones that the models' samples come close to?

Source: van den Burg & Williams 2021, section 4.3, figures 3 and 10 to 13.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lib.measures.axes import PerSample

Mask = Bool[Tensor, " batch"]


class Bins(NamedTuple):
    """Images in bins of log probability."""

    centres: Float[np.ndarray, " bins"]
    """nats"""
    width: float
    """of a bin, nats"""
    regular: Int[np.ndarray, " bins"]
    """images that are not highly memorised"""
    high: Int[np.ndarray, " bins"]
    """images that are"""
    of_image: Int[np.ndarray, " n"]
    """the bin of each image"""

    @property
    def share(self) -> Float[np.ndarray, " bins"]:
        """Share of the bin's images that are highly memorised; zero in an empty bin."""
        total = self.regular + self.high
        return np.divide(self.high, total, out=np.zeros(len(total)), where=total > 0)

    def examples(self, high: Mask) -> list[tuple[int, int]]:
        """A regular and a highly memorised image (the first of either) from every bin that holds both."""
        both = np.flatnonzero((self.regular > 0) & (self.high > 0))
        marked = high.numpy()
        return [
            tuple(int(np.flatnonzero((self.of_image == index) & mask)[0]) for mask in (~marked, marked))
            for index in both
        ]


def highest(score: PerSample) -> Mask:
    """Which images are highly memorised: the top 5 % of scores, as in the paper."""
    return score >= score.quantile(0.95)


def mean_probability(log_p: Float[Tensor, "models n"]) -> PerSample:
    """The logarithm of the mean probability of each image over models, nats."""
    return log_p.logsumexp(0) - math.log(len(log_p))


def outside_tail(log_p: PerSample, high: Mask) -> Float[Tensor, " marked"]:
    """Of the highly memorised images, 1 for those that are not among the 5 % least probable, 0 for the others.

    Args:
        log_p: log probability of every image.
        high: which images are highly memorised.
    """
    return (log_p > log_p.quantile(0.05))[high].double()


def bins(log_p: PerSample, high: Mask, count: int = 14) -> Bins:
    """How many images of either kind lie where, by log probability.

    Args:
        log_p: log probability of every image.
        high: which images are highly memorised.
        count: number of bins, of equal width.
    """
    edges = np.histogram_bin_edges(log_p.numpy(), count)
    of_image = np.clip(np.digitize(log_p.numpy(), edges) - 1, 0, count - 1)
    regular, marked = (np.bincount(of_image[mask.numpy()], minlength=count) for mask in (~high, high))
    return Bins((edges[:-1] + edges[1:]) / 2, float(edges[1] - edges[0]), regular, marked, of_image)
