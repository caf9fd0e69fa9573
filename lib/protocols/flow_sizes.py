"""Flows of more and more images: what they emit, and what the measures say of them, a number for each point of a model.

The density of a flow is that of images with its noise. So training and held-out images get the same noise before they
are compared with samples or are given a density.
"""

import copy
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lib.measures import intervals
from lib.measures.axes import PerSample
from lib.measures.copying import THIRD, neighbour_ratio
from lib.measures.density import log_prior
from lib.measures.flows import Velocity, encode, sampler
from lib.measures.intervals import Estimate, mean_of_few, with_models
from lib.measures.jacobian import singular_values
from lib.measures.nearest import nearest
from lib.measures.statistics import auc
from lib.models.data import Dataset
from lib.models.draws import draw
from lib.models.fit import fit
from lib.models.flows import Flow, FlowFit, VelocityNetwork

NOISE, BLUR, HALVES, HELD_OUT = 171, 172, 173, 183  # what a seed is for
Points = Float[Tensor, "_ pixels"]


class How(NamedTuple):
    """What is measured, of every model alike."""

    steps: int
    """of the sampler"""
    samples: int
    """that a model makes"""
    points: int
    """training images, held-out images and noises at which there is a Jacobian"""
    threshold: float
    """a singular value counts as a dimension above this share of the point's largest"""
    seed: int


class Numbers(NamedTuple):
    """What one model says."""

    ratio: PerSample
    """d1/d2 of samples"""
    distance: PerSample
    """of samples to the nearest training image, output units"""
    held_out_distance: PerSample
    """the same of held-out images with noise"""
    log_p_train: PerSample
    """nats, at training images with noise; NaN where no code was found"""
    log_p_held_out: PerSample
    volume_train: PerSample
    """minus log volume, nats: how much a ball of noise about the code shrinks"""
    volume_held_out: PerSample
    volume_noise: PerSample
    """the same at random noise"""
    dimension_train: PerSample
    """singular values above the threshold, at the codes of training images"""
    dimension_noise: PerSample


def fits(
    plan: Sequence[Flow], seeds: Sequence[int], images: Dataset, device: str, executor: Executor
) -> list[list[FlowFit]]:
    """The fits of every specification with every seed in place of its own."""
    specs = [replace(spec, seed=seed) for spec in plan for seed in seeds]
    found = fit(specs, images, device, executor=executor)
    return [found[start : start + len(seeds)] for start in range(0, len(found), len(seeds))]


