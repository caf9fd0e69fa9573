"""How well every measure tells images that a model has seen 1, 2, 4 ... times from those that it has not.

For each model there is a sham, which has seen none of the images and is measured at the same ones, with the labels of
its model as nominal labels. A model's labels are drawn at random, and so are a sham's: whatever a measure says of a
sham, it says by chance, or because the code is wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import rankdata

from lib.measures.axes import Images, PerSample
from lib.measures.intervals import Estimate, by_model, mean_of_few, over_models, share
from lib.measures.statistics import auc, permutation_p
from lib.models.family import Fit, Spec
from lib.models.fit import fit as fit_all
from lib.protocols.pair import seeds
from lib.protocols.planting import Index, Plan
from lib.protocols.seen_or_not import Measured

RELABELLED = 2
"""What follows the seed in the identity of the source of relabellings; :mod:`lib.protocols.planting` has 0 and 1."""
NEGATIVES = 200
"""held-out images from which on a rate at 1 % of false positives is worth printing: below, two of them decide it"""
LEVEL = 0.05
"""of the tests by relabelling"""
CALIBRATED = ", less the sham's"
"""what a measure is called from which that of a model without the image is subtracted"""


class Pair(NamedTuple):
    """A model and its sham, and what they say of the candidates."""

    copies: Index
    """how often each candidate was in the model's training set; nominally, for the sham"""
    model: Measured
    sham: Measured

    def values(self, measure: str, *, sham: bool = False) -> PerSample:
        """A measure of all candidates by the model, or by its sham."""
        return (self.sham if sham else self.model).values[measure]


def fit(plan: Plan, spec: Spec, models: int, device: str, executor: Executor) -> list[tuple[Fit, Fit]]:
    """Models and their shams, every one on a training set of its own; a model and its sham have the same seed.

    Args:
        plan: what they are trained on.
        spec: the specification of the first model; the others differ by their seed.
        models: how many.
        device: where to train.
        executor: where to fit side by side.
    """

    def one(model: int, seed: int, sham: bool) -> Fit:
        (fitted,) = fit_all([replace(spec, seed=seed)], plan.training_set(model, sham=sham), device)
        return fitted

    works = [(model, seed, sham) for model, seed in enumerate(seeds(spec.seed, models)) for sham in (False, True)]
    fits = list(executor.map(one, *zip(*works, strict=True)))
    return list(zip(fits[::2], fits[1::2], strict=True))


def measure(
    plan: Plan,
    fits: Sequence[tuple[Fit, Fit]],
    measures: Callable[[Fit, Images], Measured],
    calibrated: Sequence[str],
    executor: Executor,
) -> list[Pair]:
    """Every measure of all candidates by every model and its sham.

    Args:
        plan: what they were trained on.
        fits: models and their shams.
        measures: of a model, at images.
        calibrated: measures that are wanted once more, less the same measure by the sham: what is the image's own
            difficulty is then in neither (the reference model of Chen et al. 2020). For a sham the reference is the
            sham of the next model.
        executor: where to measure side by side.
    """
    candidates = plan.candidates()
    found = list(executor.map(lambda fitted: measures(fitted, candidates), [one for both in fits for one in both]))
    models, shams = found[::2], found[1::2]
    others = [*shams[1:], shams[0]]
    return [
        Pair(plan.copies(k), _less(model, sham, calibrated), _less(sham, other, calibrated))
        for k, (model, sham, other) in enumerate(zip(models, shams, others, strict=True))
    ]


def found_at_one_percent(planted: np.ndarray, held_out: np.ndarray) -> np.floating:
    """The share of planted images that a threshold finds by which a held-out image is found with at most 1 %.

    The threshold is the m-th largest held-out value, with m the largest number for which m / (n + 1) is at most 1 %:
    that is the probability that one more held-out image, exchangeable with the n, exceeds it. To leave 1 % of the n
    themselves above it would be half as much again at n = 200.

    Raises:
        ValueError: fewer than 99 held-out images, which allow no such threshold.

    Example:
        >>> float(found_at_one_percent(np.array([97.5, 98.5]), np.arange(99.0)))
        0.5
    """
    place = (len(held_out) + 1) // 100
    if not place:
        raise ValueError(f"at least 99 held-out images are needed, got {len(held_out)}")
    return np.mean(planted > np.sort(held_out)[-place])


