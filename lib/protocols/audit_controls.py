"""What tests of samples say where the answer is known: copycats, shams, and copies planted in rising number.

Copies are made of the images that are compared. In a trial, and in a sham, a random division is the true one: nothing
but what was planted is there to be found, whatever the user's samples are.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.stats import binomtest, norm
from torch import Tensor

from lib.measures.axes import Images
from lib.measures.copying import authenticity_null, neighbour_ratio_null
from lib.measures.intervals import share
from lib.measures.transforms import blur
from lib.protocols.audit_lists import Lists, Sides, lists
from lib.protocols.audit_results import LEVEL, Control, Limit
from lib.protocols.audit_scores import NAMES, Divisions, Scores, divisions, ranked, scores
from lib.protocols.copy_tests import THIRD

POOL = 2000
"""images of which copies are made for trials"""
TRIALS = 600
"""of each number of copies; with 600 the power at the limit is known to within two per cent"""
SHAMS = 200
BLUR = 1.0
"""standard deviation of the blur of blurred copies, pixels"""
NOISE = 0.2
"""standard deviation of the noise of noised copies, of a range of 1"""
POWER = 0.95
EXCHANGES = 199
"""exchanges of a trial"""
SHAM_EXCHANGES = 19
"""exchanges of a sham: it is flagged at a level of 5 % if it is the most suspicious of 20"""
RULES = ("p of a binomial test ≤ 5 %", "more than r^d at 5 %", "C_T below −1.64", "fewer than chance at 5 %")
"""what the literature would do, in the order of NAMES: samples as if independent, dimension as measured"""


class Copies(NamedTuple):
    """Copies of one kind, as more samples."""

    of: Int64[Tensor, " copies"]
    """the places among all images of what they are copies of"""
    scores: Scores
    """under the first divisions"""


def kinds(images: Images, *, seed: int) -> Iterator[tuple[str, Images]]:
    """A copy of each image: as it is, blurred, and with noise in every pixel; one kind at a time is in memory."""
    yield "exact", images
    yield "blurred", blur(BLUR)(images)
    noise = np.random.default_rng([seed, len(images)]).standard_normal(images.shape)
    yield "noised", images + NOISE * torch.from_numpy(noise).to(images)


def copied(sides: Sides, members: Lists, divided: Divisions, *, seed: int) -> dict[str, Copies]:
    """Copies of images of both sides, and their scores under every division."""
    rng = np.random.default_rng([seed, 1, len(sides.images)])
    of = torch.from_numpy(rng.permutation(len(sides.images))[:POOL])
    return {
        kind: Copies(of, scores(divided, lists(copies.flatten(1), sides.points), members))
        for kind, copies in kinds(sides.images[of], seed=seed)
    }


def copycats(copies: dict[str, Copies], labels: Tensor) -> dict[str, dict[str, float]]:
    """P of every test of samples that are all copies of training images, by test and kind of copy."""
    found: dict[str, dict[str, float]] = {name: {} for name in NAMES}
    for kind, (of, scored) in copies.items():
        statistics = scored[:, :, labels[of]].double().mean(2, keepdim=True)
        p = ranked(statistics, torch.zeros(1, dtype=torch.int64)).p
        for name, value in zip(NAMES, p[:, 0], strict=True):
            found[name][kind] = float(value)
    return found


def powers(scored: Scores, copies: Copies, divided: Divisions, *, seed: int, trials: int) -> Callable:
    """How often so many copies among the samples are seen by all tests together, as a function of their number.

    In each trial other samples are replaced by copies of other images, and another division is the true one; copies of
    a smaller number are among those of a larger one.

    Args:
        scored: of the samples.
        copies: to be planted.
        divided: the divisions, all of which are compared.
        seed: of the trials.
        trials: how many.
    """
    rng, count = np.random.default_rng([seed, 2]), scored.shape[2]
    true = rng.integers(len(divided), size=trials)
    slots = torch.from_numpy(np.stack([rng.permutation(count) for _ in true]))
    pools = [divided[division][copies.of].nonzero()[:, 0].numpy() for division in true]
    planted = torch.from_numpy(np.stack([rng.choice(pool, count) for pool in pools]))
    chosen, total = torch.from_numpy(true), scored.sum(2, keepdim=True)

    def power(number: int) -> float:
        out, into = _weights(slots[:, :number], count), _weights(planted[:, :number], len(copies.of))
        statistics = (total - scored @ out + copies.scores @ into) / count
        return float((ranked(statistics, chosen).joint <= LEVEL).mean())

    return power


def _weights(rows: Int64[Tensor, "trials number"], pool: int) -> Float[Tensor, "pool trials"]:
    """How often each row of the pool is chosen in each trial."""
    found = torch.zeros(len(rows), pool, dtype=torch.float32)
    return found.scatter_add_(1, rows, torch.ones(rows.shape, dtype=torch.float32)).T


def limit(kind: str, power: Callable[[int], float], samples: int, trials: int) -> Limit:
    """The smallest number of copies that is seen in 95 % of trials, by bisection, and how often all tried ones are."""
    found = {number: power(number) for number in {1, *(round(samples / 3**k) for k in range(8))} if number}
    high = min((number for number, seen in found.items() if seen >= POWER), default=samples)
    low = max((number for number in found if number < high), default=0)
    while high - low > 1:
        middle = (low + high) // 2
        found[middle] = power(middle)
        low, high = (low, middle) if found[middle] >= POWER else (middle, high)
    seen = found[samples] >= POWER
    curve = [(number / samples, found[number]) for number in sorted(found)]
    return Limit(kind, high / samples if seen else None, high if seen else None, trials, curve)


def limits(scored: Scores, copies: dict[str, Copies], divided: Divisions, *, seed: int) -> list[Limit]:
    """The limit of every kind of copies, from the first exchanges."""
    few = slice(0, EXCHANGES + 1)
    return [
        limit(
            kind,
            powers(scored[:, few], each._replace(scores=each.scores[:, few]), divided[few], seed=seed, trials=TRIALS),
            scored.shape[2],
            TRIALS,
        )
        for kind, each in copies.items()
    ]


Shots = Float[np.ndarray, " shams"]


class Shams(NamedTuple):
    """Alarms of shams."""

    p: Float[np.ndarray, "tests shams"]
    joint: Float[np.ndarray, " shams"]
    published: Float[np.ndarray, "tests shams"]
    """1 where the rule of the literature raises an alarm"""


def shams(
    held_out: Tensor,
    samples: Tensor,
    dimension: float,
    *,
    seed: int,
    count: int,
    exchanges: int = SHAM_EXCHANGES,
) -> Shams:
    """Divide the held-out images at random into halves, and test them against each other, ``count`` times.

    Each sham has exchanges of its own. None of its two sides was used, so all that is flagged is a false alarm.

    Args:
        held_out: held-out images as vectors.
        samples: the samples as vectors.
        dimension: of the data, for the rules of the literature.
        seed: of the divisions.
        count: number of shams.
        exchanges: of each.
    """
    made = lists(samples, held_out)
    members = lists(held_out, held_out, own=torch.arange(len(held_out)))
    half = torch.arange(len(held_out)) < len(held_out) // 2
    found: list[tuple] = []
    for sham in range(count):
        rng = np.random.default_rng([seed, 3, sham])
        divided = divisions(half[torch.from_numpy(rng.permutation(len(half)))], exchanges, rng=rng)
        mean = scores(divided, made, members).double().mean(2, keepdim=True)
        result = ranked(mean, torch.zeros(1, dtype=torch.int64))
        alarms = published(mean[:, 0, 0], len(samples), len(half) // 2, dimension)
        found.append((result.p[:, 0], result.joint[0], alarms))
    p, joint, rules = map(np.stack, zip(*found, strict=True))
    return Shams(p.T, joint, rules.T)


def published(statistic: Float[Tensor, " tests"], samples: int, held_out: int, dimension: float) -> np.ndarray:
    """Which rules of the literature raise an alarm (1) or not (0), in the order of NAMES, see :data:`RULES`."""
    nearer, near, farther, copied_ = statistic.tolist()
    exact = partial(_exceeds, samples)
    return np.array(
        [
            exact(nearer, 0.5),
            exact(near, neighbour_ratio_null(THIRD, dimension) / 2),
            z_of(farther, samples, held_out) < norm.ppf(LEVEL),
            exact(copied_, 1 - authenticity_null(dimension)),
        ],
        dtype=float,
    )


def z_of(farther: float, samples: int, held_out: int) -> float:
    """The statistic C_T of one cell, from the probability that a held-out image is farther away than a sample."""
    return (0.5 - farther) * (12 * samples * held_out / (samples + held_out + 1)) ** 0.5


def _exceeds(samples: int, value: float, chance: float) -> bool:
    return bool(binomtest(round(value * samples), samples, chance, "greater").pvalue <= LEVEL)


def control(positive: dict[str, float], p: Shots, alarms: Shots, rule: str) -> Control:
    """The known answers of one test.

    Args:
        positive: p of copycats.
        p: of shams.
        alarms: 1 for each sham that the rule of the literature flags.
        rule: that rule.
    """
    rate = share(int((np.asarray(p) <= LEVEL).sum()), len(p))
    return Control(positive, rate, share(int(np.sum(alarms)), len(alarms)) if rule else None, rule)
