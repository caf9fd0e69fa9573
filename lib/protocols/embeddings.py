"""Stochastic generators on two latents, and test images as codes in their latent spaces.

All sections on the curved latent space measure the same models at the same codes. This module offers

- :func:`embed`: the models that a section asks for, fitted or loaded, with codes and labels of the same test images;
- :func:`quality`: how well those models fit;
- :func:`expected`: the decoder whose metric is the expected metric of a model; :func:`in_double`: a model in double
  precision;
- :func:`lattice`: the points of a map of a latent space;
- :func:`chosen` and :func:`stream`: random choices and random sources that belong to what they are for, a
  :class:`Stream`; :func:`numbers`: classes from a notebook's parameter.
"""

import copy
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from enum import IntEnum
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lib.measures import geodesic
from lib.measures.axes import Decoder, Latents
from lib.measures.intervals import mean_of_few
from lib.models import networks
from lib.models.data import Dataset
from lib.models.draws import rng_from
from lib.models.fit import fit
from lib.models.stochastic import Stochastic, StochasticFit, StochasticVAE

RANDOM, CHOICE = 30, 31  # what a seed is for: no two streams of numbers are the same


class Stream(IntEnum):
    """What a random choice or a random source is for. The test images of group k have the identity k."""

    PAIR = 3  # test images of the pair of classes
    PROBES = 40  # codes at which the theorems are checked
    NOISE = 41  # of the decoder
    PIXELS = 43  # of which a metric is a sum
    PIXEL_NOISE = 44
    PATHS = 50  # ends of shortest paths
    HALVES = 60  # of the codes to be clustered
    WALKERS = 70  # where they start
    WALKS = 71  # their steps
    NORMALS = 80  # codes that normals are fitted to
    SAMPLES = 90  # of importance sampling
    LINKS = 95  # training images whose density is followed to a neighbour


@runtime_checkable
class Generator(Protocol):
    """A random decoder: a mean, and a standard deviation for each of its outputs."""

    generate: Decoder
    deviation: Decoder


class Embedding(NamedTuple):
    """Models of some classes, and the test images at which they are measured."""

    images: Dataset
    """of these classes alone"""
    fits: dict[str, StochasticFit]
    """by variance, see :data:`lib.models.stochastic.VARIANCES`"""
    codes: dict[str, list[Float[Tensor, "points latent"]]]
    """by variance: of the same test images in each model, latent units"""
    rows: Int64[Tensor, " points"]
    """which test images"""
    labels: Int64[Tensor, " points"]


class Lattice(NamedTuple):
    """The points of a map, and the sides of the map."""

    nodes: Float[Tensor, "nodes 2"]
    """first latent by first latent, so that ``values.view(side, side).T`` is an image with its origin below"""
    extent: list[float]
    """left, right, bottom, top; latent units"""


def numbers(text: str) -> list[int]:
    """The numbers of a text such as ``3,4,7``.

    Raises:
        ValueError: something else between the commas.
    """
    return [int(number) for number in text.split(",")]


def embed(
    parts: Mapping[str, Dataset],
    spec: Stochastic,
    variances: Sequence[str],
    points: int,
    device: torch.device,
    *,
    first: int = 0,
    executor: Executor,
) -> dict[str, Embedding]:
    """The models of every part with every variance, and the codes of a random choice of its test images.

    A variance that follows a mean is fitted for half as many steps as its mean; a ``joint`` fit has as many steps as
    the two together.

    Args:
        parts: the data of each group of classes, by name.
        spec: the specification of the constant variance; the seed of the test images is its seed too.
        variances: the kinds that the section needs, of :data:`lib.models.stochastic.VARIANCES`.
        points: how many test images, at most.
        device: where the models are fitted, and stay.
        first: the identity of the choice of test images in the first part; the next part has the next.
        executor: where the fits run side by side.
    """
    fits = _fits(parts, spec, variances, device, executor)
    found = {}
    for identity, (name, images) in enumerate(parts.items(), first):
        rows = chosen(spec.seed, points, len(images.test), identity)
        fits_of = {variance: fits[name, variance] for variance in variances}
        codes = {
            variance: [networks.codes(model, images.test[rows]) for model in fit.models]
            for variance, fit in fits_of.items()
        }
        found[name] = Embedding(images, fits_of, codes, rows, images.test_labels[rows])
    return found


