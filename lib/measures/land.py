r"""LAND, the locally adaptive normal distribution: a normal density for a curved space, and mixtures of it.

.. math:: p(z) = \frac{1}{C} \exp\big(-\tfrac12\, v^T \Sigma^{-1} v\big) , \quad v = \operatorname{Log}_\mu(z) , \qquad
          C = \int \exp\big(-\tfrac12\, v^T \Sigma^{-1} v\big) \sqrt{\det M(z)}\, dz

The logarithm :math:`\operatorname{Log}_\mu(z)` is the velocity with which the shortest path leaves the mean to be at
``z`` at time one. Densities are per unit of the measure :math:`\sqrt{\det M}\, dz`; a density over latents, such as a
Gaussian mixture's, is compared with :math:`p(z) \sqrt{\det M(z)}`. In a flat space LAND is the normal distribution.

The constant is a quasi-Monte Carlo sum over nodes drawn from wide normals about the points, with the logarithm at
each. Arvanitidis, Hansen & Hauberg 2016 draw tangent vectors instead and follow their geodesics; that counts points
beyond the cut locus more than once, and needs the volume that the exponential map changes.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import qmc
from torch import Tensor
from torch.distributions import MultivariateNormal
from tqdm import trange

from lib.measures.axes import Decoder, Latents, PerSample
from lib.measures.curves import straight
from lib.measures.geodesic import Path, log_measure, shortest_path
from lib.measures.minimise import minimise

SPREAD = 1.5
"""standard deviation of the nodes, in those of the points that each component starts with"""
GAIN = 1e-4
"""nats per point by which a round must raise the likelihood for another to follow"""


class Land(NamedTuple):
    """A mixture of LANDs, and how far to trust its fit."""

    weights: Float[Tensor, " components"]
    means: Float[Tensor, "components latent"]
    precisions: Float[Tensor, "components latent latent"]
    """inverse covariances of the tangent vectors at each mean; near zero where the space is too small to bound them"""
    log_constants: Float[Tensor, " components"]
    ess: Float[Tensor, " components"]
    """effective number of nodes in each constant; near 1, a single node dominates it"""
    log_likelihood: Float[Tensor, " rounds"]
    """mean over the points after each round, nats, by the nodes of the fit; it never falls"""
    failed: int
    """shortest paths, from the means to points and nodes, that did not converge"""


class _Tangents(NamedTuple):
    """Logarithms at the means, and what they were found with."""

    points: Float[Tensor, "components points latent"]
    nodes: Float[Tensor, "components nodes latent"]
    bends: Float[Tensor, "paths points latent"]
    """how the paths differ from straight lines"""
    failed: int


class _State(NamedTuple):
    weights: Tensor
    means: Tensor
    roots: Float[Tensor, "components latent latent"]
    """of the inverse covariances"""
    tangents: _Tangents
    likelihood: Tensor


@torch.no_grad()
def fit_land(
    decoder: Decoder,
    z: Latents,
    shares: Float[Tensor, "components points"] | None = None,
    *,
    nodes: int = 128,
    rounds: int = 4,
    n: int = 17,
    seed: int = 0,
) -> Land:
    r"""Fit a mixture of LANDs to latents by maximum likelihood.

    Each round moves every mean by the mean of the points' tangent vectors less that under the density, the natural
    direction in which the likelihood rises, then does a step of expectation-maximisation for weights and covariances. A
    round in which the likelihood falls is taken back, and the moves are halved.

    Args:
        decoder: any map from ``[batch, latent]`` to ``[batch, *output]``, differentiable.
        z: the points.
        shares: share of each point in each component to start from, as a Gaussian mixture gives; by default there is
            one component.
        nodes: number of nodes about each component while fitting, a power of two. The constants are computed on twice
            as many.
        rounds: the largest number of rounds.
        n: number of samples of each shortest path.
        seed: seed of the nodes.

    Raises:
        ValueError: ``shares`` are not of as many points as ``z``.

    Example:
        In a flat space it is the normal distribution.

        >>> z = torch.randn(99, 2, generator=torch.Generator().manual_seed(0))
        >>> land = fit_land(lambda z: z, z, rounds=1, n=3)
        >>> torch.allclose(land.precisions[0].inverse(), z.T.cov(), atol=0.05)
        True
    """
    shares = torch.ones_like(z[None, :, 0]) if shares is None else shares
    if shares.shape[1] != len(z):
        raise ValueError(f"shares must be [components, {len(z)}] for these points, got {list(shares.shape)}")
    means = shares @ z / shares.sum(1, keepdim=True)
    spread = _spread(shares, means, z)
    sites, log_weight = _nodes(decoder, means, spread, nodes, seed)
    roots = torch.linalg.cholesky(torch.linalg.inv(spread))
    tangents = _tangents(decoder, means, z, sites, n)
    state = _maximised(shares, means, roots, tangents, log_weight)
    history, stride = [state.likelihood], 1.0
    for _ in trange(rounds, desc="LAND", unit="round"):
        shares = _shares(state, log_weight)
        means = state.means + stride * _ascent(shares, state, log_weight)
        tangents = _tangents(decoder, means, z, sites, n, state.tangents.bends)
        trial = _maximised(shares, means, state.roots, tangents, log_weight)
        gain = float(trial.likelihood - state.likelihood)
        state, stride = (trial, stride) if gain > 0 else (state, stride / 2)
        history.append(state.likelihood)
        if 0 < gain < GAIN or stride < 0.2:
            break
    # The fit is adapted to its own nodes, so constants computed on them are biased low: fresh nodes give the constants.
    sites, log_weight = _nodes(decoder, state.means, _spread(shares, state.means, z), 2 * nodes, seed + 1)
    fresh = _tangents(decoder, state.means, z[:0], sites, n)
    log_constants, ess = _constants(state.roots, fresh.nodes, log_weight)
    precisions = state.roots @ state.roots.mT
    failed = state.tangents.failed + fresh.failed
    return Land(state.weights, state.means, precisions, log_constants, ess, torch.stack(history), failed)


@torch.no_grad()
def log_prob(land: Land, decoder: Decoder, z: Latents, *, n: int = 17) -> PerSample:
    r"""Log density of a mixture of LANDs per unit of :math:`\sqrt{\det M}\, dz`, in nats.

    Args:
        land: the mixture.
        decoder: the decoder that the mixture was fitted with.
        z: latents.
        n: number of samples of each shortest path. The density is NaN where a path does not converge.

    Example:
        >>> z = torch.randn(99, 2, generator=torch.Generator().manual_seed(0))
        >>> land = fit_land(lambda z: z, z, rounds=1, n=3)
        >>> normal = MultivariateNormal(z.mean(0), z.T.cov())
        >>> bool((log_prob(land, lambda z: z, z, n=3) - normal.log_prob(z)).abs().median() < 0.05)
        True
    """
    count = len(land.means)
    path = shortest_path(decoder, land.means.repeat_interleave(len(z), 0), z.repeat(count, 1), n=n)
    tangents = path.velocity.where(path.converged[:, None], torch.nan).view(count, *z.shape)
    exponents = -0.5 * torch.einsum("kni,kij,knj->kn", tangents, land.precisions, tangents)
    return (exponents + (land.weights.log() - land.log_constants)[:, None]).logsumexp(0)


def _spread(shares: Tensor, means: Tensor, z: Tensor) -> Float[Tensor, "components latent latent"]:
    beside = z - means[:, None]
    spread = torch.einsum("kn,kni,knj->kij", shares, beside, beside) / shares.sum(1)[:, None, None]
    # A component of few points may have no width in some direction.
    return spread + 1e-6 * z.var(0).mean() * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)


def _nodes(
    decoder: Decoder, means: Tensor, spread: Tensor, count: int, seed: int
) -> tuple[Latents, Float[Tensor, " nodes"]]:
    """Nodes, and the logarithm of the measure that each stands for."""
    wide = MultivariateNormal(means, SPREAD**2 * spread)
    rng = np.random.default_rng(seed)
    parts = [
        qmc.MultivariateNormalQMC(*(part.double().cpu().numpy() for part in component), rng=rng).random(count)
        for component in zip(means, wide.covariance_matrix, strict=True)
    ]
    sites = torch.from_numpy(np.concatenate(parts)).to(means)
    density = wide.log_prob(sites[:, None]).logsumexp(1) - math.log(len(means))
    return sites, log_measure(decoder, sites) - density - math.log(len(sites))


def _tangents(
    decoder: Decoder, means: Tensor, z: Tensor, sites: Tensor, n: int, bends: Tensor | None = None
) -> _Tangents:
    ends = torch.cat([z, sites])
    starts, ends = means.repeat_interleave(len(ends), 0), ends.repeat(len(means), 1)
    lines = straight(starts, ends, n)
    path = _paths(decoder, starts, ends, n, None if bends is None else lines + bends)
    velocity = path.velocity.view(len(means), -1, z.shape[1])
    return _Tangents(velocity[:, : len(z)], velocity[:, len(z) :], path.z - lines, int((~path.converged).sum()))


def _paths(decoder: Decoder, starts: Tensor, ends: Tensor, n: int, start: Tensor | None = None) -> Path:
    # A length is known far better than its path; and paths of the round before need little more.
    return shortest_path(decoder, starts, ends, n=n, steps=100 if start is None else 15, tolerance=1e-4, start=start)


def _exponents(roots: Tensor, tangents: Tensor) -> Float[Tensor, "components points"]:
    return -0.5 * (tangents @ roots).square().sum(2)


def _constants(roots: Tensor, nodes: Tensor, log_weight: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithm of each component's constant, and the effective number of nodes in it."""
    terms = _exponents(roots, nodes) + log_weight
    return terms.logsumexp(1), (2 * terms.logsumexp(1) - (2 * terms).logsumexp(1)).exp()


