"""Three generators of digits whose answer is known, to see what an audit's page looks like."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.distributions import Independent, Normal

from lib.measures.axes import Images
from lib.measures.transforms import blur
from lib.models import data
from lib.models.convolutional import Convolutional, ConvVAEFit
from lib.models.data import Dataset
from lib.models.draws import rng_from
from lib.models.fit import fit
from lib.models.generative import GeneratorFit
from lib.protocols.audit_controls import BLUR

COUNT = 1000
"""training images, held-out images and samples of the first two"""
FITTED = 100
"""training images of the autoencoder"""


class Demo(NamedTuple):
    """What :func:`lib.protocols.audit.audit` takes, and the answer."""

    title: str
    train: Images
    held_out: Images
    access: dict
    """samples, decoder and so on, by the names of its arguments"""


def demo(name: str, device: str, *, seed: int = 0) -> Demo:
    """A generator whose answer is known.

    ``copycat`` gives training images, every other one blurred. ``innocent`` gives images of the same source that are on
    neither side. ``vae`` is a small variational autoencoder of 100 digits: its decoder and its encoder.

    Args:
        name: one of these.
        device: of the autoencoder.
        seed: of the choice of images.

    Raises:
        KeyError: another name.
    """
    return DEMOS[name](device, seed)


def autoencoder(fitted: ConvVAEFit, dataset: Dataset, count: int, seed: int, title: str) -> Demo:
    """A variational autoencoder with images that it was fitted on, and others of the same source.

    Args:
        fitted: the model.
        dataset: the images of which it has seen some.
        count: images of a side, at most.
        seed: of the choice of images.
        title: of the page.
    """

    def decoder(z: Tensor) -> Tensor:
        return (fitted.model.generate(z) + 1) / 2

    def encode(x: Tensor) -> Independent:
        posterior = fitted.model.encode(2 * x - 1)
        return Independent(Normal(posterior.mean, posterior.stddev, validate_args=False), 1, validate_args=False)

    access = {"decoder": decoder, "latent": fitted.spec.latent, "encode": encode}
    return Demo(title, *_sides(dataset, fitted.index, count, seed), access)


def generator(fitted: GeneratorFit, dataset: Dataset, count: int, seed: int, title: str) -> Demo:
    """A generator with its own prior, from which the samples are drawn; arguments as :func:`autoencoder`."""
    z = (
        fitted.prior.mean
        + torch.randn(COUNT, fitted.spec.latent, generator=rng_from(fitted.prior.mean.device, seed, 20)).to(
            fitted.prior.mean
        )
        @ torch.linalg.cholesky(fitted.prior.covariance_matrix).T
    )
    with torch.no_grad():
        samples = fitted.generator(z).to(dataset.train)
    access = {"decoder": fitted.generator, "latent": fitted.spec.latent, "samples": samples}
    return Demo(title, *_sides(dataset, fitted.index, count, seed), access)


def copier(dataset: Dataset, count: int, copied: float, seed: int, title: str) -> Demo:
    """New images, but for a share of them, which are training images, every other one blurred.

    Args:
        dataset: the images.
        count: training images, held-out images and samples.
        copied: the share.
        seed: of the choice of images.
        title: of the page.
    """
    pool = dataset.train
    order = torch.randperm(len(pool), generator=rng_from(pool.device, seed, 11))[: 3 * count]
    train, held_out, samples = pool[order].split(count)
    some = train[torch.randint(count, (round(copied * count),), generator=rng_from(train.device, seed, 12))].clone()
    some[::2] = blur(BLUR)(some[::2])
    return Demo(title, train, held_out, {"samples": torch.cat([some, samples[len(some) :]])})


def _sides(dataset: Dataset, index: Int64[Tensor, " seen"], count: int, seed: int) -> tuple[Images, Images]:
    """Images that a model has seen, and as many of the same pool that it has not."""
    others = torch.ones(len(dataset.train), dtype=torch.bool)
    others[index] = False
    chosen = []
    for places in (index, others.nonzero()[:, 0]):
        rng = rng_from(dataset.train.device, seed, 13)
        chosen.append(dataset.train[places[torch.randperm(len(places), generator=rng)[: min(count, len(index))]]])
    return chosen[0], chosen[1]


def _vae(device: str, seed: int) -> Demo:
    dataset = data.load("mnist")
    fitted = fit([Convolutional(FITTED, steps=1500, latent=16, width=8, hidden=128)], dataset, device)[0]
    return autoencoder(fitted, dataset, FITTED, seed, "A variational autoencoder of 100 digits")


DEMOS: dict[str, Callable[[str, int], Demo]] = {
    "copycat": lambda _, seed: copier(data.load("mnist"), COUNT, 1.0, seed, "A copycat of 1,000 digits"),
    "innocent": lambda _, seed: copier(data.load("mnist"), COUNT, 0.0, seed, "New digits, as an innocent generator"),
    "vae": _vae,
}
