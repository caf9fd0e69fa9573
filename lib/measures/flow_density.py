r"""The log density of a flow: exactly, by the Jacobian of its sampler, and by Hutchinson's estimate of the divergence.

A sampler is a decoder of full rank, so its density at :math:`x = f(z)` is that of
:func:`lib.measures.density.log_density` with all singular values. A flow in continuous time has the same as an integral
along the way of a point,

.. math:: \log p(x) = \log N(z; 0, I) - \int_0^1 \operatorname{div} u_t(y_t)\, dt ,

which needs the trace of a Jacobian in place of its determinant; and a trace can be estimated.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jvp

from lib.measures.axes import Latents, PerSample
from lib.measures.density import log_density, log_prior
from lib.measures.flows import Points, Velocity, encode, sampler, times, trajectory
from lib.measures.jacobian import FORWARD_MODE

ROWS = 1024
"""points, once for each probe, that are differentiated together"""


class Exact(NamedTuple):
    """Log density of a sampler at points."""

    log_p: PerSample
    """nats"""
    z: Latents
    """the codes of the points"""
    error: PerSample
    """of the codes, see :class:`lib.measures.flows.Codes`"""


class Estimated(NamedTuple):
    """Log density of a flow with the error of the estimate."""

    log_p: PerSample
    """nats"""
    standard_error: PerSample
    """over the probes, nats; NaN for one probe. The error of the steps is not in it."""


def log_density_at(velocity: Velocity, x: Points, steps: int) -> Exact:
    r"""Exact log density, nats, of what :func:`lib.measures.flows.sampler` makes of noise, at any points.

    .. math:: \log p(x) = \log N(z; 0, I) - \sum_i \log \sigma_i(z), \quad x = f(z)

    Exact for the sampler with its steps, which is what emits images; that its steps are few is no error of the density.

    Args:
        velocity: of the flow.
        x: points ``[batch, dim]``.
        steps: those of the sampler.

    Raises:
        ValueError: the sampler's Jacobian is singular to rounding at some point, as that of a finite set is.

    Source: Feiszli 2017, equation 2, at full rank.

    Example:
        The flow from N(0, 1) to N(0, 4), at its middle: log N(0; 0, 2).

        >>> from lib.measures.flows import mixture_velocity
        >>> twice = mixture_velocity([1.0], torch.zeros(1, 1), [2.0])
        >>> log_density_at(twice, torch.zeros(1, 1), 400).log_p
        tensor([-1.6121])
    """
    code = encode(velocity, x, steps)
    return Exact(log_density(sampler(velocity, steps), code.z), code.z, code.error)


@torch.no_grad()
def hutchinson(velocity: Velocity, z: Latents, steps: int, probes: int, *, rng: torch.Generator) -> Estimated:
    r"""Log density, nats, at what the sampler makes of ``z``, by Hutchinson's estimate of the divergence.

    .. math:: \operatorname{div} u = E[\varepsilon^\top J \varepsilon], \quad \varepsilon_i = \pm 1

    One vector of signs, a *probe*, stays the same along the way of a point. The integral is a sum over the sampler's
    own times: by trapezoids, and in the last step by the value at its start, as the sampler does. So the expectation
    over probes is a sum of exact divergences (:func:`divergence_sum`), which differs from :func:`log_density_at` by the
    error of the steps, of the order of their square.

    Args:
        velocity: of the flow.
        z: noise.
        steps: those of the sampler.
        probes: independent probes for each point; two or more for a standard error.
        rng: the source of random numbers for the probes, on the device of ``z``.

    Raises:
        ValueError: no probe.

    Source: Hutchinson 1990; for flows Grathwohl et al. 2019, equation 7, with one probe for each point.

    Example:
        A round flow has the same divergence for all probes: no error from chance.

        >>> from lib.measures.flows import mixture_velocity
        >>> twice = mixture_velocity([1.0], torch.zeros(1, 2), [2.0])
        >>> estimate = hutchinson(twice, torch.zeros(1, 2), 100, 4, rng=torch.Generator().manual_seed(0))
        >>> estimate.log_p, estimate.standard_error
        (tensor([-3.2241]), tensor([0.]))
    """
    if probes < 1:
        raise ValueError(f"at least one probe is needed, got {probes}")
    way = trajectory(velocity, z, steps)
    shape = (probes, *z.shape)
    signs = torch.randint(0, 2, shape, generator=rng, device=z.device, dtype=z.dtype) * 2 - 1
    integrals = _integrals(velocity, way, signs)
    error = integrals.std(0) / probes**0.5 if probes > 1 else torch.full_like(integrals[0], torch.nan)
    return Estimated(log_prior(z) - integrals.mean(0), error)


@torch.no_grad()
def divergence_sum(velocity: Velocity, z: Latents, steps: int) -> PerSample:
    r"""The sum that :func:`hutchinson` estimates, with exact divergences: its mean over all probes, in nats.

    Example:
        >>> divergence_sum(lambda y, t: 3 * y, torch.zeros(1, 2), 4)
        tensor([6.])
    """
    basis = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    return _integrals(velocity, trajectory(velocity, z, steps), basis[:, None].expand(-1, *z.shape)).sum(0)


def _integrals(
    velocity: Velocity, way: Float[Tensor, "times batch latent"], directions: Float[Tensor, "probes batch latent"]
) -> Float[Tensor, "probes batch"]:
    """The integrals over time of what the divergence is in each direction, some directions at a time."""
    together = max(1, ROWS // way.shape[1])
    return torch.cat([_integral(velocity, way, part) for part in directions.split(together)])


def _integral(velocity: Velocity, way: Tensor, directions: Tensor) -> Tensor:
    steps = len(way) - 1
    at = [0.0, *times(steps)]  # so that each time but the last has one before it
    total = torch.zeros_like(directions[..., 0])
    for k, points in enumerate(way[:-1]):  # the velocity at the time 1 is not asked for
        before, after = at[k + 1] - at[k], at[k + 2] - at[k + 1]
        weight = (before + after * (1 + (k == steps - 1))) / 2
        rows = points.expand_as(directions).flatten(0, 1).clone(), directions.flatten(0, 1).clone()
        with FORWARD_MODE:
            moved = jvp(lambda y, time=at[k + 1]: velocity(y, time), rows[:1], rows[1:])[1]
        total = total + weight * (directions * moved.view_as(directions)).sum(2)
    return total
