"""What a test by relabelling says of models that have seen some of the images, and of shams, which have seen none.

Labels (who was planted) are drawn at random. So if a model has used none of the images, all labels are equally
probable, and the test is exact, whatever the measure is and however many labels are tried.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata

from lib.measures.intervals import Estimate, by_model, mean_of_few, share
from lib.measures.statistics import auc, permutation_p
from lib.protocols.dose_response import Curve, Pair, columns_of, smallest_detected

RELABELLED = 2
"""What follows the seed in the identity of the source of relabellings; :mod:`lib.protocols.planting` has 0 and 1."""
LEVEL = 0.05
"""of the tests by relabelling"""


class Tests(NamedTuple):
    """What tests by relabelling say of a measure."""

    models: list[float]
    """the p of every model"""
    shams: list[float]
    """that of every sham"""


def p_values(pairs: Sequence[Pair], measure: str, *, draws: int, seed: int, sham: bool = False) -> list[float]:
    """For every model: how often random labels separate the candidates as well as the true ones do, at least.

    Exact: labels were drawn at random, so of a model that has used none of the images all labels are equally probable.
    The statistic is the mean rank of planted less that of held-out images, or the AUC of both, whatever the dose.

    Args:
        pairs: the models.
        measure: its name.
        draws: random labels.
        seed: of the labels.
        sham: of the sham models instead, with nominal labels.
    """
    found = []
    for model, pair in enumerate(pairs):
        values = pair.values(measure, sham=sham)
        known = ~values.isnan()
        ranks, planted = rankdata(values[known].numpy()), (pair.copies[known] > 0).numpy()
        rng = np.random.default_rng([seed, RELABELLED, model])
        found.append(permutation_p(_difference, ranks[planted], ranks[~planted], draws=draws, rng=rng))
    return found


def tests(pairs: Sequence[Pair], *, draws: int, seed: int) -> dict[str, Tests]:
    """:func:`p_values` of every measure, of models and of shams."""
    options = {"draws": draws, "seed": seed}
    return {
        name: Tests(p_values(pairs, name, **options), p_values(pairs, name, sham=True, **options))
        for name in pairs[0].measures
    }


def frame_of_tests(tested: Mapping[str, Tests], real: Mapping[str, Curve], shams: Mapping[str, Curve]) -> pd.DataFrame:
    """What tests and curves of one family say: a row for each measure.

    Args:
        tested: as of :func:`tests`.
        real: the curves of the models.
        shams: those of the shams.
    """
    rows = [
        {
            "measure": name,
            "smallest dose detected": smallest_detected(real[name]),
            "the same on shams": smallest_detected(shams[name]),
            "p, models: median, largest": f"{np.median(of.models):.3f}, {max(of.models):.3f}",
            "p, shams: median, smallest": f"{np.median(of.shams):.3f}, {min(of.shams):.3f}",
            "shams with p ≤ .05": alarms(of.shams),
        }
        for name, of in tested.items()
    ]
    return pd.DataFrame(rows, dtype=object)


def alarms(p: Sequence[float]) -> Estimate:
    """The share of models that a test at level :data:`LEVEL` raises an alarm on, with its exact interval."""
    return share(sum(value <= LEVEL for value in p), len(p))


def corrected(tested: Mapping[str, Tests]) -> list[float]:
    """For every sham, the smallest p of all measures times their number (Bonferroni): do all together raise an alarm?

    Example:
        >>> corrected({"a": Tests([], [0.01, 0.5]), "b": Tests([], [0.2, 0.9])})
        [0.02, 1.0]
    """
    by_sham = zip(*(of.shams for of in tested.values()), strict=True)
    return [min(1.0, len(tested) * min(p)) for p in by_sham]


def mean_sham_auc(families: Sequence[Sequence[Pair]]) -> Estimate:
    """The AUC of sham models, all doses together: the mean over measures, and over the models of all families."""
    each = []
    for pairs in families:
        columns = [columns_of(pairs, name, None, sham=True) for name in pairs[0].measures]
        each += np.mean([by_model(auc, *column) for column in columns], axis=0).tolist()
    return mean_of_few(torch.tensor(each, dtype=torch.float64))


def _difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(first.mean() - second.mean())