def difference_of_aucs(
    planted: np.ndarray, held_out: np.ndarray, other_planted: np.ndarray, other_held_out: np.ndarray
) -> np.floating:
    """The AUC of one measure minus that of another, of the same images."""
    return auc(planted, held_out) - auc(other_planted, other_held_out)


def curve(pairs: Sequence[Pair], measure: str, statistic: Callable = auc, *, sham: bool = False) -> dict[int, Estimate]:
    """A statistic of planted against held-out candidates, by the copies of the planted: the mean over models.

    Every model has a random half of its own, so that the interval over models has the draw of the images as well, out
    of these candidates.

    Args:
        pairs: the models.
        measure: its name.
        statistic: of the values of planted and of held-out images, between 0 and 1.
        sham: of the sham models instead, with nominal labels.
    """
    return {
        dose: over_models(statistic, *_columns(pairs, measure, dose, sham)).within(0.0, 1.0) for dose in doses(pairs)
    }


def curves(pairs: Sequence[Pair], statistic: Callable = auc, *, sham: bool = False) -> dict[str, dict[int, Estimate]]:
    """:func:`curve` of every measure, by its name."""
    return {name: curve(pairs, name, statistic, sham=sham) for name in pairs[0].model.values}


def doses(pairs: Sequence[Pair]) -> list[int]:
    """The copies of planted images, ascending."""
    return sorted(set(pairs[0].copies.tolist()) - {0})


def smallest_detected(by_dose: Mapping[int, Estimate]) -> int | None:
    """The smallest dose from which on every AUC has an interval wholly above one half; None if the largest has not.

    By chance the largest dose is detected once in forty times, and a smaller one less often.

    Example:
        >>> none, some = Estimate(0.5, 0.4, 0.6, 3), Estimate(0.7, 0.6, 0.8, 3)
        >>> smallest_detected({1: some, 2: none, 4: some, 8: some})
        4
    """
    found = None
    for dose in sorted(by_dose, reverse=True):
        if by_dose[dose].low <= 0.5:
            break
        found = dose
    return found


def contrast(pairs: Sequence[Pair], first: str, second: str, dose: int) -> Estimate:
    """By how much the AUC of one measure exceeds that of another at a dose, with an interval over models."""
    return over_models(difference_of_aucs, *_columns(pairs, first, dose), *_columns(pairs, second, dose))


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


def alarms(p: Sequence[float]) -> Estimate:
    """The share of models that a test at level :data:`LEVEL` raises an alarm on, with its exact interval."""
    return share(sum(value <= LEVEL for value in p), len(p))


def any_alarm(by_measure: Sequence[Sequence[float]]) -> list[float]:
    """For every model, the smallest p of all measures times their number (Bonferroni): is any of them an alarm?

    Example:
        >>> any_alarm([[0.01, 0.5], [0.2, 0.9]])
        [0.02, 1.0]
    """
    return [min(1.0, len(by_measure) * min(of_model)) for of_model in zip(*by_measure, strict=True)]


def mean_sham_auc(families: Sequence[Sequence[Pair]]) -> Estimate:
    """The AUC of sham models, all doses together: the mean over measures, and over the models of all families."""
    each = []
    for pairs in families:
        names = pairs[0].sham.values
        columns = [_columns(pairs, name, None, sham=True) for name in names]
        each += np.mean([by_model(auc, *column) for column in columns], axis=0).tolist()
    return mean_of_few(torch.tensor(each, dtype=torch.float64))


def _columns(pairs: Sequence[Pair], measure: str, dose: int | None, sham: bool = False) -> list[list[PerSample]]:
    """The values of the planted candidates of a dose, or of all, and of those held out, by model."""
    values = [pair.values(measure, sham=sham) for pair in pairs]
    chosen = [pair.copies > 0 if dose is None else pair.copies == dose for pair in pairs]
    return [
        [of_model[rows] for of_model, rows in zip(values, chosen, strict=True)],
        [of_model[pair.copies == 0] for of_model, pair in zip(values, pairs, strict=True)],
    ]


def _less(measured: Measured, reference: Measured, calibrated: Sequence[str]) -> Measured:
    more = {name + CALIBRATED: measured.values[name] - reference.values[name] for name in calibrated}
    return measured._replace(values=measured.values | more)


def _difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(first.mean() - second.mean())
