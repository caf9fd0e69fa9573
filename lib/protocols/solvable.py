"""Maps that can be solved, to check the density on the image and the Jacobian against."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import norm
from torch import Tensor
from torch.distributions import MultivariateNormal

from lib.measures.axes import Decoder, Jacobians, Latents, PerSample
from lib.measures.density import log_density, log_prior
from lib.measures.jacobian import central_difference, jacobian


class Agreement(NamedTuple):
    """A formula beside the truth."""

    mean: float
    """mean of the true log density, nats"""
    error: float
    """largest difference, nats"""


class DeadDirection(NamedTuple):
    """Densities at latents that all have the same output."""

    formula: PerSample
    """the formula at the rank of the map, nats"""
    truth: PerSample
    """the density of the output, nats: the same everywhere but for rounding"""


def against_normal(matrix: Float[Tensor, "pixels latent"], offset: Float[Tensor, " pixels"], z: Latents) -> Agreement:
    """The formula on an affine map of full column rank, beside the normal density that the map makes.

    In an orthonormal basis of the image, with ``A = Q R``, the output is normal with covariance ``R Rᵀ``.

    Args:
        matrix: the matrix ``A`` of the map.
        offset: what the map adds.
        z: where the two are compared.
    """
    r = torch.linalg.qr(matrix)[1]
    exact = MultivariateNormal(torch.zeros_like(z[0]), r @ r.T).log_prob(z @ r.T)
    formula = log_density(lambda z: z @ matrix.T + offset, z)
    return Agreement(exact.mean().item(), (formula - exact).abs().max().item())


def parabola_arclength(z: Tensor) -> Tensor:
    r"""Arclength :math:`\frac12 (z \sqrt{1 + z^2} + \sinh^{-1} z)` of the parabola ``(z, z² / 2)`` from its vertex."""
    return (z * (1 + z**2).sqrt() + z.asinh()) / 2


def parabola_cdf(s: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    """Probability of an arclength below ``s`` on that parabola: the normal probability of a latent below the one there.

    The latent is found by inverting the arclength, which is sampled between -9 and 9.
    """
    grid = np.linspace(-9, 9, 200_001)
    return norm.cdf(np.interp(s, parabola_arclength(torch.from_numpy(grid)).numpy(), grid))


def dead_direction(matrix: Float[Tensor, "pixels latent"], at: Float[Tensor, " rank"], t: PerSample) -> DeadDirection:
    """The formula along the last latent direction of a linear map that ignores it, and the density of the output.

    Args:
        matrix: the linear map, of a rank one below its latents.
        at: coordinates of the output in the other singular directions, latent units.
        t: positions along the ignored direction, latent units.
    """
    rank = len(at)
    _, values, vectors = torch.linalg.svd(matrix)
    z = vectors[:rank].T @ at + t[:, None] * vectors[rank]
    truth = log_prior(z @ vectors[:rank].T) - values[:rank].log().sum()
    return DeadDirection(log_density(lambda z: z @ matrix.T, z, rank=rank), truth)


def relative_error(found: Jacobians, exact: Jacobians) -> float:
    """Frobenius norm of the error over that of the truth."""
    return ((found.double() - exact).norm() / exact.norm()).item()


def difference_errors(
    decoder: Decoder, z: Latents, exact: Jacobians, steps: Sequence[float] | np.ndarray
) -> Float[np.ndarray, " steps"]:
    """Relative error of the Jacobian by central differences, for every step, in the precision of ``z``."""
    return np.array([relative_error(central_difference(decoder, z, step), exact) for step in steps])


def forward_error(decoder: Decoder, z: Latents, exact: Jacobians) -> float:
    """Relative error of the Jacobian by forward-mode differentiation, in the precision of ``z``."""
    return relative_error(jacobian(decoder, z), exact)
