"""What the variational autoencoders share. ``encode`` and ``decode`` return distributions; ``generate`` is measured."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, kl_divergence


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

    @staticmethod
    def observe(images: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
        """Images in [0, 1] as the model sees them."""
        return images

    def forward(
        self, x: Float[Tensor, "batch *shape"], noise: Float[Tensor, "batch latent"]
    ) -> Float[Tensor, " batch"]:
        r"""Negative evidence lower bound :math:`KL(q(z|x) \| p(z)) - \log p(x|z)` in nats.

        ``noise`` is standard normal, and makes the one sample of q(z | x).
        """
        posterior = self.encode(x)
        z = posterior.mean + posterior.stddev * noise
        return kl_divergence(posterior, normal(torch.zeros_like(z), torch.ones_like(z))) - self.decode(z).log_prob(x)


@torch.no_grad()
def codes(model: VAE, images: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch latent"]:
    """Posterior means of images in [0, 1], on the model's device, for models that see images without noise."""
    device = next(model.parameters()).device
    return torch.cat([model.encode(model.observe(part).to(device)).mean for part in images.split(4096)])


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


def perceptron(*sizes: int, activation: type[nn.Module]) -> nn.Sequential:
    """Fully-connected layers of these sizes, with the activation between them."""
    layers = [layer for pair in pairwise(sizes) for layer in (Dense(*pair), activation())]
    return nn.Sequential(*layers[:-1])


def posterior(moments: Float[Tensor, "batch twice_latent"]) -> Independent:
    """The normal of an encoder's output: means, then logarithms of variances."""
    mean, log_variance = moments.chunk(2, dim=1)
    return normal(mean, (log_variance / 2).exp())


def normal(
    mean: Float[Tensor, "batch *shape"], scale: Float[Tensor, "*broadcast"] | float, axes: int = 1
) -> Independent:
    """A normal with independent coordinates; the last ``axes`` axes are one event."""
    return Independent(Normal(mean, scale, validate_args=False), axes, validate_args=False)
