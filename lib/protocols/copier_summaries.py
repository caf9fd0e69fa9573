"""What the tests say of samplers whose truth is known: alarms, responses, and the smallest dose that is seen.

All are of the table that :func:`lib.protocols.copy_tests.table` makes, in which a sampler is what it emits, the kind of
its copies, and their probability.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from lib.measures import copying
from lib.measures.intervals import Estimate, mean_of_few, share
from lib.protocols.copy_tests import LEVEL, MEASURES, ZERO, Rules

LOW = ("authenticity", "$C_T$")
"""measures whose low values are suspicious"""


def of(found: pd.DataFrame, emits: str, copies: str, probability: float, measure: str) -> pd.DataFrame:
    """The rows of one measure of one sampler, a row for each repetition; without copies, of the innocent one."""
    kind = copies if probability else "none"
    chosen = (found.emits == emits) & (found.copies == kind) & (found.probability == probability)
    return found[chosen & (found.measure == measure)]


def alarms(found: pd.DataFrame, emits: str, copies: str, probability: float, measure: str) -> Estimate:
    """Share of repetitions in which the measure's own null is rejected at :data:`LEVEL`."""
    p = of(found, emits, copies, probability, measure).p
    return share(int((p <= LEVEL).sum()), len(p))


def beyond_innocent(found: pd.DataFrame, emits: str, copies: str, probability: float, measure: str) -> Estimate:
    """Share of repetitions whose value is beyond all but :data:`LEVEL` of those of the same sampler without copies.

    What the measure could see if its null were known: a comparison that nobody can make of a model at hand.
    """
    sign = -1 if measure in LOW else 1
    values, without = (sign * of(found, emits, copies, each, measure).value for each in (probability, 0.0))
    limit = np.quantile(without, 1 - LEVEL, method="higher")
    return share(int((values > limit).sum()), len(values))


def smallest(
    seen: Callable[..., Estimate], found: pd.DataFrame, emits: str, copies: str, measure: str, power: float = 0.8
) -> float | None:
    """The smallest probability of a copy from which on a share of repetitions is seen; None: not even the largest.

    Args:
        seen: :func:`alarms` or :func:`beyond_innocent`.
        found: the rows.
        emits: the innocent part of the sampler.
        copies: their kind.
        measure: by which to see.
        power: the share.
    """
    kept = None
    for probability in sorted({p for p in found.probability if p}, reverse=True):
        if seen(found, emits, copies, probability, measure).value < power:
            break
        kept = probability
    return kept


def response(found: pd.DataFrame, emits: str, copies: str, probability: float, measure: str) -> Estimate:
    """The mean value over repetitions, with its interval."""
    return mean_of_few(torch.tensor(of(found, emits, copies, probability, measure).value.tolist()))


def alarms_of_innocents(found: pd.DataFrame, names: Sequence[str], measure: str) -> Estimate:
    """Share of innocent samplers that are accused; those of a repetition share its images, and are one case."""
    each = [of(found, name, "none", 0.0, measure).p.to_numpy() <= LEVEL for name in names]
    return mean_of_few(torch.tensor(np.mean(each, axis=0))).within(0.0, 1.0)


def excess(found: pd.DataFrame, rules: Rules) -> Estimate:
    """How much more often fresh images are authentic than the formula says, over repetitions."""
    values = of(found, ZERO, "none", 0.0, "authenticity").value.tolist()
    return mean_of_few(torch.tensor(values) - copying.authenticity_null(rules.dimension))


def power(found: pd.DataFrame, emits: str, copies: str, doses: Sequence[float]) -> Float[np.ndarray, "tests doses"]:
    """The share of repetitions with an alarm, of every test at every dose."""
    return np.array([[alarms(found, emits, copies, dose, name).value for dose in doses] for name in MEASURES])


def responses(found: pd.DataFrame, emits: str, copies: str, doses: Sequence[float]) -> pd.DataFrame:
    """The mean value of every measure at every dose, over repetitions."""
    rows = [[name, *(response(found, emits, copies, dose, name) for dose in doses)] for name in MEASURES]
    return pd.DataFrame(rows, columns=["test", *(f"π = {100 * dose:g} %" for dose in doses)], dtype=object)


def smallest_doses(found: pd.DataFrame, samplers: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """The smallest dose that every test sees of samplers, and that it would see if its null were known."""
    rows = []
    for name in MEASURES:
        row: dict[str, object] = {"test": name}
        for seen, remark in ((alarms, ""), (beyond_innocent, ", null known")):
            for emits, copies in samplers:
                dose = smallest(seen, found, emits, copies, name)
                row[f"{copies}, {emits}{remark}"] = None if dose is None else f"{100 * dose:g} %"
        rows.append(row)
    return pd.DataFrame(rows, dtype=object)


def accusations(found: pd.DataFrame, samplers: Sequence[str]) -> dict[str, list[Estimate]]:
    """Alarms without any copy, of samplers by what they emit: an estimate for each test."""
    return {emits: [alarms(found, emits, "none", 0.0, name) for name in MEASURES] for emits in samplers}
