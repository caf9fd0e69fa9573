"""What the public code of the memorisation score computes, replayed beside what the paper's text says.

Each difference has a function of its own, so that it can be checked, and mended, alone.

Source: van den Burg & Williams 2021, equations 5 and 6, and the code published with it.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lib.measures.axes import PerSample
from lib.measures.memorization import Scores, nearest_neighbour_ratio, scores, split
from lib.measures.statistics import rank_correlation
from lib.protocols import null
from lib.protocols.evidence import Asked

BATCH = 256
"""images whose distances are computed together"""
HIGH = 0.95
"""nats above which a score is called high"""


class FirstRow(NamedTuple):
    """The rank correlation of score and ratio where many images share a ratio; without an interval for that reason."""

    correlation: float
    """NaN if all images share one ratio"""
    distinct: int
    """different values of the ratio"""


class Pixels(NamedTuple):
    """What the models say if they are asked in one way about the pixels of an image."""

    spread: PerSample
    """standard deviation of log p(x) between the models with the image, nats"""
    scores: Scores


def first_row_ratio(
    x: Float[Tensor, "batch *image"], validation: Float[Tensor, "others *image"], samples: Float[Tensor, "made *image"]
) -> PerSample:
    """The nearest-neighbour ratio of the first image of each batch, which stands for all images of the batch.

    Args:
        x: training images.
        validation: images that the model was not trained with.
        samples: as many images that the model made.
    """
    first = nearest_neighbour_ratio(x[::BATCH], validation, samples)
    return first.repeat_interleave(BATCH)[: len(x)]


def first_row_correlation(score: PerSample, ratio: PerSample) -> FirstRow:
    """The rank correlation of the score with :func:`first_row_ratio`."""
    distinct = len(ratio.unique())
    correlation = float(rank_correlation(score.numpy(), ratio.numpy())) if distinct > 1 else float("nan")
    return FirstRow(correlation, distinct)


def called_high(score: PerSample) -> Bool[Tensor, " batch"]:
    """Which images are called highly memorised: those with more than .95 nats, not those above the .95 quantile."""
    return score > HIGH


def judge(asked: Asked, *, rng: torch.Generator) -> Pixels:
    """The spread between models and the scores, of estimates with pixels drawn for every model or the same for all.

    Args:
        asked: the estimates.
        rng: the source of random numbers for the null; the same for both, so that they differ in the pixels alone.
    """
    inside, _ = split(asked.log_p, asked.held_out)
    return Pixels(null.spread(inside), scores(asked.log_p, asked.held_out, rng=rng))
