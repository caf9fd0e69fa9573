"""One number per training image and one per held-out image: their difference, its exact p, and its controls.

If the generator had used neither side, every division of the images into sides of these sizes was equally probable.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lib.measures.intervals import difference, share
from lib.measures.statistics import permutation_p, permutation_test
from lib.protocols.audit_results import LEVEL, Control, Finding

EXCHANGES = 999
SHAMS = 200
SHAM_EXCHANGES = 99
FLOOR = 1e-12
"""errors below count as this much: those of copies may be zero"""
LEAST = 8
"""images with a number that a side must have"""

PerImage = Float[Tensor, " images"]
PerOther = Float[Tensor, " others"]
PerCopy = Float[Tensor, " copies"]
Statistic = Callable[..., np.ndarray | np.floating]
"""of arrays of training and of held-out numbers, along an axis: large where training images differ as suspected"""


def gap(train: np.ndarray, held_out: np.ndarray, axis: int = -1) -> np.ndarray | np.floating:
    """By what share the median of the training images is below that of the held-out images.

    Example:
        >>> float(gap(np.array([1.0, 2.0, 3.0]), np.array([4.0, 4.0])))
        0.5
    """
    first, second = (np.maximum(np.median(side, axis), FLOOR) for side in (train, held_out))
    return 1 - first / second


def lower(train: np.ndarray, held_out: np.ndarray, axis: int = -1) -> np.ndarray | np.floating:
    """By how much the mean of the training images is below that of the held-out images.

    Example:
        >>> float(lower(np.array([1.0, 2.0]), np.array([4.0])))
        2.5
    """
    return np.mean(held_out, axis) - np.mean(train, axis)


def finding(
    name: str, train: PerImage, held_out: PerOther, statistic: Statistic, reads: str, *, unit: str, seed: int,
    rule: tuple[str, Callable[[float], bool]] | None = None, copycat: tuple[str, PerCopy] | None = None,
) -> Finding:  # fmt: skip
    """Compare the sides, and say how often shams would have been flagged, and whether a copycat would.

    Args:
        name: of the finding.
        train: of each training image; NaN is missing, and counted.
        held_out: of each held-out image.
        statistic: what is compared; large is suspicious.
        reads: how to read it.
        unit: of the statistic.
        seed: of exchanges and bootstrap.
        rule: the rule of the literature, in words and as a function of the statistic.
        copycat: what a copycat does, and its numbers of the training images.

    Raises:
        ValueError: fewer than 8 numbers on a side.
    """
    sides = [_known(values) for values in (train, held_out)]
    if min(map(len, sides)) < LEAST:
        raise ValueError(
            f"{name} needs {LEAST} or more numbers on either side, got {len(sides[0])} and {len(sides[1])}"
        )
    value = difference(train, held_out, statistic, seed=seed)
    rng = np.random.default_rng([seed, 4])
    test = permutation_test(lambda a, b: float(statistic(a, b)), *sides, draws=EXCHANGES, rng=rng)
    band = tuple(np.quantile(test.null, (0.025, 0.975)).tolist())
    positive = {} if copycat is None else {copycat[0]: _copied(statistic, _known(copycat[1]), sides[1], seed)}
    control = _control(sides[1], statistic, seed, rule)
    return Finding(
        name, value, band, test.p.value, "high", reads, control and control._replace(positive=positive), unit,
        noticed=_noticed(test.null, statistic is gap),
    )  # fmt: skip


def _noticed(null: np.ndarray, ratio: bool) -> float:
    """A value that would be seen in 95 % of cases, if an effect moves the whole null; of a gap, on a scale of logs."""
    less, middle, more = np.quantile(-np.log1p(-null) if ratio else null, (0.05, 0.5, 0.95))
    value = more + middle - less
    return float(-np.expm1(-value) if ratio else value)


def _copied(statistic: Statistic, copied: np.ndarray, held_out: np.ndarray, seed: int) -> float:
    """P of a copycat; one of which too little is known is not seen."""
    if len(copied) < LEAST:
        return 1.0
    rng = np.random.default_rng([seed, 6])
    return permutation_p(lambda a, b: float(statistic(a, b)), copied, held_out, draws=EXCHANGES, rng=rng)


def _known(values: PerImage) -> np.ndarray:
    numbers = values.double().cpu().numpy()
    return numbers[~np.isnan(numbers)]


def _control(held_out: np.ndarray, statistic: Statistic, seed: int, rule: tuple | None) -> Control | None:
    """False alarms among held-out images divided at random; too few of them have no control."""
    half = len(held_out) // 2
    if half < LEAST:
        return None
    p, values = shams(held_out, statistic, seed=seed, count=SHAMS)
    published = None if rule is None else share(sum(bool(rule[1](value)) for value in values), len(values))
    return Control({}, share(int((p <= LEVEL).sum()), len(p)), published, "" if rule is None else rule[0])


def shams(held_out: np.ndarray, statistic: Statistic, *, seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """P and the statistic of random halves of the held-out numbers, each with exchanges of its own."""
    half, p, values = len(held_out) // 2, [], []
    for sham in range(count):
        rng = np.random.default_rng([seed, 5, sham])
        chosen = rng.permutation(held_out)[: 2 * half]
        values.append(float(statistic(chosen[:half], chosen[half:])))
        p.append(_fast_p(statistic, chosen, half, values[-1], rng))
    return np.array(p), np.array(values)


def _fast_p(statistic: Statistic, numbers: np.ndarray, half: int, value: float, rng: np.random.Generator) -> float:
    """The p of :func:`lib.measures.statistics.permutation_p`, all exchanges at once."""
    both = rng.permuted(np.tile(numbers, (SHAM_EXCHANGES, 1)), axis=1)
    return float((1 + (statistic(both[:, :half], both[:, half:]) >= value).sum()) / (1 + SHAM_EXCHANGES))


def joint(findings: list[Finding]) -> float | None:
    """One p for several findings: the smallest times their number (Bonferroni).

    Example:
        >>> from lib.measures.intervals import Estimate
        >>> joint([Finding("a", Estimate(0.0, 0.0, 0.0, 9), None, p, "high", "") for p in (0.01, 0.4)])
        0.02
    """
    p = [each.p for each in findings if each.p is not None]
    return min(1.0, len(p) * min(p)) if p else None
