"""The models of repeated K-fold cross-validation, what they are asked about, and what they make.

Every source of random numbers that a section draws from has a name at the top of this module; sources with other
numbers after the seed are other streams.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lib.measures.axes import Images, PerSample
from lib.measures.memorization import Scores, score, scores, split
from lib.models.data import Dataset
from lib.models.draws import seed_from
from lib.models.fit import fit as fit_all
from lib.models.kfold import KFold, Repeats, gather
from lib.models.networks import VAE

SECTION, EVIDENCE = 10, 11
"""What follows the seed in the identity of a section's random numbers, and in that of its importance samples."""
NULL, NORMAL_NULL, ORDER, REDRAWN_NULL, ONE_MODEL, LATENTS = 0, 1, 2, 3, 4, 1000
"""The section's sources: of both nulls, of the order of generated images, of the null of redrawn pixels, of latents."""
SCORED, VALIDATION, GENERATED, REDRAWN = 0, 3, 4, 100
"""Draws of pixels: of the scored images, of images to compare with, and (with a model's number) for one model alone."""

ByModel = Float[Tensor, "repeats folds n"]
"""log p(x) in nats, or its effective sample size: of every image under every model"""
Folds = Int64[Tensor, "repeats n"]


class CrossValidation(NamedTuple):
    """Fitted models, with the images that all of them are asked about. Numbers are on the processor."""

    spec: KFold
    shown: Images
    """the images in [0, 1], padded"""
    x: Images
    """the same as the models observe them, the same pixels for all, on the models' device"""
    log_p: Float[Tensor, "scored repeats folds n"]
    """log p(x) in nats of every image under every model, by epoch"""
    ess: Float[Tensor, "scored repeats folds n"]
    """effective sample size of each"""
    scored: list[int]
    """after which epochs"""
    held_out: Folds
    """which model of a repeat was not trained with the image"""
    losses: Float[Tensor, "repeats epochs 2"]
    """negative evidence lower bound, nats per image: of training batches before their step, of test images after"""
    model: Callable[[int, int], VAE]
    """the final model of a repeat and fold, in evaluation mode"""


def fit(
    spec: KFold,
    rates: Sequence[float],
    repeats: int,
    dataset: Dataset,
    device: torch.device,
    *,
    executor: Executor,
) -> dict[str, CrossValidation]:
    """The models of every learning rate, fitted or from the cache, each as ``learning rate 0.001``, in their order.

    Args:
        spec: the specification of the fits, whose learning rate is replaced.
        rates: the learning rates of Adam.
        repeats: the repeats, each with other folds and other initial weights.
        dataset: the data, which are loaded again by name where the work is done.
        device: the device to fit on.
        executor: where repeats are fitted side by side.

    Raises:
        ValueError: more images than there are, or folds outside 2..images.
        FloatingPointError: a loss or a log p(x) that is not finite.
    """
    specs = [repeat for rate in rates for repeat in replace(spec, rate=rate).repeats(repeats)]
    fits = gather(fit_all(specs, dataset, device.type, executor=executor))
    shown = spec.padded(dataset.train[fits[0].index])
    names = [f"learning rate {rate:g}" for rate in rates]
    return dict(zip(names, (_with_images(repeated, shown, device) for repeated in fits), strict=True))


def _with_images(fits: Repeats, shown: Images, device: torch.device) -> CrossValidation:
    x = fits.spec.observed(shown.to(device), SCORED)
    numbers = (fits.log_p.cpu(), fits.ess.cpu(), fits.scored, fits.held_out.cpu(), fits.losses.cpu())
    return CrossValidation(fits.spec, shown, x, *numbers, fits.model)


def optimiser_steps(spec: KFold, images: int) -> int:
    """The optimiser steps of each model of a fit on a number of images: whole batches of the smallest training part."""
    return spec.epochs * max(1, images * (spec.folds - 1) // spec.folds // spec.batch)


def source(seed: int, *identity: int) -> torch.Generator:
    """A section's source of random numbers on the processor.

    Args:
        seed: seed of the run.
        identity: one of the constants of this module, and what tells its sources apart.
    """
    return torch.Generator().manual_seed(seed_from(seed, SECTION, *identity))


def scores_by_epoch(fits: CrossValidation, *, rng: torch.Generator) -> list[Scores]:
    """The score and what it is read against, after each epoch that was evaluated, of the images that were.

    Args:
        fits: the models.
        rng: the source of random numbers for the null, used from the first epoch to the last.
    """
    evaluated = [~log_p[0, 0].isnan() for log_p in fits.log_p]  # before the last epoch perhaps only the first images
    return [scores(log_p[..., e], fits.held_out[:, e], rng=rng) for log_p, e in zip(fits.log_p, evaluated, strict=True)]


def sides(values: Float[Tensor, "scored repeats folds n"], held_out: Folds) -> tuple[Tensor, Tensor]:
    """Numbers of the final models with each image, and of those without it: ``[models, n]`` each."""
    return split(values[-1], held_out)


def final_score(fits: CrossValidation) -> PerSample:
    """The memorisation score after the last epoch, nats."""
    return score(*sides(fits.log_p, fits.held_out))


@torch.no_grad()
def generate(fits: CrossValidation, count: int) -> Images:
    """Images of all final models alike (means of the likelihood), in random order, on the processor.

    Args:
        fits: the models.
        count: how many images; models differ in their number by at most one share that is cut off.
    """
    repeats, folds = fits.log_p.shape[1:3]
    share = -(-count // (repeats * folds))
    made = []
    for index in range(repeats * folds):
        rng = source(fits.spec.seed, LATENTS + index)
        model = fits.model(*divmod(index, folds))
        means = model.generate(torch.randn(share, fits.spec.latent, generator=rng).to(fits.x.device))
        made.append(means.cpu())
    order = torch.randperm(share * repeats * folds, generator=source(fits.spec.seed, ORDER))
    return torch.cat(made)[order[:count]]


def observed(spec: KFold, images: Images, draw: int) -> Images:
    """Images as the models observe them: the same pixels at every call with the same ``draw``."""
    return spec.observed(images, draw)


def padded(spec: KFold, images: Images) -> Float[Tensor, "batch channels tall wide"]:
    """Images with the black pixels around them that the scored ones have."""
    return spec.padded(images)
