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
import pandas as pd

from lib.measures.axes import Images, PerSample
from lib.measures.intervals import Estimate, by_model, over_models, share, with_models
from lib.measures.statistics import auc
from lib.models.family import Fit, Spec
from lib.models.fit import fit as fit_all
from lib.protocols.pair import seeds
from lib.protocols.planting import Index, Plan
from lib.protocols.seen_or_not import Measured

NEGATIVES = 200
"""held-out images from which on a rate at 1 % of false positives is worth printing: below, two of them decide it"""
CALIBRATED = ", less the sham's"
"""what a measure is called from which that of a model without the image is subtracted"""


Curve = dict[int, Estimate]
"""a statistic by the copies of planted images"""


class Pair(NamedTuple):
    """A model and its sham, and what they say of the candidates."""

    copies: Index
    """how often each candidate was in the model's training set; nominally, for the sham"""
    model: Measured
    sham: Measured

    @property
    def measures(self) -> list[str]:
        """Their names."""
        return list(self.model.values)

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


def curve(pairs: Sequence[Pair], measure: str, *, sham: bool = False) -> Curve:
    """The AUC of planted against held-out candidates, by the copies of the planted: the mean over models.

    Every model has a random half of its own, so that the interval over models has the draw of the images as well, out
    of these candidates.

    Args:
        pairs: the models.
        measure: its name.
        sham: of the sham models instead, with nominal labels.
    """
    return {dose: over_models(auc, *columns_of(pairs, measure, dose, sham)).within(0.0, 1.0) for dose in doses(pairs)}


def rates(pairs: Sequence[Pair], measure: str) -> Curve:
    """The share of planted images that :func:`found_at_one_percent` finds, by their copies, over all models.

    The interval is exact over images, and widened by that over models, as a model has one threshold for all images.
    """
    found = {}
    for dose in doses(pairs):
        columns = columns_of(pairs, measure, dose)
        each = by_model(found_at_one_percent, *columns)
        sizes = [int((~planted.isnan()).sum()) for planted in columns[0]]
        count = round(sum(one * size for one, size in zip(each, sizes, strict=True)))
        found[dose] = with_models(share(count, sum(sizes)), each).within(0.0, 1.0)
    return found


def curves(pairs: Sequence[Pair], of: Callable[..., Curve] = curve, **options: bool) -> dict[str, Curve]:
    """:func:`curve`, or :func:`rates`, of every measure, by its name."""
    return {name: of(pairs, name, **options) for name in pairs[0].measures}


def frame(families: Mapping[str, Mapping[str, Curve]], write: Callable[[Estimate], object] = str) -> pd.DataFrame:
    """Curves as a table: a row for each measure of each family, a column for each dose.

    Args:
        families: curves by their measure, by family.
        write: what is made of an estimate.
    """
    rows = [
        {"models": family, "measure": name, **{_copies(dose): write(one) for dose, one in own.items()}}
        for family, of in families.items()
        for name, own in of.items()
    ]
    return pd.DataFrame(rows, dtype=object)


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
    return over_models(difference_of_aucs, *columns_of(pairs, first, dose), *columns_of(pairs, second, dose))


def columns_of(pairs: Sequence[Pair], measure: str, dose: int | None, sham: bool = False) -> list[list[PerSample]]:
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


def _copies(dose: int) -> str:
    return f"{dose} copies" if dose > 1 else "1 copy"
