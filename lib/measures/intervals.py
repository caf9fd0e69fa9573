"""The uncertainty of a statistic: a value, its bootstrap interval, and what had to be left out of it."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, SupportsFloat

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import binomtest, bootstrap, sem, t
from torch import Tensor

from lib.measures.recipes import GIVEN, Recipe, remembered

MANY = 5000
"""points from which on the acceleration of BCa, for which each is left out in turn, is nothing but slow"""
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Estimate(NamedTuple):
    """A number and how far to trust it."""

    value: float
    low: float
    """lower end of the 95 % interval"""
    high: float
    """upper end"""
    n: int
    """points that entered"""
    missing: int = 0
    """points without a value (NaN), counted here and nowhere else"""
    recipe: Recipe = GIVEN
    """how it was made, and from what"""

    def __str__(self) -> str:
        """The value with its interval."""
        return f"{number(self.value)} [{number(self.low)}, {number(self.high)}]"

    @remembered
    def widened(self, half: float) -> "Estimate":
        """The same with an independent source of error, whose 95 % interval has that half, added to both sides.

        >>> print(Estimate(0.0, -3.0, 6.0, 9).widened(4.0))
        0 [−5, 7.21]
        """
        low, high = (math.hypot(half, end - self.value) for end in (self.low, self.high))
        return self._replace(low=self.value - low, high=self.value + high)

    @remembered
    def within(self, low: float, high: float) -> "Estimate":
        """The same, its interval cut to what is possible, such as 0 to 1 for a share: the truth is not cut off.

        >>> print(Estimate(0.9, 0.7, 1.1, 30).within(0.0, 1.0))
        0.9 [0.7, 1]
        """
        return self._replace(low=max(self.low, low), high=min(self.high, high))

    @remembered
    def over(self, unit: float) -> "Estimate":
        """The same in multiples of a unit, such as a published number.

        >>> print(Estimate(3.0, 2.0, 6.0, 9).over(-2.0))
        −1.5 [−3, −1]
        """
        return self.under(lambda value: value / unit)

    @remembered
    def under(self, monotone: Callable[[float], float]) -> "Estimate":
        """The estimate of a function of the number that rises or falls throughout: its interval is that of the ends.

        >>> print(Estimate(0.0, -1.0, 1.0, 9).under(math.exp))
        1 [0.368, 2.72]
        """
        low, high = sorted((monotone(self.low), monotone(self.high)))
        return self._replace(value=monotone(self.value), low=low, high=high)


def number(value: SupportsFloat) -> str:
    """A number for people: three significant digits, a true minus, and no ``1.05e+03``.

    From 0.0001 up to a million it is written out, with commas between thousands; a smaller or larger one is a multiple
    of a power of ten. NaN is a dash.

    Example:
        >>> [number(x) for x in (-0.25, 1234.5, 3.2e-5, 2.5e7, float("nan"))]
        ['−0.25', '1,230', '3.2 × 10⁻⁵', '2.5 × 10⁷', '–']
    """
    rounded = float(f"{float(value):.3g}")
    if math.isnan(rounded):
        return "–"
    sign, size = "−" if rounded < 0 else "", abs(rounded)
    if math.isinf(size):
        return f"{sign}∞"
    if size and not 1e-4 <= size < 1e6:
        mantissa, exponent = f"{size:.2e}".split("e")
        return f"{sign}{float(mantissa):g} × 10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    return f"{sign}{size:,g}"


@remembered
def with_left_out(over_points: Estimate, without: Sequence[float]) -> Estimate:
    r"""An estimate whose interval over points is widened by a jackknife over cases, such as repeats.

    .. math:: h^2 = \tfrac{n - 1}{n} t_{n - 1}^2 \sum_i (\theta_{(i)} - \bar\theta)^2

    For a smooth statistic of many things of which the cases are groups; of means, ``h`` is that of :func:`mean_of_few`.
    Fewer than two cases are refused (ValueError).

    Args:
        over_points: the estimate.
        without: the statistic with each of the cases left out in turn.

    Example:
        >>> print(with_left_out(Estimate(2.0, 2.0, 2.0, 9), [2.5, 2.0, 1.5]))  # the means of 1, 2 and 3 without each
        2 [−0.484, 4.48]
    """
    count = len(without)
    if count < 2:
        raise ValueError(f"a jackknife needs at least 2 cases, got {count}")
    return over_points.widened(float(t.ppf(0.975, count - 1) * np.std(without) * (count - 1) ** 0.5))


@remembered
def estimate(values: Float[Tensor, " points"], statistic: Callable = np.mean, *, seed: int = 0) -> Estimate:
    """A statistic over points with its 95 % bias-corrected and accelerated bootstrap interval (BCa).

    Points are resampled; the model stays as it is, so this is the uncertainty over the data's points, not over fits.
    Beyond :data:`MANY` points it is the percentile interval, from which BCa no longer differs.

    Args:
        values: one number per point; NaN stands for a point without a number.
        statistic: a function of an array along ``axis``, such as ``numpy.mean`` or ``numpy.median``.
        seed: seed of the resampling.

    Raises:
        ValueError: fewer than three points have a value, or one is infinite.

    Example:
        >>> print(estimate(torch.arange(100.0)))
        49.5 [43.9, 55]
    """
    return _bootstrap([values], statistic, "BCa", seed)


def difference_of_means(first: np.ndarray, second: np.ndarray, axis: int = -1) -> np.ndarray | np.floating:
    """The mean of one group minus that of another, as a statistic.

    Example:
        >>> float(difference_of_means(np.array([1.0, 3.0]), np.array([5.0])))
        -3.0
    """
    return np.mean(first, axis) - np.mean(second, axis)


@remembered
def difference(
    first: Float[Tensor, " points"],
    second: Float[Tensor, " others"],
    statistic: Callable = difference_of_means,
    *,
    seed: int = 0,
) -> Estimate:
    """The difference of two means, or another statistic of two groups, with its 95 % percentile bootstrap interval.

    The groups are resampled independently; ``n`` and ``missing`` count both. Otherwise as :func:`estimate`.

    Example:
        >>> print(difference(torch.arange(100.0), torch.arange(50.0)))
        25 [17.8, 31.8]
    """
    return _bootstrap([first, second], statistic, "percentile", seed)


@remembered
def paired(statistic: Callable, *columns: Float[Tensor, " points"], seed: int = 0) -> Estimate:
    """A statistic of several numbers per point, such as a ratio of medians, with its 95 % BCa bootstrap interval.

    Points are resampled with all their numbers; a point that lacks one is missing. Otherwise as :func:`estimate`.

    Example:
        >>> first, second = torch.randn(2, 200, generator=torch.Generator().manual_seed(0)) + 4
        >>> print(paired(lambda a, b, axis=-1: np.median(a, axis) / np.median(b, axis), first, second))
        1.03 [0.965, 1.09]
    """
    known = ~torch.stack(columns).isnan().any(0)
    result = _bootstrap([column[known] for column in columns], statistic, "BCa", seed, paired=True)
    return result._replace(n=int(known.sum()), missing=int((~known).sum()))


@remembered
def mean_of_few(values: Float[Tensor, " cases"]) -> Estimate:
    """The mean of a few independent cases, such as models of different seeds, with its 95 % t interval.

    For numbers that may be taken as normal, such as means over many points; a bootstrap of so few is too narrow.

    Fewer than two cases, or one that is not finite, are refused (ValueError).

    Example:
        >>> print(mean_of_few(torch.tensor([1.0, 2.0, 3.0])))
        2 [−0.484, 4.48]
    """
    cases = values.double().cpu().numpy()
    if len(cases) < 2 or not np.isfinite(cases).all():
        raise ValueError(f"an interval needs at least 2 cases, all finite; got {cases.tolist()}")
    mean, half = float(cases.mean()), float(sem(cases) * t.ppf(0.975, len(cases) - 1))
    return Estimate(mean, mean - half, mean + half, len(cases))


@remembered
def over_models(statistic: Callable, *columns: Sequence[Float[Tensor, " _"]]) -> Estimate:
    """A statistic of the points of each model, its mean over models, with the 95 % t interval of :func:`mean_of_few`.

    For claims about models. Every model has points of its own, so that their draw is in the interval as well.

    Args:
        statistic: a function of as many arrays as there are columns, such as ``numpy.mean``.
        columns: each holds a tensor of points for every model; NaN is a point without a number, and left out.

    Returns:
        The estimate; ``n`` counts models, ``missing`` points.

    Example:
        >>> print(over_models(np.mean, [torch.tensor([0.0, 2.0]), torch.tensor([1.0, 3.0]), torch.tensor([3.0])]))
        2 [−0.484, 4.48]
    """
    missing = sum(int(points.isnan().sum()) for column in columns for points in column)
    each = torch.tensor(by_model(statistic, *columns), dtype=torch.float64)
    return mean_of_few(each)._replace(missing=missing)


@remembered
def with_models(over_points: Estimate, each: Sequence[float]) -> Estimate:
    r"""An estimate whose interval over points is widened by the t interval over models.

    .. math:: \bar\theta \pm \sqrt{(t\, s / \sqrt{M})^2 + h^2}

    For models that are measured at the same points, or at few: ``h`` is the half of the interval over points, the other
    that of :func:`mean_of_few` over the ``M`` models. Both have the draw of the points, so the interval is on the safe
    side. Of one model, it is over points alone.

    Example:
        >>> print(with_models(Estimate(2.0, 1.0, 3.0, 200), [1.9, 2.0, 2.1]))
        2 [0.97, 3.03]
    """
    if len(each) < 2:
        return over_points
    over = mean_of_few(torch.tensor(each, dtype=torch.float64))
    return over_points.widened((over.high - over.low) / 2)


def by_model(statistic: Callable, *columns: Sequence[Float[Tensor, " _"]]) -> list[float]:
    """A statistic of the points of each model; arguments as :func:`over_models`.

    Example:
        >>> by_model(np.mean, [torch.tensor([0.0, 2.0]), torch.tensor([3.0])])
        [1.0, 3.0]
    """
    points = [[column.double().cpu().numpy() for column in model] for model in zip(*columns, strict=True)]
    return [float(statistic(*(column[~np.isnan(column)] for column in model))) for model in points]


@remembered
def share(count: int, of: int) -> Estimate:
    """A share of independent cases with its exact 95 % interval (Clopper & Pearson).

    Example:
        >>> print(share(1, 20))
        0.05 [0.00127, 0.249]
    """
    low, high = binomtest(count, of).proportion_ci()
    return Estimate(count / of, float(low), float(high), of)


def _bootstrap(groups: list[Tensor], statistic: Callable, method: str, seed: int, *, paired: bool = False) -> Estimate:
    known, total = [], 0
    for group in groups:
        numbers = group.double().cpu().numpy()
        kept = numbers[~np.isnan(numbers)]
        if len(kept) < 3 or not np.isfinite(kept).all():
            raise ValueError(
                f"an interval needs at least 3 values and all finite; {len(kept)} of {len(numbers)} are not NaN"
            )
        known.append(kept)
        total += len(numbers)
    value = low = high = float(statistic(*known))
    if len(known[0]) > MANY or (statistic is np.median and _median_is_stuck(*known)):
        method = "percentile"
    if any(np.ptp(kept) > 0 for kept in known):  # equal values have no error, which the bootstrap cannot express
        rng = np.random.default_rng(seed)
        low, high = bootstrap(
            known, statistic, n_resamples=2000, batch=200, method=method, rng=rng, paired=paired
        ).confidence_interval
    entered = sum(map(len, known))
    return Estimate(value, float(low), float(high), entered, total - entered)


def _median_is_stuck(values: np.ndarray) -> bool:
    """Leaving out any one value does not move the median, on whose moves the acceleration of BCa rests."""
    n = len(values)
    return bool(np.ptp(np.sort(values)[(n - 1) // 2 - n % 2 : n // 2 + n % 2 + 1]) == 0)
