"""The generators of one data set whose latents are searched, and the images that are searched for.

:func:`gather` plans the models from a :class:`Budget`, fits (or loads) only the rows that a section asks for, and keeps
them with the images of both sides of a comparison in a :class:`Zoo`. A row is a kind of generator with its number of
training images, such as ``GLO-256``; it may have several models, which differ by their seed. :func:`search` and
:func:`errors` recover images with one of them, always from the same starts. Every source of random numbers belongs to
a name at the top of this module.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int64
from torch import Tensor

from lib.measures.axes import Images, PerSample
from lib.measures.recovery import Recovery, recover
from lib.models.data import Dataset, hold_out
from lib.models.draws import rng_from, seed_from
from lib.models.fit import fit
from lib.models.generative import Generative, GeneratorFit

TENSORS = 20  # what follows the seed in the identity of every source of torch's random numbers
STARTS, DRAWN, PRIOR = 1, 2, 4
"""Sources of torch's random numbers: the starts of searches, generated images, latents drawn for their distances."""
CHOICE, UNSEEN, NEIGHBOURS, PARTS, FRECHET = 3, 4, 6, 7, 9
"""Sources of numpy's: images of a comparison, unseen images, images that are disturbed, exchanges of sides (twice)."""


class Budget(NamedTuple):
    """The sizes of all models of one data set."""

    sizes: Sequence[int]
    """training images of GLO; the first and the last also of the autoencoders"""
    steps: int
    """of GLO and the autoencoders"""
    adversarial_steps: int
    """of DCGAN and MESCH"""
    batch: int
    """images in a step of GLO and the autoencoder"""
    adversarial_batch: int
    """images in a step of everything with a discriminator"""
    latent: int
    width: int
    """channels of the generator's finest map"""
    stride: int
    """by which every layer refines the image; in DCGAN it is two, as in the paper, since with four what it makes does
    not pass the bar of principal components, however long it is trained"""
    controls: bool = False
    """whether there are two more rows of the fewest images: GLO with fixed codes, and DCGAN"""


@dataclass(frozen=True)
class Search:
    """How latents are searched for; ``replace`` makes another."""

    seed: int
    """seed of the starts"""
    steps: int
    """iterations of L-BFGS"""
    start: float
    """standard deviation of the starts, in units of :func:`spread`"""
    restarts: int = 1
    """searches of each image"""
    transform: Callable[[Tensor], Tensor] | None = None
    """what both images go through before they are compared; by default nothing"""


@dataclass(frozen=True)
class Zoo:
    """Fitted generators of one data set, and the images of a comparison. Images come on the device of the fits."""

    name: str
    """short name of the data set"""
    official: Dataset
    """as it was loaded: its test part may be of other writers or persons"""
    images: Dataset
    """with a test part held out at random from the training part"""
    plan: dict[str, Generative]
    """the specification of every row, fitted or not"""
    fits: dict[str, list[GeneratorFit]]
    """the models of every row that was asked for"""
    count: int
    """images on a side"""
    seed: int
    device: str

    def trained_on(self, row: str, k: int = 0, *, count: int | None = None) -> Images:
        """Images that model ``k`` of a row was trained on, at random: ``count`` of them, or as many as a side has."""
        index = self.fits[row][k].index
        return self.images.train[index[self._choice(len(index), count)]].to(self.device)

    def held_out(self, *, count: int | None = None) -> Images:
        """Images that no model was trained on, at random: ``count`` of them, or as many as a side has."""
        return self.images.test[self._choice(len(self.images.test), count)].to(self.device)

    def generated(self, row: str, count: int, k: int = 0) -> Images:
        """What model ``k`` of a row makes of latents drawn at random: its prior's, or as its codes are spread."""
        fit = self.fits[row][k]
        noise = torch.randn(count, len(fit.prior.loc), generator=rng(self.device, self.seed, DRAWN), device=self.device)
        return fit.generator(fit.prior.loc + noise @ fit.prior.scale_tril.T)

    def unseen(self, row: str, count: int) -> Images:
        """At most ``count`` random images of the training part that the first model of a row was not trained on."""
        others = np.setdiff1d(np.arange(len(self.images.train)), self.fits[row][0].index)
        order = np.random.default_rng([self.seed, UNSEEN]).permutation(others)[:count]
        return self.images.train[order].to(self.device)

    def _choice(self, available: int, count: int | None) -> Int64[np.ndarray, " count"]:
        order = np.random.default_rng([self.seed, CHOICE]).permutation(available)
        return order[: self.count if count is None else count]


