r"""The latent space as a curved space: metric, lengths, and shortest paths.

A decoder f measures the latent space by its outputs: a step dz has the length :math:`\sqrt{dz^T M dz}` with the
pull-back metric :math:`M = J^T J`. A stochastic decoder :math:`x = \mu(z) + \sigma(z) \odot \epsilon` has a random
metric, whose expectation

.. math:: \bar M(z) = J_\mu^T J_\mu + J_\sigma^T J_\sigma

is the pull-back metric of the deterministic map :math:`z \mapsto (\mu(z), \sigma(z))`, see :func:`stacked`. So
everything here takes one decoder, random or not.

Source: Arvanitidis, Hansen & Hauberg 2018, theorems 1 and 2.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.polynomial.legendre import legvander
from scipy.integrate import solve_bvp
from torch import Tensor
from torch.autograd.functional import jvp as reverse_jvp
from torch.func import jvp

from lib.measures.axes import Curves, Decoder, Latents, PerSample
from lib.measures.curves import ROWS, curve_length, output_steps, straight
from lib.measures.jacobian import FORWARD_MODE, jacobian, singular_values
from lib.measures.minimise import minimise


class Path(NamedTuple):
    """A curve from each start to its end, and how far to trust that it is the shortest."""

    z: Curves
    length: PerSample
    """output units"""
    converged: Bool[Tensor, " batch"]
    """False where the solver gave up: ``z`` is then the last curve it had, or NaN if it had none"""
    velocity: Latents
    """at the start, latent units: towards the end, with the length of the path in the metric there"""


def stacked(mean: Decoder, deviation: Decoder) -> Decoder:
    r"""The map :math:`z \mapsto (\mu(z), \sigma(z))`, whose pull-back metric is the expected metric of the two.

    Example:
        >>> stacked(torch.sin, torch.cos)(torch.zeros(1, 2))
        tensor([[0., 0., 1., 1.]])
    """
    return lambda z: torch.cat([mean(z).flatten(1), deviation(z).flatten(1)], 1)


def metric(decoder: Decoder, z: Latents, *, chunk: int | None = None) -> Float[Tensor, "batch latent latent"]:
    r"""The pull-back metric :math:`M(z) = J(z)^T J(z)`, squared output units per squared latent unit.

    Args:
        decoder: any map from ``[batch, latent]`` to ``[batch, *output]``.
        z: latents.
        chunk: points at a time, see :func:`lib.measures.jacobian.jacobian`, which also says what it raises.

    Example:
        >>> metric(lambda z: 3 * z, torch.zeros(1, 2))
        tensor([[[9., 0.],
                 [0., 9.]]])
    """
    matrix = jacobian(decoder, z, chunk=chunk)
    return matrix.mT @ matrix


def log_measure(decoder: Decoder, z: Latents, *, chunk: int | None = None) -> PerSample:
    r"""Log of the magnification :math:`\sqrt{\det M(z)}`: the output volume of a unit of latent volume.

    Example:
        >>> log_measure(lambda z: 3 * z, torch.zeros(1, 2)).exp()
        tensor([9.])
    """
    return singular_values(decoder, z, chunk=chunk).log().sum(1)


def shortest_path(
    decoder: Decoder,
    z0: Latents,
    z1: Latents,
    *,
    n: int = 33,
    degree: int = 8,
    steps: int = 100,
    tolerance: float = 1e-5,
    start: Curves | None = None,
) -> Path:
    r"""Shortest paths between pairs of latents, all side by side, by minimising their energy.

    .. math:: \gamma(t) = (1 - t) z_0 + t z_1 + \sum_k c_k \int_0^t P_k , \quad
              E(c) = (n - 1) \sum_i \| f(\gamma(t_{i+1})) - f(\gamma(t_i)) \|^2

    with normalised Legendre polynomials P on [0, 1]. The energy is at least the squared length, and equal to it at
    constant speed; it needs no Jacobian. The result is a local minimum, which depends on the start: a shorter path on
    the other side of an obstacle is not found.

    Args:
        decoder: any map from ``[batch, latent]`` to ``[batch, *output]``, differentiable.
        z0: starts.
        z1: ends, of the same shape.
        n: number of points of each path.
        degree: the largest degree of P; a larger one can follow sharper bends.
        steps: the largest number of iterations of L-BFGS.
        tolerance: relative decrease of the energy in a step, below which a path has converged.
        start: curves to start from; by default straight lines.

    Raises:
        ValueError: the shapes differ, there are fewer than three points, or ``degree < 1``.

    Source: Arvanitidis et al. 2018, section 2; the paper solves the equivalent differential equation, which
    :func:`boundary_value` does.

    Example:
        There is a hill between the ends, and the way around it is shorter.

        >>> hill = lambda z: torch.cat([z, 3 * (-z.square().sum(1, keepdim=True)).exp()], 1)
        >>> ends = torch.tensor([[[-2.0, 0.1]], [[2.0, 0.1]]])
        >>> curve_length(hill, straight(*ends, 65)), shortest_path(hill, *ends, n=65).length
        (tensor([7.3582]), tensor([4.8791]))
    """
    lines = straight(z0, z1, n)
    bumps, slopes = _basis(z0, n, degree)
    bends = torch.zeros_like(lines) if start is None else start - lines
    first = (torch.linalg.pinv(bumps) @ bends).flatten(1)
    parts = []
    at_once = max(1, ROWS // n)
    for line, near in zip(lines.split(at_once), first.split(at_once), strict=True):

        def energy(c: Tensor, rows: Tensor, line: Tensor = line) -> Tensor:
            curve = line[rows] + bumps @ c.unflatten(1, (degree, -1))
            return (n - 1) * output_steps(decoder, curve).square().sum(2).sum(1)

        c, least, converged = minimise(energy, near, steps, tolerance)
        c = c.unflatten(1, (degree, -1)).where(least.isfinite()[:, None, None], torch.nan)
        parts.append((line + bumps @ c, line[:, -1] - line[:, 0] + slopes @ c, converged))
    z, velocity, converged = (torch.cat(column) for column in zip(*parts, strict=True))
    return _path(decoder, z, converged, velocity)


def boundary_value(
    decoder: Decoder, z0: Latents, z1: Latents, *, n: int = 33, tolerance: float = 1e-3, guess: Curves | None = None
) -> Path:
    r"""Geodesics as solutions of their differential equation, one pair after the other: slow, and independent.

    .. math:: \ddot \gamma = - M^{-1} J^T H[\dot \gamma, \dot \gamma]

    with ``H`` the second derivative of the decoder, is the equation of Arvanitidis et al. 2018 without its Kronecker
    products. Solved by :func:`scipy.integrate.solve_bvp`, which often gives up: ``converged`` says where.

    Args:
        decoder: any map from ``[batch, latent]`` to ``[batch, *output]``, twice differentiable.
        z0: starts.
        z1: ends, of the same shape.
        n: number of points of each path, and of the solver's first mesh.
        tolerance: the largest relative residual of the equation.
        guess: curves to start from, ``[batch, n, latent]``; by default straight lines.

    Example:
        >>> boundary_value(lambda z: 2 * z, torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])).length
        tensor([10.])
    """
    like, latent, mesh = z0, z0.shape[1], np.linspace(0, 1, n)
    lines = straight(z0, z1, n)
    guess = lines if guess is None else guess
    curves, velocities, ended = [], [], []
    for ends, curve in zip(torch.stack([z0, z1], 1).double().cpu().numpy(), guess.double().cpu().numpy(), strict=True):

        def change(_: np.ndarray, y: np.ndarray) -> np.ndarray:
            z, speed = torch.from_numpy(y.T).to(like).split(latent, 1)
            try:
                bend = acceleration(decoder, z, speed).double().cpu().numpy().T
            except (ValueError, torch.linalg.LinAlgError):  # no metric at some point: the solver ends at NaN
                bend = np.full_like(y[latent:], np.nan)
            return np.concatenate([y[latent:], bend])

        def gap(start: np.ndarray, end: np.ndarray, ends: np.ndarray = ends) -> np.ndarray:
            return np.concatenate([start[:latent] - ends[0], end[:latent] - ends[1]])

        first = np.concatenate([curve, np.gradient(curve, mesh, axis=0)], 1).T
        with np.errstate(all="ignore"):  # it reports what went wrong by its status
            solution = solve_bvp(change, gap, mesh, first, tol=tolerance, max_nodes=10 * n)
        state = solution.sol(mesh) if np.isfinite(solution.y).all() else np.full((2 * latent, n), np.nan)
        curves.append(torch.from_numpy(state[:latent].T).to(like))
        velocities.append(torch.from_numpy(state[latent:, 0]).to(like))
        ended.append(bool(solution.success))
    return _path(decoder, torch.stack(curves), torch.tensor(ended, device=z0.device), torch.stack(velocities))


@torch.no_grad()
def acceleration(decoder: Decoder, z: Latents, velocity: Latents) -> Latents:
    r"""The acceleration :math:`- M^{-1} J^T H[v, v]` of a geodesic through ``z`` with velocity ``v``.

    Example:
        On a circle, whose latent is the angle, a geodesic keeps its speed.

        >>> acceleration(lambda z: torch.cat([z.sin(), z.cos()], 1), torch.ones(1, 1), torch.ones(1, 1)).abs()
        tensor([[0.]])
    """

    def slope(at: Tensor) -> Tensor:
        return jvp(decoder, (at,), (velocity.clone(),))[1]

    with FORWARD_MODE:
        bend = jvp(slope, (z.clone(),), (velocity.clone(),))[1].flatten(1)
    matrix = jacobian(decoder, z)
    return -torch.linalg.solve(matrix.mT @ matrix, (bend[:, None] @ matrix)[:, 0])


def _path(decoder: Decoder, z: Tensor, converged: Tensor, velocity: Tensor) -> Path:
    length = curve_length(decoder, z)
    _, moved = reverse_jvp(decoder, z[:, 0].clone(), velocity)
    speed = moved.flatten(1).norm(dim=1)
    scaled = torch.where(speed > 0, length / speed, 0.0)  # a path of no length has no direction either
    return Path(z, length, converged & length.isfinite(), velocity * scaled[:, None])


def _basis(z: Tensor, n: int, degree: int) -> tuple[Float[Tensor, "points degrees"], Float[Tensor, " degrees"]]:
    """Integrals of normalised Legendre polynomials: zero at both ends; and their slopes at the start."""
    if degree < 1:
        raise ValueError(f"degree must be at least 1, got {degree}")
    degrees = np.arange(1, degree + 1)
    scale = np.sqrt(2 * (2 * degrees + 1))
    values = legvander(np.linspace(-1, 1, n), degree + 1)
    bumps = (values[:, 2:] - values[:, :-2]) / scale
    return torch.from_numpy(bumps).to(z), torch.from_numpy(scale * (-1.0) ** degrees).to(z)
