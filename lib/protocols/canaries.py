r"""Canaries: images with a key drawn at random, and whether a model knows the key.

A key is a row of blocks at the upper edge of an image, each lit on its left or on its right half, so that all keys are
equally bright. The images of a :class:`lib.protocols.planting.Plan` get keys, each an own one for every model, and go
into training sets as often as the plan says. Afterwards a measure is asked about an image with every possible key. If
the model has not used the image, the true key is no likelier than any other to stand first: chance is exact, for one
model and one image, without a second model and without held-out images.

Source: exposure is that of Carlini, Liu, Erlingsson, Kos & Song 2019, for canaries in text.
"""

import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.stats import rankdata
from torch import Tensor

from lib.measures.axes import Images, PerSample
from lib.measures.intervals import Estimate, over_models, share, with_models
from lib.models.data import DataError, Dataset
from lib.protocols.planting import Plan

KEYS, GUESSED = 181, 182  # what a seed is for
ROWS, HALF = 3, 2
"""pixels: the height of a block, and the width of its halves"""

Keys = Int64[Tensor, " n"]
Ranks = Float[np.ndarray, "*n"]


def stamped(images: Images, keys: Keys, bits: int, level: float) -> Images:
    """Images with keys on their upper edge.

    Args:
        images: in [0, 1].
        keys: a number below ``2 ** bits`` for each; its bits say which halves of the blocks are lit.
        bits: blocks.
        level: grey of what is lit; the other halves are black.

    Raises:
        DataError: the images are too narrow for as many blocks.

    Example:
        >>> stamped(torch.zeros(1, 1, 4, 8), torch.tensor([1]), 2, 0.5)[0, 0, 0]
        tensor([0.5000, 0.5000, 0.0000, 0.0000, 0.0000, 0.0000, 0.5000, 0.5000])
    """
    high, wide = images.shape[-2:]
    if 2 * HALF * bits > wide or high < ROWS:
        raise DataError(f"keys of {bits} bits need {ROWS} x {2 * HALF * bits} pixels, the images have {high} x {wide}")
    lit = (keys[:, None] >> torch.arange(bits)) & 1
    halves = torch.stack([lit, 1 - lit], 2).flatten(1).repeat_interleave(HALF, 1)
    start = (wide - halves.shape[1]) // 2
    found = images.clone()
    found[..., :ROWS, start : start + halves.shape[1]] = level * halves[:, None, None].to(images)
    return found


class Canaries(NamedTuple):
    """The candidates of a plan with keys."""

    plan: Plan
    bits: int
    level: float

    def keys(self, model: int) -> Keys:
        """The key of each candidate in the training set of a model."""
        rng = np.random.default_rng([self.plan.seed, KEYS, model])
        return torch.from_numpy(rng.integers(2**self.bits, size=2 * self.plan.planted))

    def training_set(self, model: int) -> Dataset:
        """The training set of the plan, in which candidates have their keys."""
        dataset, keys = self.plan.dataset, self.keys(model)
        train, rows = dataset.train.clone(), self.plan.pools().candidates
        train[rows] = stamped(train[rows], keys, self.bits, self.level)
        digest = hashlib.sha256(f"{dataset.digest} keys {keys.tolist()} {self.bits} {self.level}".encode()).hexdigest()
        keyed = self.plan._replace(dataset=dataset._replace(train=train, digest=digest, again=None))
        given = (list(self.plan.doses), *self.plan[2:], self.bits, self.level, model)
        again = dataset.again and functools.partial(_again, dataset.again, *given)
        return keyed.training_set(model)._replace(again=again)


def ranks(canaries: Canaries, model: int, measure: Callable[[Images], PerSample]) -> Ranks:
    """The place of the true key of each candidate among all keys, one where the measure is largest for it.

    Keys of the same value share the mean of their places.

    Args:
        canaries: the candidates.
        model: which of the models.
        measure: what the model says of images, larger where they are known.
    """
    images, true = canaries.plan.candidates(), canaries.keys(model)
    values = [
        measure(stamped(images, torch.full_like(true, key), canaries.bits, canaries.level))
        for key in range(2**canaries.bits)
    ]
    places = rankdata(-torch.stack(values).double().cpu().numpy(), axis=0)
    return places[true.numpy(), np.arange(len(true))]


def exposure(places: Ranks, bits: int) -> Ranks:
    r"""How many bits of a key a model gives away, :math:`\log_2 R - \log_2 \text{rank}`, with :math:`R = 2^{bits}`.

    Example:
        >>> exposure(np.array([1.0, 2.0, 64.0]), 6)
        array([6., 5., 0.])
    """
    return bits - np.log2(places)


def chance(bits: int) -> float:
    r"""The mean exposure of a key that a model does not know: all places are equally probable.

    .. math:: \frac1R \sum_{r=1}^R \log_2 \frac Rr \to \frac1{\ln 2} = 1.44

    Example:
        >>> f"{chance(1):.2f} {chance(6):.2f} {chance(20):.4f}"
        '0.50 1.38 1.4427'
    """
    return float(np.mean(exposure(np.arange(1.0, 2**bits + 1), bits)))


def beyond_chance(canaries: Canaries, places: Sequence[Ranks], dose: int) -> Estimate:
    """The mean exposure of the candidates of a dose less that of chance, with an interval over models.

    Args:
        canaries: the candidates.
        places: for each model, those of :func:`ranks`.
        dose: copies; zero for those held out.
    """
    bits, of = canaries.bits, canaries.plan.copies
    bare = [torch.from_numpy(exposure(each, bits)) - chance(bits) for each in places]
    return over_models(np.mean, [each[of(model) == dose] for model, each in enumerate(bare)])


def known(canaries: Canaries, places: Sequence[Ranks], dose: int) -> Estimate:
    """The share of the candidates of a dose whose key stands first, over all models.

    The interval is exact over candidates, and widened by that over models. Chance is one in as many as there are keys.
    Arguments are those of :func:`beyond_chance`.
    """
    first = [each[canaries.plan.copies(model).numpy() == dose] == 1 for model, each in enumerate(places)]
    over_all = share(int(np.concatenate(first).sum()), sum(map(len, first)))
    return with_models(over_all, [float(each.mean()) for each in first]).within(0.0, 1.0)


def difference(canaries: Canaries, places: Sequence[Ranks], others: Sequence[Ranks], dose: int) -> Estimate:
    """The mean exposure of the candidates of a dose by one measure less that by another, of the same models."""
    chosen = [canaries.plan.copies(model).numpy() == dose for model in range(len(places))]
    less = [np.log2(b[rows]) - np.log2(a[rows]) for a, b, rows in zip(places, others, chosen, strict=True)]
    return over_models(np.mean, list(map(torch.from_numpy, less)))


def p_value(places: Ranks, bits: int, *, draws: int, seed: int) -> float:
    """How often keys that are guessed are exposed as much as the true ones, in the mean over candidates: exact.

    Args:
        places: of one model, those of :func:`ranks`.
        bits: of a key.
        draws: how often to guess.
        seed: of the guesses.
    """
    rng = np.random.default_rng([seed, GUESSED])
    guessed = exposure(1.0 + rng.integers(2**bits, size=(draws, len(places))), bits).mean(1)
    return (1 + int((guessed >= exposure(places, bits).mean() - 1e-12).sum())) / (1 + draws)


def _again(
    load: Callable[[], Dataset],
    doses: list[int],
    each: int,
    background: int,
    seed: int,
    bits: int,
    level: float,
    model: int,
) -> Dataset:
    return Canaries(Plan(load(), doses, each, background, seed), bits, level).training_set(model)
