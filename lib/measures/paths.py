"""Density along paths: arclength, the dip between two points, the decay about one.

A path is straight in latent space and measured in output space: every radius and midpoint is an arclength, summed over
chords between samples, in output units.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lib.measures.axes import Along, Decoder, Latents, PerSample
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
        n: samples per path, equally spaced in latent space.
        rank: singular values in the density, fixed along the path; by default all.
        chunk: points at a time, see :func:`lib.measures.jacobian.jacobian`.

    Raises:
        ValueError: the shapes differ, ``n < 3``, or ``rank`` is more than the decoder has somewhere on a path.
    """
    t = _fractions(z0, z1, n)
    points = _along(z0, z1 - z0, t)
    log_p = log_density(decoder, points.flatten(0, 1), rank, chunk=chunk)
    return Curve(arclength(decoder, z0, z1 - z0, t), log_p.view(len(z0), n))


@torch.no_grad()
def arclength(decoder: Decoder, z: Latents, step: Latents, t: Along) -> Along:
    r"""Arclength :math:`s_k = \sum_{j < k} \|f(z + t_{j+1} v) - f(z + t_j v)\|` of a path, with :math:`s_0 = 0`.

    The sum in the paper's procedures has its index off by one (there :math:`s_1 = 0`, and :math:`s_k` starts with the
    step from :math:`x_1` to :math:`x_2`); this is what they mean.

    Args:
        decoder: any map from ``[batch, latent]`` to ``[batch, *output]``.
        z: where the paths start.
        step: their directions ``v``.
        t: the samples of each path, ascending, in units of ``step``.
    """
    parts = []
    for start, direction, samples in zip(z.split(16), step.split(16), t.split(16), strict=True):
        points = _along(start, direction, samples)
        outputs = decoder(points.flatten(0, 1)).reshape(*points.shape[:2], -1)
        chords = outputs.diff(dim=1).norm(dim=2)
        parts.append(torch.cat([torch.zeros_like(chords[:, :1]), chords.cumsum(1)], dim=1))
    return torch.cat(parts)


def midpoint(decoder: Decoder, z0: Latents, z1: Latents, *, n: int = 65) -> Latents:
    """The latent halfway along the path *in arclength*, which is rarely the mean of its ends.

    Raises:
        ValueError: the shapes differ, ``n < 3``, or a path has no length.
    """
    t = _fractions(z0, z1, n)
    s = arclength(decoder, z0, z1 - z0, t)
    flat = s[:, -1] == 0
    if flat.any():
        raise ValueError(f"{int(flat.sum())} of {len(z0)} paths have no length: the decoder is constant on them")
    return z0 + _when(s, t, s[:, -1:] / 2) * (z1 - z0)


def dip(decoder: Decoder, z0: Latents, z1: Latents, *, rank: int | None = None, n: int = 65) -> PerSample:
    r"""Second difference of the log density between two ends and their arclength midpoint, in nats.

    .. math:: \delta = \log \tilde p(s_0) + \log \tilde p(s_1) - 2 \log \tilde p(s_{1/2})

    Positive where the density falls between the ends, as it does between memorised points. Feiszli 2017, section 5.3.
    The midpoint is found on ``n`` samples; the density there is exact. Arguments and errors are those of
    :func:`line_density` and :func:`midpoint`.
    """
    middle = midpoint(decoder, z0, z1, n=n)
    start, end, centre = log_density(decoder, torch.cat([z0, z1, middle]), rank).chunk(3)
    return start + end - 2 * centre


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
        rank: singular values in the density; by default all.
        radii: arclengths, in output units.
        direction: index of the singular vector, zero being the largest.
        reach: latent units searched on either side.

    Returns:
        ``[batch, radii]``, NaN where the path does not travel the radius within ``reach`` on both sides.

    Raises:
        ValueError: no radius or one that is not positive, ``reach`` not positive, or as in ``log_density``.
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
    """:func:`decay_by_radius` along any direction ``step``, given the log density ``centre`` at the points."""
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
    """
    # Cubic spacing: fine where singular values are large and radii are met early, coarse at the far end.
    t = (reach * torch.linspace(0, 1, n, dtype=z.dtype, device=z.device) ** 3).expand(len(z), n)
    s = arclength(decoder, z, step, t)
    targets = torch.tensor(radii, dtype=z.dtype, device=z.device).expand(len(z), -1)
    return torch.where(s[:, -1:] >= targets, _when(s, t, targets), torch.nan)


def _when(s: Tensor, t: Tensor, targets: Tensor) -> Tensor:
    """Invert ``s(t)``, monotone and sampled, at the targets of each row, linearly between samples."""
    right = torch.searchsorted(s.contiguous(), targets.contiguous()).clamp(1, s.shape[1] - 1)
    (s0, s1), (t0, t1) = ((rows.gather(1, right - 1), rows.gather(1, right)) for rows in (s, t))
    return t0 + (t1 - t0) * (targets - s0) / (s1 - s0)


def _along(z: Tensor, step: Tensor, t: Tensor) -> Tensor:
    return z[:, None] + t[..., None] * step[:, None]


def _fractions(z0: Tensor, z1: Tensor, n: int) -> Tensor:
    if z0.shape != z1.shape or z0.ndim != 2:
        raise ValueError(f"both ends must be [batch, latent] of one shape, got {list(z0.shape)} and {list(z1.shape)}")
    if n < 3:
        raise ValueError(f"a path needs at least 3 samples, got n={n}")
    return torch.linspace(0, 1, n, dtype=z0.dtype, device=z0.device).expand(len(z0), n)
