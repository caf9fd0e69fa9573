"""Feiszli's pair: one network, fitted on a few images and on all, and the training images at which it is measured."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.distributions import Distribution

from lib.measures.axes import Decoder, Images, Latents, PerSample
from lib.measures.intervals import Estimate, estimate
from lib.models import convolutional, data
from lib.models.convolutional import ConvVAE, ConvVAEFit
from lib.models.data import Dataset
from lib.models.draws import seed_from, seeded
from lib.models.fit import fit as fit_all
from lib.models.networks import VAE


class Pairs(NamedTuple):
    """Training images and their neighbours, as indices into a data set."""

    points: Int64[Tensor, " pairs"]
    neighbours: Int64[Tensor, " pairs"]


class Case(NamedTuple):
    """Pairs of images in one model."""

    model: str
    pairs: Pairs
    start: Latents
    """codes of the points"""
    end: Latents
    """codes of their neighbours"""


SAME_PAIRS = "well trained, the memorised model's pairs"
"""the case that compares the models of the pair on equal terms"""


class Bounds(NamedTuple):
    """How good a model is on what it has seen, and on what it has not."""

    own: Estimate
    """negative evidence lower bound of its own training images, nats per image"""
    held_out: Estimate
    """the same of images that no model was fitted on"""


def fit(dataset: Dataset, device: str, *, examples: int, **settings: int) -> dict[str, ConvVAEFit]:
    """The pair: ``memorised`` is fitted on ``examples`` images, ``well trained`` on all of them.

    Args:
        dataset: the images.
        device: the device to train on.
        examples: how many images the first model is fitted on.
        settings: steps, batch, seed, latents and width of both, by their names in the specification.
    """
    specs = convolutional.pair(examples, **settings)
    return dict(zip(specs, fit_all(list(specs.values()), dataset, device), strict=True))


def repeats(dataset: Dataset, device: str, models: int, *, seed: int, **settings: int) -> list[dict[str, ConvVAEFit]]:
    """The pair ``models`` times, each with images, weights and batches of its own; ``seed`` is that of the first.

    Other arguments as :func:`fit`.
    """
    return [fit(dataset, device, seed=each, **settings) for each in seeds(seed, models)]


def seeds(seed: int, models: int) -> list[int]:
    """The seeds of several models of one kind: that of the first, and others that depend on it and on their number."""
    return [seed, *(seed_from(seed, k) for k in range(1, models))]


def untrained(dataset: Dataset, device: torch.device, *, latent: int, seed: int) -> Decoder:
    """The decoder of the pair as it is before the first step, for images of this shape."""
    network = seeded(lambda: ConvVAE(dataset.train.shape[1:], latent, width=16, hidden=256, variance=0.1), seed)
    return network.to(device).eval().requires_grad_(False).generate


def posterior(fitted: ConvVAEFit, images: Images) -> Distribution:
    """The posteriors q(z | x) of images in [0, 1], on the device of the model."""
    place = next(fitted.model.parameters()).device
    with torch.no_grad():
        return fitted.model.encode((2 * images - 1).to(place))


def codes(fitted: ConvVAEFit, images: Images) -> Latents:
    """The posterior means of images in [0, 1], on the device of the model."""
    return posterior(fitted, images).mean


def draw(index: Int64[Tensor, " n"], count: int, *, seed: int) -> Int64[Tensor, " drawn"]:
    """At most ``count`` entries of an index, without replacement, in the order of the index.

    The draw depends on the seed and on the length of the index alone.
    """
    order = torch.randperm(len(index), generator=torch.Generator().manual_seed(seed))
    return index[order[:count].sort().values]


def first_of_classes(labels: Int64[Tensor, " n"], wanted: Sequence[int]) -> dict[int, int]:
    """Where the first of two classes stand, by class: of those wanted that there are, then of the smallest others."""
    available = labels.unique().tolist()
    present = [label for label in wanted if label in available]
    present += [label for label in available if label not in present]
    return {label: int((labels == label).nonzero()[0]) for label in present[:2]}


def neighbour_pairs(images: Images, index: Int64[Tensor, " n"], count: int, *, seed: int) -> Pairs:
    """At most ``count`` of the images of an index, each with the nearest other of them in pixels.

    Args:
        images: all images.
        index: the images among which points are drawn and neighbours are sought.
        count: how many points.
        seed: seed of the draw.

    Raises:
        DataError: some point has no neighbour but copies of itself.
    """
    points = draw(index, count, seed=seed)
    return Pairs(points, index[data.nearest_neighbours(images[points], images[index])])


def cases(fits: Mapping[str, ConvVAEFit], dataset: Dataset, count: int) -> dict[str, Case]:
    """Pairs of neighbours among the training images of each model, and those of ``memorised`` in the other model, too.

    Args:
        fits: the pair.
        dataset: the images that they were fitted on.
        count: how many pairs in a case, at most; they are drawn with the seed of the fit.
    """
    found = {
        name: neighbour_pairs(dataset.train, fitted.index, count, seed=fitted.spec.seed)
        for name, fitted in fits.items()
    }
    named = {name: (name, pairs) for name, pairs in found.items()}
    named[SAME_PAIRS] = ("well trained", found["memorised"])
    return {
        label: Case(name, pairs, *(codes(fits[name], dataset.train[index]) for index in pairs))
        for label, (name, pairs) in named.items()
    }


def distances(images: Images, pairs: Pairs) -> Float[Tensor, " pairs"]:
    """Euclidean distance of each pair in output units, in which pixels go from −1 to 1."""
    return 2 * (images[pairs.points] - images[pairs.neighbours]).flatten(1).norm(dim=1)


def nearest_of_one_class(images: Images, labels: Int64[Tensor, " n"], pairs: Pairs) -> int:
    """Which pair has the smallest distance in pixels, of those of one class."""
    chosen = of_one_class(labels, pairs)
    return int(chosen[distances(images, pairs)[chosen].argmin()])


def of_one_class(labels: Int64[Tensor, " n"], pairs: Pairs) -> Int64[Tensor, " chosen"]:
    """Which pairs are of one class; all of them where none is."""
    same = labels[pairs.points] == labels[pairs.neighbours]
    return (same if same.any() else torch.ones_like(same)).nonzero()[:, 0]


@torch.no_grad()
def negative_bound(model: VAE, images: Images, latent: int, *, device: torch.device, seed: int) -> PerSample:
    """Negative evidence lower bound of images in [0, 1] with one sample each, nats per image."""
    rng = torch.Generator(device).manual_seed(seed)
    noise = torch.randn(len(images), latent, generator=rng, device=device)
    return model((2 * images - 1).to(device), noise)


def bounds(
    fits: Mapping[str, ConvVAEFit], dataset: Dataset, latent: int, *, device: torch.device, seed: int, most: int = 1000
) -> dict[str, Bounds]:
    """The negative evidence lower bounds of every model: on its own training images, and on the test images.

    Args:
        fits: the models by name.
        dataset: the images that they were fitted on.
        latent: latents of the models.
        device: where the models are.
        seed: seed of the samples of the posteriors.
        most: images on either side, at most.
    """

    def of(name: str, images: Tensor) -> Estimate:
        return estimate(negative_bound(fits[name].model, images, latent, device=device, seed=seed))

    held_out = dataset.test[:most]
    return {name: Bounds(of(name, dataset.train[fits[name].index[:most]]), of(name, held_out)) for name in fits}
