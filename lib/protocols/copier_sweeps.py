"""Two sweeps of innocent samplers: over the dimension of the data, and over the width of a mixture."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from lib.measures import copying
from lib.measures.intervals import Estimate, mean_of_few, share
from lib.protocols import dimensions, known_copiers
from lib.protocols.copy_tests import LEVEL, MEASURES, THIRD, Plan, Rules
from lib.protocols.known_copiers import Source

WIDTHS = 157  # what a seed is for, beside those of the samplers and of their tests


class ByDimension(NamedTuple):
    """Fresh images on the first principal components: what is accused, and what the formula says."""

    components: int
    likelihood: float
    """dimension of as many images as two sets have, by maximum likelihood over several neighbours, mean of halves"""
    two_neighbours: float
    """the same from the two nearest neighbours alone"""
    third: Estimate
    """share of fresh images with a ratio below 1/3"""
    authentic: Estimate
    """share of fresh images that are authentic"""


def by_dimension(source: Source, plan: Plan, components: Sequence[int], *, seed: int) -> list[ByDimension]:
    """The two rules with a formula, of fresh images on the first few components.

    Args:
        source: of the images.
        plan: how many images, and how often.
        components: numbers of components, at least 2.
        seed: of the draws, which are those of :func:`lib.protocols.copy_tests.table`.
    """
    draws = [known_copiers.draw(source, plan.count, r, seed=seed) for r in range(plan.repetitions)]
    cloud = torch.cat([draws[0].train, draws[0].held_out])
    estimated = dimensions.estimated({str(k): cloud[:, :k] for k in components}, seed=seed)
    rows = []
    for k, halves in zip(components, estimated.to_dict("records"), strict=True):
        sides = [(each.fresh[:, :k].contiguous(), each.train[:, :k].contiguous()) for each in draws]
        below = [float((copying.neighbour_ratio(*side) < THIRD).double().mean()) for side in sides]
        authentic = [copying.authenticity(*side) for side in sides]
        shares = [mean_of_few(torch.tensor(each)) for each in (below, authentic)]
        rows.append(ByDimension(k, halves["maximum likelihood"].mean, halves["TwoNN"].mean, *shares))
    return rows


def by_width(
    source: Source, plan: Plan, rules: Rules, widths: Sequence[float], probability: float, *, seed: int
) -> dict[tuple[str, float], list[Estimate]]:
    """Alarms of two tests of a mixture whose standard deviations are multiplied by each of the widths.

    Args:
        source: with the mixture.
        plan: how many images, and how often.
        rules: what the tests need beside.
        widths: the factors.
        probability: of an exact copy, in a second sampler beside the one without copies.
        seed: of the draws.

    Returns:
        By test and probability, 0 or the given one, an estimate for each width.
    """
    names, found = ("$C_T$", "exchange: nearer"), {}
    for repetition in range(plan.repetitions):
        images = known_copiers.draw(source, plan.count, repetition, seed=seed)
        for width in widths:
            rng = np.random.default_rng([seed, repetition, WIDTHS])
            innocent = known_copiers.drawn(source.mixture, plan.count, width, rng=rng).to(images.train)
            for each in (0.0, probability):
                samples = known_copiers.memoriser(images, innocent, each, images.train)
                for name in names:
                    accused = MEASURES[name](samples, images, rules).p <= LEVEL
                    found.setdefault((name, each), {}).setdefault(width, []).append(accused)
    return {key: [share(sum(row[w]), len(row[w])) for w in widths] for key, row in found.items()}
