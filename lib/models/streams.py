"""The streams of random numbers: what a seed is for.

A seed is made of a specification's seed, the number of a stream and an index, such as a step. Two streams of a family
have different numbers; a number that was given is neither changed nor used again. The key of a fit holds the numbers
of its family, so streams of another family may be added here without discarding fits.
"""

from enum import IntEnum, unique


class ConvolutionalStream(IntEnum):
    """None: the initial weights belong to the seed itself, a step to the seed and its number."""


@unique
class KFoldStream(IntEnum):
    """Of (seed, stream, ...); the folds belong to (seed, repeat)."""

    WEIGHTS = 1
    BATCHES = 2
    PIXELS = 3
    LOSS = 4
    EVIDENCE = 5


@unique
class GenerativeStream(IntEnum):
    """Of (stream, seed, ...)."""

    WEIGHTS = 1
    STEPS = 2


@unique
class StochasticStream(IntEnum):
    """Of (stream, seed, ...)."""

    WEIGHTS = 3
    STEPS = 4
