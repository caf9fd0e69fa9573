"""Statistics of groups of numbers: rank correlation, separation, reliability, and tests by permutation.

Most are functions of arrays along an axis, so that :mod:`lib.measures.intervals` can resample them.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import mannwhitneyu, rankdata
from torch import Tensor

from lib.measures.intervals import Estimate, paired, share

Members = TypeVar("Members", np.ndarray, Tensor)


class Permutation(NamedTuple):
    """A statistic of two groups, and how often chance gives one as large."""

    value: float | Float[np.ndarray, " entries"]
    """the statistic of the groups as they are"""
    p: Estimate
    """share of divisions, the given one among them, whose statistic is at least as large (one-sided)"""
    null: Float[np.ndarray, "draws *entries"]
    """the statistic after each exchange"""


def rank_correlation(first: np.ndarray, second: np.ndarray, axis: int = -1) -> np.ndarray | np.floating:
    """Spearman's correlation along an axis, as a statistic for :func:`lib.measures.intervals.paired`.

    Example:
        >>> float(rank_correlation(np.array([1, 2, 3, 4]), np.array([1, 8, 9, 100])))
        1.0
    """
    a, b = (rankdata(values, axis=axis) for values in (first, second))
    a, b = (ranks - ranks.mean(axis, keepdims=True) for ranks in (a, b))
    return (a * b).sum(axis) / np.sqrt((a * a).sum(axis) * (b * b).sum(axis))


def auc(positive: np.ndarray, negative: np.ndarray, axis: int = -1) -> np.ndarray | np.floating:
    """Probability that a random positive is larger than a random negative, ties counting half.

    The area under the curve of true over false positives, or the Mann-Whitney statistic over the number of pairs. As a
    statistic for :func:`lib.measures.intervals.difference`.

    Example:
        >>> float(auc(np.array([2.0, 3.0]), np.array([1.0, 2.0])))
        0.875
    """
    larger = mannwhitneyu(positive, negative, axis=axis, method="asymptotic").statistic
    return larger / (positive.shape[axis] * negative.shape[axis])


def spearman_brown(correlation: float | np.ndarray, factor: float | int) -> float | np.ndarray:
    r"""The correlation of two averages over ``factor`` times as many repeats, :math:`k c / (1 + (k - 1) c)`.

    Exact for averages and Pearson's correlation; for other scores a guide.

    Example:
        >>> spearman_brown(0.5, 2)
        0.6666666666666666
    """
    return factor * correlation / (1 + (factor - 1) * correlation)


def reliability(
    first: Float[Tensor, " points"], second: Float[Tensor, " points"], factor: float | int = 1, *, seed: int = 0
) -> Estimate:
    """How well a score agrees with itself, measured again: the rank correlation of two independent halves.

    Args:
        first: the score of every point from one half of the repeats.
        second: the same from the other half.
        factor: how many times as many repeats as in a half the score is to have, by :func:`spearman_brown`.
        seed: seed of the bootstrap over points.

    Raises:
        ValueError: as :func:`lib.measures.intervals.paired`.

    Example:
        >>> score = torch.randn(200, generator=torch.Generator().manual_seed(0))
        >>> first, second = score + torch.randn(2, 200, generator=torch.Generator().manual_seed(1))
        >>> print(reliability(first, second), "and from twice as many repeats", reliability(first, second, 2))
        0.492 [0.38, 0.586] and from twice as many repeats 0.66 [0.551, 0.739]
    """
    return paired(partial(_agreement, factor), first, second, seed=seed)


def _agreement(factor: float | int, first: np.ndarray, second: np.ndarray, axis: int = -1) -> np.ndarray | np.floating:
    return spearman_brown(rank_correlation(first, second, axis), factor)


def permutation_test(
    statistic: Callable[[Members, Members], float],
    first: Members,
    second: Members,
    *,
    draws: int,
    rng: np.random.Generator,
) -> Permutation:
    """Is the statistic of two groups larger than by chance? Members change sides at random, ``draws`` times.

    Args:
        statistic: of two groups, large where they differ in the direction that is asked for.
        first: the members of one group, along the first axis.
        second: those of the other.
        draws: random divisions into groups of the same sizes.
        rng: the source of random numbers for the divisions.

    Raises:
        ValueError: no draws, or a statistic that is not a finite number (counted).

    Example:
        >>> shift = lambda a, b: a.mean() - b.mean()
        >>> test = permutation_test(shift, np.arange(8.0) + 9, np.arange(8.0), draws=99, rng=np.random.default_rng(0))
        >>> test.value, test.p.value
        (9.0, 0.01)
    """
    value, null = _exchanged(statistic, first, second, draws, rng)
    if value.ndim:
        raise ValueError(f"the statistic must be one number, got {list(value.shape)}; see largest_of_many")
    return Permutation(float(value), _chance(null, value), null)


def permutation_p(
    statistic: Callable[[Members, Members], float],
    first: Members,
    second: Members,
    *,
    draws: int,
    rng: np.random.Generator,
) -> float:
    """The p-value of :func:`permutation_test`, valid for any number of draws, since the given division counts as one.

    Exact for training against held-out items of one model: if it had not used the former, a random choice of all, it
    could not tell them apart, and all divisions would be equally probable.

    Example:
        >>> shift = lambda a, b: a.mean() - b.mean()
        >>> permutation_p(shift, np.arange(8.0) + 9, np.arange(8.0), draws=99, rng=np.random.default_rng(0))
        0.01
    """
    return permutation_test(statistic, first, second, draws=draws, rng=rng).p.value


def largest_of_many(
    statistic: Callable[[Members, Members], Float[np.ndarray, " entries"]],
    first: Members,
    second: Members,
    *,
    draws: int,
    rng: np.random.Generator,
) -> Permutation:
    """Is the largest of many statistics larger than by chance? As :func:`permutation_test`, corrected for the many.

    Each entry is measured in its own standard deviation under the exchanges, lest the noisiest decide, and the largest
    of them is compared with the largest after each exchange.

    Raises:
        ValueError: as :func:`permutation_test`, or an entry that no exchange moves (counted).

    Example:
        >>> first, second = np.random.default_rng(0).normal(size=(2, 20, 3))
        >>> first[:, 1] += 2
        >>> shifts = lambda a, b: a.mean(0) - b.mean(0)
        >>> test = largest_of_many(shifts, first, second, draws=99, rng=np.random.default_rng(0))
        >>> int(test.value.argmax()), test.p.value
        (1, 0.01)
    """
    value, null = _exchanged(statistic, first, second, draws, rng)
    if value.ndim != 1:
        raise ValueError(f"the statistic must be a vector, got {list(value.shape)}; see permutation_test")
    scale = null.std(0)
    fixed = int((scale == 0).sum())
    if fixed:
        raise ValueError(f"{fixed} of {len(scale)} entries are the same after every exchange: nothing to compare with")
    return Permutation(value, _chance((null / scale).max(1), (value / scale).max()), null)


def _exchanged(
    statistic: Callable, first: Members, second: Members, draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The statistic of two groups as they are, and after each exchange."""
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    both = torch.cat([first, second]) if isinstance(first, Tensor) else np.concatenate([first, second])
    size = len(first)
    value = np.asarray(statistic(first, second), dtype=float)
    orders = (rng.permutation(len(both)) for _ in range(draws))
    null = np.stack([np.asarray(statistic(both[order[:size]], both[order[size:]]), dtype=float) for order in orders])
    bad = int((~np.isfinite(null)).sum() + (~np.isfinite(value)).sum())
    if bad:
        raise ValueError(f"the statistic is NaN or infinite in {bad} of {null.size + value.size} numbers")
    return value, null


def _chance(null: Float[np.ndarray, " draws"], value: np.floating | np.ndarray) -> Estimate:
    """Share of divisions with a statistic at least as large, counting the given one."""
    return share(int((null >= value).sum()) + 1, len(null) + 1)
