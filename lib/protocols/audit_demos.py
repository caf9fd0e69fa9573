"""Three generators of digits whose answer is known, to see what an audit's page looks like."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Independent, Normal

from lib.measures.axes import Decoder, Images
from lib.measures.transforms import blur
from lib.models import data
from lib.models.convolutional import Convolutional
from lib.models.draws import rng_from
from lib.models.fit import fit
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
    samples: Images | None = None
    decoder: Decoder | None = None
    latent: int | None = None
    encode: Callable | None = None


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


def _images(counts: list[int], seed: int) -> tuple[Float[Tensor, "n channels height width"], ...]:
    """Disjoint random parts of the training pool: sides that can be exchanged."""
    pool = data.load("mnist").train
    order = torch.randperm(len(pool), generator=rng_from(pool.device, seed, 11))
    return pool[order[: sum(counts)]].split(counts)


def _copycat(device: str, seed: int) -> Demo:
    train, held_out = _images([COUNT, COUNT], seed)
    samples = train[torch.randint(COUNT, (COUNT,), generator=rng_from(train.device, seed, 12))].clone()
    samples[::2] = blur(BLUR)(samples[::2])
    return Demo("A copycat of 1,000 digits", train, held_out, samples)


def _innocent(device: str, seed: int) -> Demo:
    return Demo("New digits, as an innocent generator", *_images([COUNT] * 3, seed))


def _vae(device: str, seed: int) -> Demo:
    dataset = data.load("mnist")
    fitted = fit([Convolutional(FITTED, steps=1500, latent=16, width=8, hidden=128)], dataset, device)[0]
    others = torch.ones(len(dataset.train), dtype=torch.bool)
    others[fitted.index] = False
    left = others.nonzero()[:, 0]
    held_out = dataset.train[left[torch.randperm(len(left), generator=rng_from(left.device, seed, 13))[:FITTED]]]

    def decoder(z: Tensor) -> Tensor:
        return (fitted.model.generate(z) + 1) / 2

    def encode(x: Tensor) -> Independent:
        posterior = fitted.model.encode(2 * x - 1)
        return Independent(Normal(posterior.mean, posterior.stddev, validate_args=False), 1, validate_args=False)

    title = "A variational autoencoder of 100 digits"
    return Demo(title, dataset.train[fitted.index], held_out, None, decoder, 16, encode)


DEMOS: dict[str, Callable[[str, int], Demo]] = {"copycat": _copycat, "innocent": _innocent, "vae": _vae}
