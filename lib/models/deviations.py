"""Networks with a mean and a standard deviation for every pixel, on few latents (Arvanitidis et al. 2018)."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from lib.models.networks import VAE, Dense

HALF_LOG_TWO_PI = math.log(2 * math.pi) / 2
START = -3.0
"""logarithm of a constant variance before training; one that is too large makes latents collapse"""


class StochasticVAE(VAE):
    r"""A variational autoencoder with :math:`p(x | z) = N(\mu(z), \operatorname{diag} \sigma^2(z))` in [0, 1].

    Layers of ``2 width`` and ``width`` hyperbolic tangents towards the latents, the same backwards, a sigmoid mean.

    Args:
        shape: of an image.
        latent: latents.
        width: units of the layer next to the latents, half of those of the other.
        variance: from latents ``[batch, latent]`` to the variance of each pixel ``[batch, pixels]``.
    """

    def __init__(self, shape: Sequence[int], latent: int, width: int, variance: nn.Module) -> None:
        super().__init__()
        self.shape = tuple(shape)
        pixels = torch.Size(shape).numel()
        self.encoder = _perceptron(pixels, 2 * width, width, 2 * latent)
        self.mean = nn.Sequential(_perceptron(latent, width, 2 * width, pixels), nn.Sigmoid())
        self.variance = variance

    def encode(self, x: Float[Tensor, "batch *shape"]) -> Distribution:
        """The posterior q(z | x) of images in [0, 1]."""
        mean, log_variance = self.encoder(x.flatten(1)).chunk(2, 1)
        return Independent(Normal(mean, (log_variance / 2).exp(), validate_args=False), 1, validate_args=False)

    def decode(self, z: Float[Tensor, "batch latent"]) -> Distribution:
        """The likelihood p(x | z): independent pixels."""
        variance = self.variance(z).unflatten(1, self.shape)
        return Independent(Gaussian(self.generate(z), variance), len(self.shape), validate_args=False)

    def generate(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch *shape"]:
        """The mean of p(x | z)."""
        return self.mean(z).unflatten(1, self.shape)

    def deviation(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch *shape"]:
        """The standard deviation of p(x | z), output units."""
        return self.variance(z).sqrt().unflatten(1, self.shape).expand(len(z), *self.shape)


class Gaussian(Normal):
    """A normal by its variance, with a ``log_prob`` of fewer passes over the pixels than torch's."""

    def __init__(self, mean: Tensor, variance: Tensor) -> None:
        super().__init__(mean, variance.sqrt(), validate_args=False)
        self.inverse, self.log_variance = variance.reciprocal(), variance.log()

    def log_prob(self, value: Tensor) -> Tensor:
        """The same numbers."""
        return (-0.5) * torch.addcmul(self.log_variance, (value - self.loc).square(), self.inverse) - HALF_LOG_TWO_PI


class Constant(nn.Module):
    """One variance for all pixels and latents."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.pixels = pixels
        self.log_variance = nn.Parameter(torch.tensor(START))

    def forward(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "1 pixels"]:
        """The variance, squared output units."""
        return self.log_variance.exp().expand(1, self.pixels)


class Network(nn.Module):
    """The variance as an ordinary network has it, with a softplus; it says little where there are no codes."""

    def __init__(self, pixels: int, latent: int, width: int, floor: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(_perceptron(latent, width, 2 * width, pixels), nn.Softplus())
        self.least = floor**2

    def forward(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch pixels"]:
        """The variance, squared output units."""
        return self.layers(z) + self.least


class Precision(nn.Module):
    r"""The precision as a sum of bumps on the codes: without codes, no precision.

    .. math:: \sigma^2(z) = \frac{1}{W v(z) + \zeta} + \text{floor}^2 , \qquad
              v_k(z) = \exp(-\lambda_k \|z - c_k\|^2) , \qquad W > 0 ,

    with centres :math:`c_k` by k-means and :math:`\lambda_k = \frac12 (a\, d_k)^{-2}` from the mean distance
    :math:`d_k` of a centre's codes. Arvanitidis et al. 2018, equations 9 and 10.
    """

    def __init__(self, pixels: int, latent: int, centres: int, least_precision: float, floor: float) -> None:
        super().__init__()
        self.log_weights = nn.Parameter(torch.zeros(centres, pixels))
        self.register_buffer("centres", torch.zeros(centres, latent))
        self.register_buffer("sharpness", torch.ones(centres))
        self.least_precision, self.least = least_precision, floor**2

    @torch.no_grad()
    def place(
        self, z: Float[Tensor, "n latent"], squared: Float[Tensor, "n pixels"], bandwidth: float, seed: int
    ) -> None:
        """Put the centres among the codes, and start from the squared residuals near each."""
        found = KMeans(len(self.centres), n_init=1, random_state=seed % 2**32).fit(z.double().cpu().numpy())
        self.centres.copy_(torch.from_numpy(found.cluster_centers_))
        own = nn.functional.one_hot(torch.from_numpy(found.labels_).long()).to(z)
        reach = (own * (z[:, None] - self.centres).norm(dim=2)).sum(0) / own.sum(0)
        reach = reach.clamp(min=1e-3 * float(reach.mean()))  # a centre of one code has none
        self.sharpness.copy_(0.5 / (bandwidth * reach).square())
        near = self._near(z)
        excess = (near.T @ squared / near.sum(0)[:, None] - self.least).clamp(min=self.least / 10)
        self.log_weights.copy_(-(excess * near.sum(1).mean()).log())

    def _near(self, z: Tensor) -> Tensor:
        return (-self.sharpness * (z[:, None] - self.centres).square().sum(2)).exp()

    def forward(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch pixels"]:
        """The variance, squared output units."""
        precision = self._near(z) @ self.log_weights.exp() + self.least_precision
        return precision.reciprocal() + self.least


def _perceptron(*sizes: int) -> nn.Sequential:
    layers = [layer for pair in pairwise(sizes) for layer in (Dense(*pair), nn.Tanh())]
    return nn.Sequential(*layers[:-1])
