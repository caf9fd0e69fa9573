"""How far to trust log p(x): effective sample sizes, and the same models asked again.

Source: van den Burg & Williams 2021, section 4 and equation 9, for the estimate; the bar for it is ours.
"""

from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from lib.measures.axes import PerSample
from lib.measures.intervals import Estimate, estimate
from lib.measures.likelihood import log_evidence
from lib.measures.memorization import score, split
from lib.models.draws import rng_from
from lib.protocols import kfold
from lib.protocols.kfold import ByModel, CrossValidation, Folds

BAR = 2
"""An estimate that rests on fewer effective samples is flagged."""


class Asked(NamedTuple):
    """What all final models say of the first images."""

    log_p: ByModel
    """nats"""
    ess: ByModel
    """effective sample size of each estimate"""
    held_out: Folds
    """which model of a repeat was not trained with the image"""


class Precision(NamedTuple):
    """What a number of importance samples makes of the images."""

    samples: int
    inside: float
    """mean log p under models with the image, nats"""
    outside: float
    """mean log p under models without it, nats"""
    gap: Estimate
    """mean of :func:`gap` over images"""
    score: Estimate
    """median memorisation score"""
    flagged: Estimate
    """share of flagged estimates"""


def ask_again(fits: CrossValidation, samples: int, *, images: int, redraw: bool = False, executor: Executor) -> Asked:
    """Log p(x) of the first images under all final models once more.

    Args:
        fits: the models.
        samples: importance samples of each estimate. Their random numbers belong to the model, whatever the pixels.
        images: how many images.
        redraw: whether each model is asked about pixels drawn for it alone, and not about those that all have.
        executor: where models are asked side by side.
    """
    _, repeats, folds, _ = fits.log_p.shape
    shared, grey, seed = fits.x[:images], fits.shown[:images], fits.spec.seed

    def ask(index: int) -> Tensor:
        repeat, fold = divmod(index, folds)
        model = fits.model(repeat, fold)
        x = kfold.observed(fits.spec, grey.to(shared.device), kfold.REDRAWN + index) if redraw else shared
        rng = rng_from(x.device, seed, kfold.EVIDENCE, repeat, fold)
        return torch.stack(log_evidence(model.encode, model.decode, x, samples, generator=rng)).cpu()

    log_p, ess = torch.stack(list(executor.map(ask, range(repeats * folds))), 1).unflatten(1, (repeats, folds))
    return Asked(log_p, ess, fits.held_out[:, :images])


def flagged(ess: ByModel) -> Bool[Tensor, "repeats folds n"]:
    """Which estimates rest on fewer effective samples than :data:`BAR`."""
    return ess < BAR


def flagged_share(ess: ByModel, *, seed: int) -> Estimate:
    """The share of flagged estimates, with its interval over images.

    Args:
        ess: effective sample sizes.
        seed: seed of the bootstrap.
    """
    return estimate(flagged(ess).double().mean((0, 1)), seed=seed)


def gap(log_p: ByModel, held_out: Folds) -> PerSample:
    """Mean log p under the models with each image minus that under the models without it, nats.

    What the memorisation score would be with the logarithm inside the mean: no single model decides it.
    """
    log_p_in, log_p_out = split(log_p, held_out)
    return log_p_in.mean(0) - log_p_out.mean(0)


def precision(asked: Asked, samples: int, *, seed: int) -> Precision:
    """What an estimate with so many importance samples makes of the images, side by side with other numbers.

    Args:
        asked: the estimates.
        samples: how many importance samples they have.
        seed: seed of the bootstrap over images.
    """
    log_p_in, log_p_out = split(asked.log_p, asked.held_out)
    return Precision(
        samples,
        float(log_p_in.mean()),
        float(log_p_out.mean()),
        estimate(gap(asked.log_p, asked.held_out), seed=seed),
        estimate(score(log_p_in, log_p_out), np.median, seed=seed),
        flagged_share(asked.ess, seed=seed),
    )


def shift(fewer: Asked, more: Asked, *, seed: int) -> Estimate:
    """By how many nats per image the gap grows from fewer importance samples to more, of the same images.

    Args:
        fewer: the estimates with fewer samples.
        more: those with more.
        seed: seed of the bootstrap over images.
    """
    return estimate(gap(more.log_p, more.held_out) - gap(fewer.log_p, fewer.held_out), seed=seed)
