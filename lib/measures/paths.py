"""Density along paths: arclength, the dip between two points, the decay about one.

A path is given in latent space and measured in output space: every radius and midpoint is an arclength, summed over
chords between samples, in output units.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from lib.measures.axes import Along, Curves, Decoder, Latents, PerSample
from lib.measures.curves import arclength, fractions, halfway, interpolate, line, middle, straight
from lib.measures.density import log_density, log_density_from
from lib.measures.jacobian import singular_system

REACH = 8.0
"""Latent units searched on either side of a point. Under the prior, |z_k| > 8 has probability 1e-15."""


class Curve(NamedTuple):
    """Log density along paths."""

    s: Along
    """arclength from the start, in output units"""
    log_p: Along
    """log density, in nats"""


def line_density(
    decoder: Decoder, z0: Latents, z1: Latents, *, n: int = 65, rank: int | None = None, chunk: int | None = None
) -> Curve:
    """Log density against arclength on the straight latent path from ``z0`` to ``z1`` (Feiszli 2017, procedure 1).

    Args:
        decoder: any map from ``[batch, latent]`` to ``[batch, *output]``.
        z0: where the paths start, ``[batch, latent]``.
        z1: where they end, of the same shape.
        n: number of samples of each path, equally spaced in latent space.
        rank: number of singular values in the density, fixed along the path; by default all.
        chunk: points at a time, see :func:`lib.measures.jacobian.jacobian`.

    Raises:
        ValueError: the shapes differ, ``n < 3``, or ``rank`` is more than the decoder has somewhere on a path.

    Example:
        >>> line_density(torch.exp, torch.zeros(1, 1), torch.ones(1, 1), n=3).s
        tensor([[0.0000, 0.6487, 1.7183]])
    """
    curve = straight(z0, z1, n)
    log_p = log_density(decoder, curve.flatten(0, 1), rank, chunk=chunk)
    return Curve(arclength(decoder, curve), log_p.view(len(z0), n))


def midpoint(decoder: Decoder, z0: Latents, z1: Latents, *, n: int = 65) -> Latents:
    """The latent halfway along the straight path *in arclength*, which is rarely the mean of its ends.

    Raises:
        ValueError: the shapes differ, ``n < 3``, or a path has no length.

    Example:
        >>> midpoint(torch.exp, torch.zeros(1, 1), torch.ones(1, 1))
        tensor([[0.6201]])
    """
    s = arclength(decoder, straight(z0, z1, n))
    return z0 + interpolate(s, fractions(z0, n), halfway(s)) * (z1 - z0)


def dip(decoder: Decoder, z0: Latents, z1: Latents, *, rank: int | None = None, n: int = 65) -> PerSample:
    r"""Second difference of the log density between two ends and their arclength midpoint, in nats.

    .. math:: \delta = \log \tilde p(s_0) + \log \tilde p(s_1) - 2 \log \tilde p(s_{1/2})

    Positive where the density falls between the ends, as it does between memorised points. Feiszli 2017, section 5.3.
    The midpoint is found on ``n`` samples; the density there is exact. Arguments and errors are those of
    :func:`line_density` and :func:`midpoint`.

    Example:
        A linear map has the prior's dip: minus a quarter of the squared distance.

        >>> dip(lambda z: 3 * z, torch.tensor([[-1.0]]), torch.tensor([[1.0]]))
        tensor([-1.])
    """
    return _second_difference(decoder, z0, z1, midpoint(decoder, z0, z1, n=n), rank)


def dip_along(decoder: Decoder, curve: Curves, *, rank: int | None = None) -> PerSample:
    """:func:`dip` along any curves, such as shortest paths, given by their samples.

    Raises:
        ValueError: a curve has no length, or as in ``log_density``.

    Example:
        >>> dip_along(lambda z: 3 * z, straight(torch.tensor([[-1.0]]), torch.tensor([[1.0]]), 65))
        tensor([-1.])
    """
    return _second_difference(decoder, curve[:, 0], curve[:, -1], middle(decoder, curve), rank)


def _second_difference(decoder: Decoder, z0: Latents, z1: Latents, centre: Latents, rank: int | None) -> PerSample:
    start, end, between = log_density(decoder, torch.cat([z0, z1, centre]), rank).chunk(3)
    return start + end - 2 * between


def decay(
    decoder: Decoder,
    z: Latents,
    *,
    rank: int | None = None,
    radii: Sequence[float] = (0.5, 1.0),  # Feiszli 2017, section 5.3
    direction: int = 0,
    reach: float = REACH,
) -> PerSample:
    """Mean over the radii of :func:`decay_by_radius`: very negative where the density peaks, as on memorised points.

    A path that never travels a radius within ``reach`` has no decay: it is NaN, to be counted, not left out in silence
    (:func:`lib.measures.intervals.estimate` does).

    Example:
        >>> decay(lambda z: z, torch.zeros(1, 2), radii=(0.5, 1.0))
        tensor([-0.7500])
    """
    return decay_by_radius(decoder, z, rank=rank, radii=radii, direction=direction, reach=reach).mean(1)


def decay_by_radius(
    decoder: Decoder,
    z: Latents,
    *,
    rank: int | None = None,
    radii: Sequence[float] = (0.5, 1.0),  # Feiszli 2017, section 5.3
    direction: int = 0,
    reach: float = REACH,
) -> Along:
    r"""Second difference of the log density about a point, over the radius, in nats per output unit.

    .. math:: \eta(r) = \frac{\log \tilde p(r) + \log \tilde p(-r) - 2 \log \tilde p(0)}{r}

    along the line through the point in one singular direction, ``r`` being arclength. Feiszli 2017, procedure 2 and
    section 5.3.

    Args:
        decoder: any map from ``[batch, latent]`` to ``[batch, *output]``.
        z: the points.
        rank: number of singular values in the density; by default all.
        radii: arclengths at which the density is compared with that of the point, in output units.
        direction: index of the singular vector; zero belongs to the largest singular value.
        reach: how far the search goes on either side, in latent units.

    Returns:
        ``[batch, radii]``, NaN where the path does not travel the radius within ``reach`` on both sides.

    Raises:
        ValueError: there is no radius, a radius or ``reach`` is not positive, ``direction`` does not exist, or as in
            ``log_density``.

    Example:
        >>> decay_by_radius(lambda z: z, torch.zeros(1, 2), radii=(0.5, 1.0))
        tensor([[-0.5000, -1.0000]])
    """
    latent = z.shape[-1]
    if not 0 <= direction < latent:
        raise ValueError(f"direction must be in 0..{latent - 1} for {latent} latents, got {direction}")
    system = singular_system(decoder, z)
    centre = log_density_from(system.values, decoder, z, rank)
    return decay_along(decoder, z, system.vectors[:, direction], centre, rank, radii, reach=reach)


def decay_along(
    decoder: Decoder,
    z: Latents,
    step: Latents,
    centre: PerSample,
    rank: int | None,
    radii: Sequence[float],
    *,
    reach: float = REACH,
) -> Along:
    """:func:`decay_by_radius` along any direction ``step``, given the log density ``centre`` at the points.

    Example:
        >>> z, step = torch.zeros(1, 2), torch.tensor([[0.0, 1.0]])
        >>> decay_along(lambda z: z, z, step, log_density(lambda z: z, z), None, [0.5, 1.0])
        tensor([[-0.5000, -1.0000]])
    """
    if not radii or min(radii) <= 0 or not reach > 0:
        raise ValueError(f"radii and reach must be positive, got radii={list(radii)}, reach={reach}")
    forward = travel(decoder, z, step, radii, reach=reach)
    backward = travel(decoder, z, -step, radii, reach=reach)
    columns = []
    for column, radius in enumerate(radii):
        there, back = forward[:, column, None], backward[:, column, None]
        reached = (there + back).isfinite()[:, 0]
        eta = torch.full_like(centre, torch.nan)
        if reached.any():
            ends = torch.cat([(z + there * step)[reached], (z - back * step)[reached]])
            plus, minus = log_density(decoder, ends, rank).chunk(2)
            eta[reached] = (plus + minus - 2 * centre[reached]) / radius
        columns.append(eta)
    return torch.stack(columns, dim=1)


def travel(
    decoder: Decoder, z: Latents, step: Latents, radii: Sequence[float], *, reach: float = REACH, n: int = 65
) -> Along:
    """How far along ``step`` to go in latent space to have travelled each radius in output space.

    Returns:
        ``t``, ``[batch, radii]``, with arclength from ``z`` to ``z + t step`` equal to the radius; NaN where ``reach``
        does not suffice.

    Example:
        >>> travel(lambda z: 2 * z, torch.zeros(1, 1), torch.ones(1, 1), [1.0, 20.0])
        tensor([[0.5000,    nan]])
    """
    # Cubic spacing: fine where singular values are large and radii are met early, coarse at the far end.
    t = (reach * torch.linspace(0, 1, n, dtype=z.dtype, device=z.device) ** 3).expand(len(z), n)
    s = arclength(decoder, line(z, step, t))
    targets = torch.tensor(radii, dtype=z.dtype, device=z.device).expand(len(z), -1)
    return torch.where(s[:, -1:] >= targets, interpolate(s, t, targets), torch.nan)
