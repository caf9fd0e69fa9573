"""Is an image copied, and is it influential? Of learnt models, and of samplers whose answers are known."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from lib.measures.axes import Decoder
from lib.measures.copying import THIRD
from lib.measures.intervals import Estimate, by_model, over_models, share, with_models
from lib.measures.nearest import nearest
from lib.models.draws import rng_from
from lib.protocols import influence
from lib.protocols.dose_response import Pair
from lib.protocols.emission import Made, Points, emitted, generated, kernel_effect, kernel_samples, width_of
from lib.protocols.planting import Plan

GENERATED, KERNELS = 171, 172  # what a seed is for


class Answers(NamedTuple):
    """What models say of images with a number of copies."""

    copied: Estimate
    """share of which a near-duplicate comes out"""
    image: Estimate
    """log p with all copies less log p without any, nats"""
    row: Estimate
    """log p with all copies less log p with one fewer, nats"""


class Kernels(NamedTuple):
    """A sampler of kernels for each training set of a plan."""

    samples: list[Made]
    came_out: list[torch.Tensor]
    """of which candidates a near-duplicate is among the samples"""
    effects: list[dict[str, torch.Tensor]]
    """``image`` and ``row`` of :class:`Answers`, at every candidate; NaN where it is held out"""


def pictures(plan: Plan) -> Points:
    """The candidates, then the background, in [-1, 1]: the different images that anything can be a copy of."""
    pools = plan.pools()
    return 2 * plan.dataset.train[torch.cat([pools.candidates, pools.background])].flatten(1) - 1


def kernels(plan: Plan, models: int, length: float, count: int) -> Kernels:
    """Samplers of kernels on the training sets of models.

    Args:
        plan: the training sets.
        models: how many.
        length: of a kernel's noise, in that of the median distance between nearest images.
        count: samples of each.
    """
    images = pictures(plan)
    width = width_of(length, images)
    samples, came_out, effects = [], [], []
    for model in range(models):
        copies = plan.copies(model)
        seen = torch.cat([copies, copies.new_ones(len(images) - len(copies))])
        chosen, planted = images[seen > 0], copies > 0
        here = torch.arange(int(planted.sum()), device=images.device)
        own, weights = copies[planted].double(), seen[seen > 0].double()
        rows = images.repeat_interleave(seen, 0)
        samples.append(kernel_samples(rows, count, width, rng=rng_from(rows.device, plan.seed, KERNELS, model)))
        came_out.append(out_of(plan, samples[-1]))
        effects.append({})
        for name, removed in (("image", own), ("row", torch.ones_like(own))):
            effects[-1][name] = torch.full((len(copies),), torch.nan, dtype=torch.float64)
            effects[-1][name][planted] = kernel_effect(chosen.double(), weights, width, here, removed)
    return Kernels(samples, came_out, effects)


def of_kernels(plan: Plan, of: Kernels, dose: int) -> Answers:
    """What samplers of kernels say of the candidates of a dose, with intervals over samplers."""
    chosen = [plan.copies(model) == dose for model in range(len(of.samples))]
    ends = [
        over_models(np.mean, [each[name][rows] for each, rows in zip(of.effects, chosen, strict=True)])
        for name in Answers._fields[1:]
    ]
    return Answers(copied(plan, of.came_out, dose), *ends)


def of_models(plan: Plan, pairs: Sequence[Pair], came_out: Sequence[torch.Tensor], dose: int, measure: str) -> Answers:
    """What learnt models say of the candidates of a dose, with intervals over models.

    Args:
        plan: what they were trained on.
        pairs: the models and their shams.
        came_out: of each model, of which candidates a near-duplicate came out.
        dose: copies.
        measure: the name of log p.
    """
    return Answers(
        copied(plan, came_out, dose), influence.effect(pairs, measure, dose), influence.per_row(pairs, measure, dose)
    )


def made(plan: Plan, decoders: Sequence[Decoder], latent: int, count: int) -> list[Made]:
    """What each of some models makes of standard normal latents, in [-1, 1]."""
    place = plan.dataset.train.device
    return [
        generated(decoder, latent, count, rng=rng_from(place, plan.seed, GENERATED, model))
        for model, decoder in enumerate(decoders)
    ]


def out_of(plan: Plan, samples: Made) -> torch.Tensor:
    """Which candidates have a near-duplicate among the samples of a model."""
    return emitted(samples, pictures(plan))[: 2 * plan.planted]


def copied(plan: Plan, came_out: Sequence[torch.Tensor], dose: int) -> Estimate:
    """The share of the candidates of a dose that came out of models.

    The interval is exact over images, as none of few is not none of all, and widened by that over models.
    """
    shares = _of_dose(plan, came_out, dose)
    all_images = share(int(torch.cat(shares).sum()), sum(map(len, shares)))
    return with_models(all_images, by_model(np.mean, shares)).within(0.0, 1.0)


def reconstructed(plan: Plan, pairs: Sequence[Pair], dose: int) -> Estimate:
    """The share of the candidates of a dose whose reconstruction would pass for a copy: could the model make one?"""
    images, own = pictures(plan), torch.arange(2 * plan.planted)
    passes = []
    for pair in pairs:
        distances, which = nearest(2 * pair.model.made.flatten(1) - 1, images, 2)
        passes.append((which[:, 0] == own) & (distances[:, 0] < THIRD * distances[:, 1]))
    return copied(plan, passes, dose)


def beyond(plan: Plan, came_out: Sequence[torch.Tensor], dose: int, count: int) -> Estimate:
    r"""By how much :func:`copied` exceeds the share that random rows of the training set would give.

    .. math:: 1 - (1 - c / n)^m

    Args:
        plan: the training sets of n rows.
        came_out: of each model, of which candidates a near-duplicate came out.
        dose: copies c.
        count: samples m of each model.
    """
    rows = plan.background + plan.each * sum(plan.doses)
    expected = -math.expm1(count * math.log1p(-dose / rows))
    return over_models(np.mean, [of_model - expected for of_model in _of_dose(plan, came_out, dose)])


def _of_dose(plan: Plan, came_out: Sequence[torch.Tensor], dose: int) -> list[torch.Tensor]:
    return [of_model[plan.copies(model) == dose].double() for model, of_model in enumerate(came_out)]