def gather(
    dataset: Dataset,
    budget: Budget,
    rows: Sequence[str] | None = None,
    *,
    models: Mapping[str, int] | None = None,
    count: int,
    seed: int,
    device: str,
    executor: Executor | None = None,
) -> Zoo:
    """Hold out images, plan the models, and fit (or load) those that are asked for.

    Args:
        dataset: the images as they were loaded; ``count`` of its training images are held out.
        budget: the sizes of the models.
        rows: names of the rows to fit; by default all of :func:`plan`.
        models: how many models a row has, by its name or, for all of a kind, by that; one where nothing is said, and
            for GLO with fixed codes.
        count: images on either side of a comparison.
        seed: seed of the images, the fits and whatever the zoo draws.
        device: where to train and to search.
        executor: where to fit side by side; by default one after the other.

    Raises:
        ValueError: a row that is not in the plan.
    """
    images = hold_out(dataset, count, seed=seed)
    planned = plan(budget, available=len(images.train), seed=seed)
    wanted = list(planned if rows is None else rows)
    if not set(wanted) <= set(planned):
        raise ValueError(f"rows must be of {', '.join(planned)}; got {', '.join(wanted)}")
    keys = [(row, k) for row in wanted for k in range(_number_of_models(row, planned[row], models or {}))]
    specs = [replace(planned[row], seed=seed_from(seed, k) if k else seed) for row, k in keys]
    fits: dict[str, list[GeneratorFit]] = {row: [] for row in wanted}
    for (row, _), fitted in zip(keys, fit(specs, images, device, executor=executor), strict=True):
        fits[row].append(fitted)
    return Zoo(dataset.name.split("/")[-1], dataset, images, planned, fits, count, seed, device)


def plan(budget: Budget, *, available: int, seed: int) -> dict[str, Generative]:
    """The specification of every row: GLO of all sizes, autoencoders of the fewest and the most images, DCGAN, MESCH.

    Args:
        budget: the sizes of the models.
        available: training images there are, which limits the autoencoders' most.
        seed: seed of the first model of a row.
    """
    few, most = budget.sizes[0], min(budget.sizes[-1], available)
    plain = Generative("glo", 0, budget.steps, budget.batch, seed, budget.latent, budget.width, budget.stride)
    fooling = replace(plain, steps=budget.adversarial_steps, batch=budget.adversarial_batch)
    rows = {
        **{f"GLO-{n}": replace(plain, examples=n) for n in budget.sizes},
        **{f"AE-{n}": replace(plain, kind="ae", examples=n) for n in (few, most)},
        **{f"AEGAN-{n}": replace(fooling, kind="aegan", examples=n, steps=budget.steps) for n in (few, most)},
        "DCGAN": replace(fooling, kind="dcgan", stride=2),
        "MESCH": replace(fooling, kind="mesch", steps=budget.adversarial_steps),
    }
    controls = {
        f"GLO-{few}, codes fixed": replace(plain, examples=few, code_rate=0.0),
        f"DCGAN-{few}": replace(fooling, kind="dcgan", stride=2, examples=few),
    }
    return rows | controls if budget.controls else rows


def exposure(zoo: Zoo) -> pd.DataFrame:
    """How much every row of the plan trains: its images, steps, and how often a step had one of the images."""
    sizes = {row: spec.examples or len(zoo.images.train) for row, spec in zoo.plan.items()}
    return pd.DataFrame(
        {
            "data": zoo.name,
            "model": list(zoo.plan),
            "training images": list(sizes.values()),
            "steps": [spec.steps for spec in zoo.plan.values()],
            "images in a step": [spec.batch for spec in zoo.plan.values()],
            "times each was seen": [spec.steps * spec.batch / sizes[row] for row, spec in zoo.plan.items()],
        }
    )


def rng(device: str | torch.device, seed: int, *identity: int) -> torch.Generator:
    """A source of random numbers that belongs to what it is for, such as :data:`STARTS`, not to the order of calls."""
    return rng_from(device, seed, TENSORS, *identity)


def spread(fit: GeneratorFit) -> float:
    """Root mean square of a coordinate of the codes, units of the latents."""
    return float((fit.prior.loc.square() + fit.prior.variance).mean().sqrt())


def search(fit: GeneratorFit, images: Images, how: Search) -> Recovery:
    """The latents that make the images, or come closest. Equal seeds have equal starts, whatever the model.

    Raises:
        ValueError: images outside [0, 1], where the generators' are, or not of the generator's shape.
    """
    return recover(
        fit.generator,
        images,
        latent=len(fit.prior.loc),
        steps=how.steps,
        restarts=how.restarts,
        scale=how.start * spread(fit),
        transform=how.transform,
        rng=rng(images.device, how.seed, STARTS, 0),
        limits=(0.0, 1.0),
    )


def errors(fit: GeneratorFit, images: Images, how: Search) -> PerSample:
    """Recovery errors: through the encoder where there is one, as in the paper, by :func:`search` elsewhere."""
    if fit.encoder is None:
        return search(fit, images, how).error
    return (fit.generator(fit.encoder(images)) - images).flatten(1).square().mean(1)


def _number_of_models(row: str, spec: Generative, models: Mapping[str, int]) -> int:
    return models.get(row, models.get(spec.kind, 1)) if spec.code_rate else 1
