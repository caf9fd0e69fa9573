"""The K-fold memorisation score of flows, whose log p is exact, beside autoencoders of the same folds, whose is not.

Every model is asked for the density of the same images with the same noise, in units in which pixels go from -1 to 1.
"""

import copy
import functools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lib.measures.flow_density import log_density_at
from lib.measures.intervals import Estimate, mean_of_few
from lib.measures.likelihood import log_evidence
from lib.measures.memorization import scores, split
from lib.models.data import Dataset
from lib.models.draws import rng_from, sample
from lib.models.family import Fit, Index, Spec
from lib.models.fit import fit as fit_all
from lib.models.flows import FlowFit, VelocityNetwork
from lib.models.kfold import folds as divided
from lib.models.stochastic import StochasticFit
from lib.protocols import flow_ends
from lib.protocols.flow_ends import Mixture
from lib.protocols.flow_sizes import Points, noised
from lib.protocols.kfold import ByModel, Folds
from lib.protocols.pair import seeds
from lib.protocols.planting import with_repeats

NULL, SAMPLES, ASKED = 174, 175, 176  # what a seed is for
Grid = list[list[Fit]]
"""the models of every repeat, by the fold that they are trained without"""


class Division(NamedTuple):
    """Which images are divided, and how."""

    images: int
    """drawn from the training images"""
    folds: int
    repeats: int
    """random divisions"""
    seed: int

    def rows(self, images: Dataset) -> Index:
        """The images that are divided."""
        return sample(len(images.train), self.images, self.seed, name=images.name, what="images")

    def held_out(self) -> Folds:
        """Which model of a repeat is without an image."""
        each = [divided(self.images, self.folds, seed=self.seed, repeat=k) for k in range(self.repeats)]
        return torch.stack(each)

    def training_set(self, images: Dataset, repeat: int, fold: int) -> Dataset:
        """What the model of a repeat and fold is trained on."""
        kept = with_repeats(images, self.rows(images)[self.held_out()[repeat] != fold])
        return kept._replace(again=images.again and functools.partial(_again, images.again, self, repeat, fold))


def _again(load: Callable[[], Dataset], division: Division, repeat: int, fold: int) -> Dataset:
    return division.training_set(load(), repeat, fold)


def fit(spec: Spec, images: Dataset, division: Division, device: str, executor: Executor) -> Grid:
    """A model for every fold of every repeat, each with a seed of its own."""

    def one(number: int, seed: int) -> Fit:
        data = division.training_set(images, *divmod(number, division.folds))
        return fit_all([replace(spec, seed=seed)], data, device)[0]

    count = division.repeats * division.folds
    found = list(executor.map(one, range(count), seeds(spec.seed, count)))
    return [found[start : start + division.folds] for start in range(0, count, division.folds)]


def asked_about(images: Dataset, division: Division, count: int, noise: float) -> Points:
    """The first of the divided images, in [-1, 1], with the noise that all models are asked about."""
    return noised(VelocityNetwork.observe(images.train[division.rows(images)[:count]]), noise, (division.seed, ASKED))


def of_models(grid: Sequence[Sequence], log_p: Callable[..., Tensor], *asked: object) -> ByModel:
    """The log p of all models.

    Args:
        grid: models by repeat and fold.
        log_p: of one model, nats for each of the images.
        asked: what else it takes.
    """
    each = [[log_p(model, *asked).double().cpu() for model in of_repeat] for of_repeat in grid]
    return torch.stack([torch.stack(of_repeat) for of_repeat in each])


def of_flow(fitted: FlowFit, x: Points, steps: int) -> Float[Tensor, " images"]:
    """Exact log p under a flow, nats; NaN where no code was found."""
    place = next(fitted.model.parameters()).device
    found = log_density_at(copy.deepcopy(fitted.model).double(), x.double().to(place), steps)
    return found.log_p.where(found.error < 1e-3, torch.nan)


def of_autoencoder(fitted: StochasticFit, x: Points, samples: int, draw: int = 0) -> Float[Tensor, " images"]:
    """Importance-sampled log p under an autoencoder of images in [0, 1], nats of images in [-1, 1]."""
    model = fitted.models[0]
    place = next(model.parameters()).device
    shown = ((x + 1) / 2).view(-1, *model.shape).to(place)
    rng = rng_from(place, fitted.spec.seed, SAMPLES, draw)
    return log_evidence(model.encode, model.decode, shown, samples, generator=rng).log_p - x.shape[1] * math.log(2)


def ends(images: Dataset, division: Division, noise: float, parts: int) -> dict[str, list[list[Mixture]]]:
    """The memoriser and the learner of every training set, in closed form."""

    def grid(end: Callable[[Points], Mixture]) -> list[list[Mixture]]:
        return [
            [
                end(VelocityNetwork.observe(division.training_set(images, repeat, fold).train)).double()
                for fold in range(division.folds)
            ]
            for repeat in range(division.repeats)
        ]

    return {
        "memoriser": grid(lambda train: flow_ends.memoriser(train, noise)),
        "learner": grid(lambda train: flow_ends.learner(train, parts, seed=division.seed)),
    }


class Scored(NamedTuple):
    """What models of a kind say: nats, means over images, with intervals over repeats."""

    seen: Estimate
    """log p under models with the image"""
    unseen: Estimate
    """under the model without it"""
    score: Estimate
    """the memorisation score, of as many models as the null"""
    null: Estimate
    """the same where a model with the image is taken for one without it"""
    excess: Estimate
    """score less null"""
    balanced: Estimate
    """score with as many models on either side"""
    spread: Estimate
    """standard deviation of log p between models with the image"""


def scored(log_p: ByModel, held_out: Folds, *, seed: int) -> Scored:
    """The scores of each repeat by itself, over repeats.

    Args:
        log_p: of every image under every model, nats; images that some model gives no log p are left out.
        held_out: which model of a repeat is without an image.
        seed: of the null.
    """
    known = ~log_p.isnan().any(0).any(0)
    rng = rng_from(log_p.device, seed, NULL)
    rows = []
    for values, without in zip(log_p[:, None, :, known], held_out[:, None, : len(known)][..., known], strict=True):
        seen, unseen = split(values, without)
        found = scores(values, without, rng=rng)
        parts = (seen, unseen, found.matched, found.null, found.matched - found.null, found.balanced)
        rows.append([*(float(part.mean()) for part in parts), float(seen.var(0).mean().sqrt())])
    return Scored(*(mean_of_few(torch.tensor(column)) for column in zip(*rows, strict=True)))


def estimator_share(first: ByModel, second: ByModel, held_out: Folds) -> Estimate:
    """How much of the variance of log p between models with an image is due to the estimate, over repeats.

    Args:
        first: estimates of every image under every model, nats.
        second: the same with other importance samples.
        held_out: which model of a repeat is without an image.
    """
    shares = []
    for one, other, without in zip(first[:, None], second[:, None], held_out[:, None, : first.shape[2]], strict=True):
        a, b = split(one, without)[0], split(other, without)[0]
        shares.append(float((a - b).square().mean() / 2 / ((a.var(0) + b.var(0)).mean() / 2)))
    return mean_of_few(torch.tensor(shares))