def half(images: Dataset, number: int) -> Dataset:
    """The first or the second of two random halves of the training images, with the same test images.

    Args:
        images: all of them; of an odd number one is left out.
        number: 0 or 1.
    """
    order = torch.from_numpy(np.random.default_rng([len(images.train), HALVES]).permutation(len(images.train)))
    part = order[number * (len(order) // 2) :][: len(order) // 2]
    digest = hashlib.sha256(f"{images.digest} half {number}".encode()).hexdigest()
    again = images.again and functools.partial(_half_again, images.again, number)
    sides = {"train": images.train[part], "train_labels": images.train_labels[part]}
    return images._replace(**sides, digest=digest, again=again)


def _half_again(again: Callable[[], Dataset], number: int) -> Dataset:
    return half(again(), number)


def noise_for(count: int, like: Points, how: How) -> Points:
    """Noise that belongs to the seed; more of it begins with the same."""
    rng = np.random.default_rng([how.seed, NOISE])
    return torch.from_numpy(rng.standard_normal((count, like.shape[1]))).to(like)


def emitted(velocity: Velocity, like: Points, how: How) -> Points:
    """The samples of a flow, with the noise of its images."""
    with torch.no_grad():
        return sampler(velocity, how.steps)(noise_for(how.samples, like, how))


def own(how: How, fitted: FlowFit) -> How:
    """The same sizes with the seed of a fit, so that what it is asked about is in the interval over models.

    Models of one seed and different sizes are asked about the same noise and the same held-out images.
    """
    return how._replace(seed=fitted.spec.seed)


def training(fitted: FlowFit, images: Dataset) -> Points:
    """The training images of a fit in [-1, 1], without noise."""
    return VelocityNetwork.observe(images.train[fitted.index])


def noised(points: Points, noise: float, identity: Sequence[int]) -> Points:
    """Images with the noise that a flow learns them with."""
    rng = np.random.default_rng([*identity, BLUR])
    return points + noise * torch.from_numpy(rng.standard_normal(points.shape)).to(points)


def measure(velocity: Velocity, wide: Velocity, train: Points, held_out: Points, noise: float, how: How) -> Numbers:
    """All numbers of one flow.

    Args:
        velocity: of the flow.
        wide: the same in float64, for the codes.
        train: its training images, without noise.
        held_out: images that it has not seen, as many as are asked for at least.
        noise: standard deviation of the noise on images.
        how: sizes.
    """
    seen, unseen = compared(train, held_out, noise, how)
    at = [_at(velocity, wide, part, how) for part in (seen, unseen[: how.points])]
    return Numbers(
        **without_codes(velocity, train, unseen, how),
        log_p_train=at[0].log_p,
        log_p_held_out=at[1].log_p,
        volume_train=at[0].volume,
        volume_held_out=at[1].volume,
        dimension_train=at[0].dimension,
    )


def compared(train: Points, held_out: Points, noise: float, how: How) -> tuple[Points, Points]:
    """Random training images and held-out ones, with noise."""
    chosen = draw(len(train), min(how.points, len(train)), how.seed)
    others = held_out[choice(len(held_out), max(how.samples, how.points), how.seed)]
    return noised(train[chosen], noise, (how.seed, 0)), noised(others, noise, (how.seed, 1))


def choice(available: int, count: int, seed: int) -> Int64[Tensor, " count"]:
    """Which held-out images a model is asked about, in random order; more of them begin with the same."""
    return torch.from_numpy(np.random.default_rng([seed, HELD_OUT]).permutation(available)[:count])


def without_codes(velocity: Velocity, train: Points, unseen: Points, how: How) -> dict[str, PerSample]:
    """The fields of :class:`Numbers` for which no image has to be encoded."""
    samples = emitted(velocity, train, how)
    spectrum = singular_values(sampler(velocity, how.steps), noise_for(how.points, train, how))
    return {
        "ratio": neighbour_ratio(samples, train),
        "distance": nearest(samples, train, 1)[0][:, 0],
        "held_out_distance": nearest(unseen[: how.samples], train, 1)[0][:, 0],
        "volume_noise": -spectrum.log().sum(1),
        "dimension_noise": _dimension(spectrum, how.threshold),
    }


class _At(NamedTuple):
    log_p: PerSample
    volume: PerSample
    dimension: PerSample


def _at(velocity: Velocity, wide: Velocity, x: Points, how: How) -> _At:
    code = encode(wide, x.double(), how.steps)
    spectrum = singular_values(sampler(velocity, how.steps), code.z.to(x))
    volume = -spectrum.double().log().sum(1)
    found = torch.where(code.error < 1e-3, 0.0, torch.nan)
    return _At(log_prior(code.z) + volume + found, volume + found, _dimension(spectrum, how.threshold) + found)


def _dimension(spectrum: Float[Tensor, "batch values"], threshold: float) -> PerSample:
    return (spectrum > threshold * spectrum[:, :1]).sum(1).double()


def of_fit(fitted: FlowFit, images: Dataset, how: How) -> Numbers:
    """:func:`measure` of a fit at its end, with the noise and the held-out images of :func:`own`."""
    model = fitted.model
    device = next(model.parameters()).device
    train, held_out = training(fitted, images).to(device), VelocityNetwork.observe(images.test).to(device)
    return measure(model, copy.deepcopy(model).double(), train, held_out, fitted.spec.noise, own(how, fitted))


def share(numbers: Numbers) -> float:
    """Share of samples whose nearest training image is at less than a third of the distance of the second."""
    return float((numbers.ratio < THIRD).double().mean())


SHARE = "share with d₁/d₂ < 1/3"
SUMMARIES: dict[str, Callable[[Numbers], float]] = {
    SHARE: share,
    "d₁, samples over held-out": lambda n: float(n.distance.mean() / n.held_out_distance.mean()),
    "log p, training less held-out": lambda n: float(n.log_p_train.nanmean() - n.log_p_held_out.nanmean()),
    "AUC of log p": lambda n: _auc(n.log_p_train, n.log_p_held_out),
    "minus log volume, training": lambda n: float(n.volume_train.nanmean()),
    "minus log volume, held-out": lambda n: float(n.volume_held_out.nanmean()),
    "minus log volume, noise": lambda n: float(n.volume_noise.mean()),
    "AUC of the volume": lambda n: _auc(n.volume_train, n.volume_held_out),
    "dimensions, training": lambda n: float(n.dimension_train.nanmean()),
    "dimensions, noise": lambda n: float(n.dimension_noise.mean()),
}
"""A number for each model, by name. An AUC is the probability that a training image has more than a held-out one."""

CODELESS = {
    name
    for name in SUMMARIES
    if name.endswith(("1/3", "held-out", "log p", "noise")) and not name.endswith("volume, held-out")
}
"""those that a density which is known suffices for, without a code"""


def _auc(members: PerSample, others: PerSample) -> float:
    both = [part[~part.isnan()].double().cpu().numpy() for part in (members, others)]
    return float(auc(*both))


def summaries(models: Sequence[Numbers]) -> dict[str, Estimate]:
    """The mean of every summary over models, with its interval over models: see :func:`summary`."""
    return {name: summary(name, models) for name in SUMMARIES}


def summary(name: str, models: Sequence[Numbers]) -> Estimate:
    """The mean of a summary over models, with its interval over models.

    That of the share of copies is exact over samples, and widened by the interval over models: of few samples that are
    no copies, all of few models, it is not known that none is. A share, and an AUC, are cut to between 0 and 1.
    """
    each = [SUMMARIES[name](numbers) for numbers in models]
    if name == SHARE:
        sizes = [len(numbers.ratio) for numbers in models]
        count = round(sum(value * size for value, size in zip(each, sizes, strict=True)))
        return with_models(intervals.share(count, sum(sizes)), each).within(0.0, 1.0)
    over = mean_of_few(torch.tensor(each))
    return over.within(0.0, 1.0) if name.startswith("AUC") else over


def over_time(fits: Sequence[FlowFit], images: Dataset, how: How) -> dict[int, list[float]]:
    """Share of copies among the samples of every model, by the steps it was trained for."""
    found: dict[int, list[float]] = {}
    for fitted in fits:
        train = training(fitted, images)
        for mark, model in fitted.models.items():
            ratio = neighbour_ratio(emitted(model, train, own(how, fitted)), train)
            found.setdefault(mark, []).append(float((ratio < THIRD).double().mean()))
    return found


def change(models: Sequence[Numbers], others: Sequence[Numbers], name: str, *, ratio: bool = False) -> Estimate:
    """A summary of models less that of others, or over it; models of one seed, whose images are nested, are paired."""
    of = SUMMARIES[name]
    pairs = [(of(a), of(b)) for a, b in zip(models, others, strict=True)]
    return mean_of_few(torch.tensor([a / b if ratio else a - b for a, b in pairs]))


def onset(times: Sequence[Mapping[int, Sequence[float]]], steps: int) -> Estimate:
    """Share of copies of the smallest size after half of the steps less that of the second size after all."""
    early, late = times[0][steps // 2], times[1][steps]
    return mean_of_few(torch.tensor([a - b for a, b in zip(early, late, strict=True)]))
