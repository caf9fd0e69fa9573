"""The papers' architectures. ``encode`` and ``decode`` return distributions; ``generate`` is the decoder to measure."""

import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, Normal, kl_divergence

Network = TypeVar("Network", bound=nn.Module)
_global_random_state = threading.Lock()


def seeded(build: Callable[[], Network], seed: int) -> Network:
    """A network whose initial weights depend on the seed alone, whatever other threads do."""
    with _global_random_state, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


class VAE(nn.Module):
    r"""A variational autoencoder with the prior :math:`p(z) = N(0, I)`; called, it gives its training loss.

    Its distributions do not validate their arguments, which would not go through ``vmap``; a loss that is not finite is
    caught by the training.
    """

    def encode(self, x: Float[Tensor, "batch *shape"]) -> Distribution:
        """The posterior q(z | x), a normal with a diagonal covariance."""
        raise NotImplementedError

    def decode(self, z: Float[Tensor, "batch latent"]) -> Distribution:
        """The likelihood p(x | z)."""
        raise NotImplementedError

    def generate(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch *shape"]:
        """The mean of p(x | z): the generator."""
        return self.decode(z).mean

    def forward(
        self, x: Float[Tensor, "batch *shape"], noise: Float[Tensor, "batch latent"]
    ) -> Float[Tensor, " batch"]:
        r"""Negative evidence lower bound :math:`KL(q(z|x) \| p(z)) - \log p(x|z)` in nats.

        ``noise`` is standard normal, and makes the one sample of q(z | x).
        """
        posterior = self.encode(x)
        z = posterior.mean + posterior.stddev * noise
        return kl_divergence(posterior, _normal(torch.zeros_like(z), torch.ones_like(z))) - self.decode(z).log_prob(x)


class ConvVAE(VAE):
    r"""The variational autoencoder of Feiszli 2017, section 5.3.

    "Several convolutional layers with ReLU and max-pooling, followed by fully-connected layers to compute means and
    log-variances", then "fully-connected layers and transposed convolutions with strides (each with ReLU)" and a final
    tanh: images in [-1, 1], :math:`p(x | z) = N(f(z), v I)`, prior :math:`z \sim N(0, I)`.

    The paper leaves the sizes and the variance open. Ours: two convolutions of ``width`` and ``2 width`` channels, a
    hidden layer of ``hidden`` units on either side, and the same two sizes backwards.

    Args:
        shape: channels, height and width of an image; height and width are multiples of four.
        latent: latents. The paper has 100.
        width: channels at full resolution.
        hidden: units of the fully-connected layers.
        variance: ``v``, of each pixel, in squared output units.

    Raises:
        ValueError: height or width cannot be halved twice.
    """

    def __init__(self, shape: Sequence[int], latent: int, width: int, hidden: int, variance: float) -> None:
        super().__init__()
        channels, height, breadth = shape
        if height % 4 or breadth % 4:
            raise ValueError(
                f"height and width must be multiples of 4, got {height} x {breadth}; pad or crop the images"
            )
        self.scale = variance**0.5
        coarse = (2 * width, height // 4, breadth // 4)
        features = coarse[0] * coarse[1] * coarse[2]
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(features, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 2 * latent),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, hidden),
            nn.ReLU(),
            nn.Linear(hidden, features),
            nn.ReLU(),
            nn.Unflatten(1, coarse),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1),
            nn.Tanh(),
        )

    def encode(self, x: Float[Tensor, "batch *shape"]) -> Distribution:
        """The posterior q(z | x) of images in [-1, 1]."""
        return _posterior(self.encoder(x))

    def decode(self, z: Float[Tensor, "batch latent"]) -> Distribution:
        """The likelihood p(x | z)."""
        return _normal(self.generate(z), self.scale, axes=3)

    def generate(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch *shape"]:
        """The mean of p(x | z): the generator whose image carries the density."""
        return self.decoder(z)


class Dense(nn.Module):
    """A fully-connected layer, as ``nn.Linear``, with the weight as ``[inputs, outputs]``.

    In this layout the gradients of stacked models come as ``bmm`` makes them; ``nn.Linear``'s is copied at every step,
    which takes as long as the products.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    def forward(self, x: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch outputs"]:
        """``x W + b``."""
        return x @ self.weight + self.bias


class Pixels(Bernoulli):
    """Independent binary pixels, with a ``log_prob`` of fewer passes over them than torch's, which costs as much as the
    decoder.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """The same numbers: value * logit - log(1 + exp(logit))."""
        return torch.addcmul(nn.functional.softplus(self.logits).neg_(), value, self.logits)


class BernoulliVAE(VAE):
    """The fully-connected autoencoder for binarised MNIST of van den Burg & Williams 2021, table 1.

    Args:
        shape: channels, height and width of an image. The paper pads MNIST to 32 x 32.
        latent: latents. The paper has 16.
        width: units of the layer next to the latents, half of those of the other. The paper has 256.
    """

    def __init__(self, shape: Sequence[int], latent: int, width: int) -> None:
        super().__init__()
        self.shape = tuple(shape)
        pixels = shape[0] * shape[1] * shape[2]
        self.encoder = _perceptron(pixels, 2 * width, width, 2 * latent)
        self.decoder = _perceptron(latent, width, 2 * width, pixels)

    def encode(self, x: Float[Tensor, "batch *shape"]) -> Distribution:
        """The posterior q(z | x) of binary images."""
        return _posterior(self.encoder(x.flatten(1)))

    def decode(self, z: Float[Tensor, "batch latent"]) -> Distribution:
        """The likelihood p(x | z): independent pixels."""
        logits = self.decoder(z).unflatten(1, self.shape)
        return Independent(Pixels(logits=logits, validate_args=False), 3, validate_args=False)

    @staticmethod
    def observe(images: Float[Tensor, "batch *shape"], generator: torch.Generator) -> Float[Tensor, "batch *shape"]:
        """Dynamic binarisation: each pixel is one with the probability that its grey value gives."""
        return torch.bernoulli(images, generator=generator)


class GaussianVAE(VAE):
    r"""The DCGAN-like autoencoder for 32 x 32 colour images of van den Burg & Williams 2021, table 1.

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
        return _posterior(self.encoder(x))

    def decode(self, z: Float[Tensor, "batch latent"]) -> Distribution:
        """The likelihood p(y | z): independent pixels."""
        found = self.decoder(z)
        mean, log_variance = found.chunk(2, 1) if self.log_variance is None else (found, self.log_variance)
        return _normal(mean, (log_variance / 2).exp().expand_as(mean), axes=3)

    @staticmethod
    def observe(images: Float[Tensor, "batch *shape"], generator: torch.Generator) -> Float[Tensor, "batch *shape"]:
        """Uniform dequantisation of the 256 levels, then the logit."""
        noise = torch.rand(images.shape, generator=generator, device=images.device, dtype=images.dtype)
        return torch.logit(0.05 + 0.9 * (255 * images + noise) / 256)

    @staticmethod
    def display(x: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
        """Back to pixels in [0, 1]."""
        return ((x.sigmoid() - 0.05) / 0.9).clamp(0, 1)


def _posterior(moments: Tensor) -> Independent:
    mean, log_variance = moments.chunk(2, dim=1)
    return _normal(mean, (log_variance / 2).exp())


def _normal(mean: Tensor, scale: Tensor | float, axes: int = 1) -> Independent:
    return Independent(Normal(mean, scale, validate_args=False), axes, validate_args=False)


def _perceptron(*sizes: int) -> nn.Sequential:
    layers = [layer for pair in pairwise(sizes) for layer in (Dense(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def _down(channels: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, 2 * channels, 4, 2, 1), nn.BatchNorm2d(2 * channels), nn.LeakyReLU(0.2)


def _up(channels: int) -> tuple[nn.Module, ...]:
    return nn.ConvTranspose2d(channels, channels // 2, 4, 2, 1), nn.BatchNorm2d(channels // 2), nn.ReLU()
