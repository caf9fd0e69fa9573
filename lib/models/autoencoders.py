"""The autoencoders of van den Burg & Williams 2021, table 1, which :mod:`lib.models.kfold` fits."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent

from lib.models.networks import VAE, normal, perceptron, posterior


class Pixels(Bernoulli):
    """Independent binary pixels, with a ``log_prob`` of fewer passes over them than torch's, which costs as much as the
    decoder.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """The same numbers: value * logit - log(1 + exp(logit))."""
        return torch.addcmul(nn.functional.softplus(self.logits).neg_(), value, self.logits)


class BernoulliVAE(VAE):
    """The fully-connected autoencoder for binarised MNIST.

    Args:
        shape: channels, height and width of an image. The paper pads MNIST to 32 x 32.
        latent: latents. The paper has 16.
        width: units of the layer next to the latents, half of those of the other. The paper has 256.
    """

    def __init__(self, shape: Sequence[int], latent: int, width: int) -> None:
        super().__init__()
        self.shape = tuple(shape)
        pixels = shape[0] * shape[1] * shape[2]
        self.encoder = perceptron(pixels, 2 * width, width, 2 * latent, activation=nn.ReLU)
        self.decoder = perceptron(latent, width, 2 * width, pixels, activation=nn.ReLU)

    def encode(self, x: Float[Tensor, "batch *shape"]) -> Distribution:
        """The posterior q(z | x) of binary images."""
        return posterior(self.encoder(x.flatten(1)))

    def decode(self, z: Float[Tensor, "batch latent"]) -> Distribution:
        """The likelihood p(x | z): independent pixels."""
        logits = self.decoder(z).unflatten(1, self.shape)
        return Independent(Pixels(logits=logits, validate_args=False), 3, validate_args=False)

    @staticmethod
    def observe(images: Float[Tensor, "batch *shape"], rng: torch.Generator) -> Float[Tensor, "batch *shape"]:
        """Dynamic binarisation: each pixel is one with the probability that its grey value gives."""
        return torch.bernoulli(images, generator=rng)


class GaussianVAE(VAE):
    r"""The DCGAN-like autoencoder for 32 x 32 colour images.

    It sees :math:`y = \operatorname{logit}(\lambda + (1 - 2 \lambda) u)` with :math:`\lambda = .05` of the uniformly
    dequantised pixels ``u``; its densities are those of ``y``.

    Args:
        shape: channels, height and width of an image; the last two are 32.
        latent: latents. The paper has 64 (CIFAR-10) and 32 (CelebA).
        width: ``F``, channels at the finest scale. The paper has 32.
        shared: one learnt variance for all pixels and images (CelebA), or one for each (CIFAR-10).

    Raises:
        ValueError: images of another size.
    """

    def __init__(self, shape: Sequence[int], latent: int, width: int, *, shared: bool) -> None:
        super().__init__()
        channels, height, breadth = shape
        if (height, breadth) != (32, 32):
            raise ValueError(f"images must be 32 x 32 for this network, got {height} x {breadth}; resize them")
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            *(layer for scale in (1, 2, 4) for layer in _down(scale * width)),
            nn.Flatten(),
            nn.Linear(32 * width, 2 * latent),
        )
        self.decoder = nn.Sequential(
            nn.Unflatten(1, (latent, 1, 1)),
            nn.ConvTranspose2d(latent, 8 * width, 2, 1, 0),
            nn.BatchNorm2d(8 * width),
            nn.ReLU(),
            *(layer for scale in (8, 4, 2) for layer in _up(scale * width)),
            nn.ConvTranspose2d(width, channels if shared else 2 * channels, 4, 2, 1),
        )
        self.log_variance = nn.Parameter(torch.zeros(())) if shared else None

    def encode(self, x: Float[Tensor, "batch *shape"]) -> Distribution:
        """The posterior q(z | y)."""
        return posterior(self.encoder(x))

    def decode(self, z: Float[Tensor, "batch latent"]) -> Distribution:
        """The likelihood p(y | z): independent pixels."""
        output = self.decoder(z)
        mean, log_variance = output.chunk(2, 1) if self.log_variance is None else (output, self.log_variance)
        return normal(mean, (log_variance / 2).exp().expand_as(mean), axes=3)

    @staticmethod
    def observe(images: Float[Tensor, "batch *shape"], rng: torch.Generator) -> Float[Tensor, "batch *shape"]:
        """Uniform dequantisation of the 256 levels, then the logit."""
        noise = torch.rand(images.shape, generator=rng, device=images.device, dtype=images.dtype)
        return torch.logit(0.05 + 0.9 * (255 * images + noise) / 256)

    @staticmethod
    def display(x: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
        """Back to pixels in [0, 1]."""
        return ((x.sigmoid() - 0.05) / 0.9).clamp(0, 1)


def _down(channels: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, 2 * channels, 4, 2, 1), nn.BatchNorm2d(2 * channels), nn.LeakyReLU(0.2)


def _up(channels: int) -> tuple[nn.Module, ...]:
    return nn.ConvTranspose2d(channels, channels // 2, 4, 2, 1), nn.BatchNorm2d(channels // 2), nn.ReLU()


NETWORKS: dict[str, type[VAE]] = {"bernoulli": BernoulliVAE, "diagonal": GaussianVAE, "shared": GaussianVAE}
"""what a specification calls them; the last two differ by ``shared``"""