def _fits(
    parts: Mapping[str, Dataset],
    spec: Stochastic,
    variances: Sequence[str],
    device: torch.device,
    executor: Executor,
) -> dict[tuple[str, str], StochasticFit]:
    """Means before the variances that follow them: the fits of one wave are independent of each other."""
    after = [variance for variance in variances if variance in ("network", "rbf")]
    before = [variance for variance in variances if variance not in after]
    if after and "constant" not in before:
        before.append("constant")

    def of_one(key: tuple[str, str]) -> tuple[tuple[str, str], StochasticFit]:
        name, variance = key
        steps = spec.steps + spec.steps // 2 if variance == "joint" else spec.steps
        wanted = replace(spec, variance=variance, steps=steps)
        return key, fit([wanted], parts[name], device.type)[0]

    fits = {}
    for wave in (before, after):
        fits |= dict(executor.map(of_one, [(name, variance) for variance in wave for name in parts]))
    return fits


def quality(embeddings: Mapping[str, Embedding], *, images: int = 500) -> pd.DataFrame:
    """How well the models fit: a row for each group and variance.

    The loss is the negative evidence lower bound at the end of training, nats per image, with its interval over models;
    the error is the mean squared error of the first test images, averaged over models, squared output units.
    """
    rows = []
    for name, embedding in embeddings.items():
        few = embedding.images.test[:images]
        for variance, fitted in embedding.fits.items():
            errors = [(_reconstruction(model, few) - few).square().mean() for model in fitted.models]
            rows.append(
                {
                    "classes": name.replace("-", ", "),
                    "variance": variance,
                    "models": len(fitted.models),
                    "training images": len(fitted.index),
                    "loss": mean_of_few(fitted.losses[-1]),
                    "squared error, test": float(torch.stack(errors).mean()),
                }
            )
    return pd.DataFrame(rows)


def _reconstruction(model: StochasticVAE, images: Tensor) -> Tensor:
    return model.generate(networks.codes(model, images)).cpu()


def expected(model: Generator) -> Decoder:
    r"""The decoder :math:`z \mapsto (\mu(z), \sigma(z))`, whose metric is the expected metric of the model."""
    return geodesic.stacked(model.generate, model.deviation)


def in_double(model: StochasticVAE) -> StochasticVAE:
    """A copy of a model in double precision."""
    return copy.deepcopy(model).double()


def lattice(z: Latents, side: int, margin: float = 1.5) -> Lattice:
    """A map of two latents that reaches ``margin`` latent units beyond the codes, ``side`` points along either axis."""
    low, high = z.amin(0) - margin, z.amax(0) + margin
    sides = [torch.linspace(float(low[i]), float(high[i]), side, dtype=z.dtype, device=z.device) for i in range(2)]
    extent = [float(end) for ends in zip(low, high, strict=True) for end in ends]
    return Lattice(torch.cartesian_prod(*sides), extent)


def chosen(seed: int, count: int, available: int, *identity: int) -> Int64[Tensor, " chosen"]:
    """``count`` of ``available`` indices, or all if there are fewer, in an order that belongs to seed and identity."""
    rng = np.random.default_rng([seed, CHOICE, *identity])
    return torch.from_numpy(rng.permutation(available)[:count])


def stream(seed: int, device: torch.device, *identity: int) -> torch.Generator:
    """A source of random numbers that belongs to seed and identity."""
    return rng_from(device, seed, RANDOM, *identity)
