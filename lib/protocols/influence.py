"""What the presence of an image does to a model, from models with and without it, and whether measures agree on it."""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from lib.measures.axes import PerSample
from lib.measures.intervals import Estimate, difference_of_means, over_models
from lib.measures.statistics import rank_correlation
from lib.protocols.dose_response import Pair, doses


def counterfactual(pairs: Sequence[Pair], measure: str) -> list[PerSample]:
    """What each model says of every candidate, less the mean of what all other models say that are without it.

    Those are the other models that hold it out, and all shams. The value of a held-out candidate is noise about zero.

    Args:
        pairs: the models and their shams.
        measure: its name.

    Source: Feldman & Zhang 2020, with one model at a time on the side of those with the item.
    """
    values = torch.stack([pair.values(measure, sham=sham) for sham in (False, True) for pair in pairs])
    held_out = torch.stack([pair.copies == 0 for pair in pairs])
    without = torch.cat([held_out, torch.ones_like(held_out)])
    found = []
    for model in range(len(pairs)):
        others = without.clone()
        others[model] = False
        found.append(values[model] - torch.where(others, values, 0).sum(0) / others.sum(0))
    return found


def effect(pairs: Sequence[Pair], measure: str, dose: int) -> Estimate:
    """The mean of :func:`counterfactual` over the candidates of a dose, with an interval over models.

    Args:
        pairs: the models and their shams.
        measure: its name.
        dose: copies; zero for those held out, of whom it should be zero.
    """
    return over_models(np.mean, _of_dose(pairs, measure, dose))


def per_row(pairs: Sequence[Pair], measure: str, dose: int) -> Estimate:
    """What one row more does to an image of which there are many: the slope of :func:`effect` up to this dose.

    Args:
        pairs: the models and their shams.
        measure: its name.
        dose: copies. The slope begins at the dose before it, that of the smallest at none.
    """
    return over_models(difference_of_means, *_slope(pairs, measure, dose))


def last_less_first(pairs: Sequence[Pair], measure: str) -> Estimate:
    """:func:`per_row` of the largest dose minus that of the smallest, of the same models."""
    first, *_, last = doses(pairs)
    return over_models(
        difference_of_differences, *(column for dose in (last, first) for column in _slope(pairs, measure, dose))
    )


def correlations(pairs: Sequence[Pair], measures: Sequence[str]) -> Float[np.ndarray, "measures measures"]:
    """Rank correlations between measures less the sham's, over the planted candidates; the mean over models."""
    return np.array([[agreement(pairs, [first, second]).value for second in measures] for first in measures])


def agreement(pairs: Sequence[Pair], measures: Sequence[str]) -> Estimate:
    """The mean of :func:`correlations` over pairs of different measures, with an interval over models.

    Args:
        pairs: the models and their shams.
        measures: names of two or more.
    """
    columns = zip(*(_less_sham(pair, measures) for pair in pairs), strict=True)
    return over_models(mean_rank_correlation, *map(list, columns))


def difference_of_differences(
    first: np.ndarray, second: np.ndarray, third: np.ndarray, fourth: np.ndarray
) -> np.floating:
    """How much more the means of the first two groups differ than those of the others."""
    return difference_of_means(first, second) - difference_of_means(third, fourth)


def mean_rank_correlation(*columns: np.ndarray) -> np.floating:
    """Spearman's correlation, the mean over all pairs of columns; zero where a column has one value and no order.

    Example:
        >>> float(mean_rank_correlation(np.arange(4), np.arange(4), -np.arange(4)).round(3))
        -0.333
    """
    pairs = itertools.combinations(columns, 2)
    return np.mean([rank_correlation(a, b) if np.ptp(a) and np.ptp(b) else 0.0 for a, b in pairs])


def _of_dose(pairs: Sequence[Pair], measure: str, dose: int, rows: int = 1) -> list[PerSample]:
    values = counterfactual(pairs, measure)
    return [of_model[pair.copies == dose] / rows for of_model, pair in zip(values, pairs, strict=True)]


def _slope(pairs: Sequence[Pair], measure: str, dose: int) -> list[list[PerSample]]:
    before = max(other for other in (0, *doses(pairs)) if other < dose)
    return [_of_dose(pairs, measure, end, dose - before) for end in (dose, before)]


def _less_sham(pair: Pair, measures: Sequence[str]) -> list[PerSample]:
    """Measures of the planted candidates of which all of them are known."""
    values = torch.stack([pair.values(name) - pair.values(name, sham=True) for name in measures])
    return list(values[:, (pair.copies > 0) & ~values.isnan().any(0)])