def _log_joint(
    weights: Tensor, roots: Tensor, tangents: _Tangents, log_weight: Tensor
) -> Float[Tensor, "components points"]:
    constants = _constants(roots, tangents.nodes, log_weight)[0]
    return _exponents(roots, tangents.points) + (weights.log() - constants)[:, None]


def _shares(state: _State, log_weight: Tensor) -> Float[Tensor, "components points"]:
    return _log_joint(state.weights, state.roots, state.tangents, log_weight).softmax(0)


def _maximised(shares: Tensor, means: Tensor, roots: Tensor, tangents: _Tangents, log_weight: Tensor) -> _State:
    """The best weights and covariances for given means and shares."""
    total = shares.sum(1)

    def loss(flat: Tensor, rows: Tensor) -> Tensor:
        part = flat.unflatten(1, roots.shape[1:])
        fit = (shares[rows] * _exponents(part, tangents.points[rows])).sum(1) / total[rows]
        return _constants(part, tangents.nodes[rows], log_weight)[0] - fit

    roots = minimise(loss, roots.flatten(1), 50, 1e-9).x.view_as(roots)
    weights = total / total.sum()
    likelihood = _log_joint(weights, roots, tangents, log_weight).logsumexp(0).mean()
    return _State(weights, means, roots, tangents, likelihood)


def _ascent(shares: Tensor, state: _State, log_weight: Tensor) -> Float[Tensor, "components latent"]:
    terms = _exponents(state.roots, state.tangents.nodes) + log_weight
    expected = terms.softmax(1)[:, None] @ state.tangents.nodes
    observed = (shares / shares.sum(1, keepdim=True))[:, None] @ state.tangents.points
    return (observed - expected)[:, 0]
