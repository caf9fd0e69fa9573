"""What every measure of copying says of a sampler, as a value and as a probability under its own null.

Each measure takes samples, the images of a :class:`lib.protocols.known_copiers.Draw` and :class:`Rules`. The nulls
are of three kinds: a formula in the data's dimension (the first two measures); samples that are distributed as held-out
images (the next three); and no difference between training and held-out images, first with samples as if they were
independent, then by exchanging images, which is exact.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.stats import binomtest, fisher_exact, norm
from torch import Tensor

from lib.measures import copying, three_sample
from lib.measures.copying import THIRD
from lib.measures.nearest import nearest
from lib.measures.statistics import permutation_p
from lib.protocols import known_copiers
from lib.protocols.known_copiers import Draw, Points, Source

RULES = 156  # what a seed is for, beside those of the samplers
LEVEL = 0.05
"""at which an alarm is raised"""
ZERO = "fresh images"


class Reading(NamedTuple):
    """What one measure says of one sampler."""

    value: float
    p: float
    """probability of a value as suspicious under the measure's own null"""


class Rules(NamedTuple):
    """What the measures need beside samples and images."""

    dimension: float
    """of the data, for the nulls that are a formula"""
    cells: int
    """of C_T"""
    exchanges: int
    """of training and held-out images"""


def _counted(which: Tensor, chance: float, alternative: str) -> Reading:
    return Reading(
        float(which.double().mean()), float(binomtest(int(which.sum()), len(which), chance, alternative).pvalue)
    )


def below_a_third(samples: Points, images: Draw, rules: Rules) -> Reading:
    """Share of samples with a neighbour ratio below 1/3, against the formula; samples as if independent."""
    ratio = copying.neighbour_ratio(samples, images.train)
    return _counted(ratio < THIRD, copying.neighbour_ratio_null(THIRD, rules.dimension), "greater")


def authentic(samples: Points, images: Draw, rules: Rules) -> Reading:
    """Share of authentic samples, against the formula, samples as if independent: too few are suspicious."""
    return _counted(copying.authentic(samples, images.train), copying.authenticity_null(rules.dimension), "less")


def calibrated(samples: Points, images: Draw, rules: Rules) -> Reading:
    """Share of samples with a calibrated distance below 1, against that of held-out images (Fisher's exact test)."""
    close = [int((copying.calibrated_distance(x, images.train) < 1).sum()) for x in (samples, images.held_out)]
    counts = [[count, len(samples) - count] for count in close]
    return Reading(close[0] / len(samples), float(fisher_exact(counts, alternative="greater").pvalue))


def ct(samples: Points, images: Draw, rules: Rules) -> Reading:
    """The statistic of data-copying in its standard deviations, against the normal distribution: low is suspicious."""
    start = np.random.default_rng([*images.identity, RULES])
    cells = three_sample.ct_by_cell(images.train, images.held_out, samples, cells=rules.cells, rng=start)
    return Reading(cells.mean() / cells.spread(), float(norm.cdf(cells.mean() / cells.spread())))


def neighbour_ratio(samples: Points, images: Draw, rules: Rules) -> Reading:
    """Share of training images to which samples come nearer than held-out images do, against a half.

    Their ratio is above one; see :func:`lib.measures.memorization.nearest_neighbour_ratio`.
    """
    to_samples, to_held_out = (nearest(images.train, other, 1)[0][:, 0] for other in (samples, images.held_out))
    return _counted(to_samples < to_held_out, 0.5, "greater")


def nearer(samples: Points, images: Draw, rules: Rules) -> Reading:
    """Share of samples nearer to a training image than to any held-out one, against a half as if independent."""
    value = copying.nearer_to_training(samples, images.train, images.held_out)
    return Reading(value, float(binomtest(round(value * len(samples)), len(samples), 0.5, "greater").pvalue))


def near_counts(samples: Points, images: Draw, closer: float) -> tuple[np.ndarray, np.ndarray]:
    """For each training and each held-out image: of how many samples it is the nearest of all.

    Args:
        samples: to be counted.
        images: training and held-out images, which are searched together.
        closer: a sample counts if its nearest image is nearer than the second by this factor; 1 counts nearly all.
    """
    both = torch.cat([images.train, images.held_out])
    distances, which = nearest(samples, both, 2)
    near = which[distances[:, 0] < closer * distances[:, 1], 0]
    counts = near.bincount(minlength=len(both)).numpy()
    return counts[: len(images.train)], counts[len(images.train) :]


def surplus(train: np.ndarray, held_out: np.ndarray) -> float:
    """How many more samples belong to training images."""
    return float(train.sum() - held_out.sum())


def exchanged(samples: Points, images: Draw, rules: Rules, closer: float = 1.0) -> Reading:
    """The surplus of samples nearest to training images, per sample, against exchanges with held-out images.

    Exact for every sampler that was made without either, whatever it emits: all divisions are equally probable.
    """
    counts = near_counts(samples, images, closer)
    p = permutation_p(surplus, *counts, draws=rules.exchanges, rng=np.random.default_rng([*images.identity, RULES, 1]))
    return Reading(surplus(*counts) / len(samples), p)


MEASURES: dict[str, Callable[[Points, Draw, Rules], Reading]] = {
    "ratio below 1/3": below_a_third,
    "authenticity": authentic,
    "calibrated distance": calibrated,
    "$C_T$": ct,
    "ratio of 2021": neighbour_ratio,
    "nearer to training": nearer,
    "exchange: nearer": exchanged,
    "exchange: near copies": partial(exchanged, closer=THIRD),
}


class Plan(NamedTuple):
    """What is measured, and how often."""

    count: int
    """training, held-out and fresh images, and samples: of each as many"""
    repetitions: int
    """with other images and other samples"""
    probabilities: Sequence[float]
    """of a copy, all positive"""
    narrow: float
    wide: float
    """factors of the standard deviations of the poor innocents"""
    blurred: float
    """standard deviation of the blur of copies, pixels"""
    noise: float
    """and of their noise, of a range of 1"""


def samplers(source: Source, images: Draw, plan: Plan) -> dict[tuple[str, str, float], Points]:
    """The samples of all samplers of one repetition, by what they emit, the kind of their copies, and how often.

    Copies of all kinds are among fresh images, exact ones also among samples that are too wide.
    """
    others = known_copiers.innocents(source, images, plan.narrow, plan.wide)
    kinds = known_copiers.copies(source, images, plan.blurred, plan.noise)
    found = {(name, "none", 0.0): samples for name, samples in others.items()}
    for name, kind in (*((ZERO, kind) for kind in kinds), ("too wide", "exact")):
        for probability in plan.probabilities:
            made = known_copiers.memoriser(images, others[name], probability, kinds[kind])
            found[name, kind, float(probability)] = made
    return found


def table(source: Source, plan: Plan, rules: Rules, *, seed: int) -> pd.DataFrame:
    """Value and p of every measure of every sampler in every repetition: a row for each.

    Args:
        source: of the images.
        plan: samplers and repetitions.
        rules: what the measures need beside.
        seed: of all draws.
    """
    rows = []
    for repetition in range(plan.repetitions):
        images = known_copiers.draw(source, plan.count, repetition, seed=seed)
        for sampler, samples in samplers(source, images, plan).items():
            for name, measure in MEASURES.items():
                rows.append((repetition, *sampler, name, *measure(samples, images, rules)))
    return pd.DataFrame(rows, columns=["repetition", "emits", "copies", "probability", "measure", "value", "p"])
