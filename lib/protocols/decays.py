"""Decays over radius, direction and rank, and what they say together about which model memorises."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lib.measures.axes import Along, Decoder, Latents, Outputs, PerSample, SingularValues
from lib.measures.curves import straight
from lib.measures.density import log_density_by_rank
from lib.measures.intervals import Estimate, difference, estimate
from lib.measures.jacobian import singular_system, singular_values
from lib.measures.paths import Curve, decay_along, line_density, travel
from lib.measures.statistics import auc
from lib.models.convolutional import ConvVAEFit
from lib.models.data import Dataset
from lib.protocols.pair import codes, draw


class Peaks(NamedTuple):
    """Points about which decays are measured, with the singular system of a decoder there."""

    z: Latents
    values: SingularValues
    """output units per latent unit"""
    vectors: Float[Tensor, "batch latent latent"]
    """``vectors[:, k]`` is the direction of singular value ``k``"""


class Profile(NamedTuple):
    """Log density along one singular direction through one point."""

    s: Float[Tensor, " points"]
    """signed arclength from the point, output units"""
    log_p: Float[Tensor, " points"]
    """log density minus its value at the point, nats"""
    images: Outputs
    """outputs at equal latent steps along the line"""


class Degenerate(NamedTuple):
    """Second differences over a fixed latent distance, in the last singular direction."""

    decay: PerSample
    """nats per output unit"""
    travelled: PerSample
    """arclength to either side, output units"""


class Means(NamedTuple):
    """Mean decays over a sweep, where enough points have one."""

    positions: list[float]
    """what was swept: radii, or directions"""
    decays: list[Estimate]
    """nats per output unit, with intervals over points"""


class Combined(NamedTuple):
    """One number per point from its decays in several directions; NaN where no direction has one."""

    mean: PerSample
    strongest: PerSample
    """the most negative"""


class Decays(NamedTuple):
    """What decays say of one model; NaN is a point without a decay. In nats per output unit."""

    mean: PerSample
    """over the radii, in the first direction"""
    smallest: PerSample
    """at the smallest radius of the sweep, in the first direction"""
    others: PerSample | None
    """over the radii and the other directions that are not degenerate, if there are any"""
    last: PerSample
    """in the last direction, see :func:`last_direction`"""


def measure(decoder: Decoder, z: Latents) -> Peaks:
    """Points and the singular system of a decoder there."""
    return Peaks(z, *singular_system(decoder, z))


def along(decoder: Decoder, peaks: Peaks, direction: int, *, rank: int, radii: Sequence[float], reach: float) -> Along:
    """Decay at every radius along one singular direction, in double precision.

    Args:
        decoder: any map from ``[batch, latent]`` to ``[batch, *output]``.
        peaks: the points.
        direction: index of the singular vector; -1 is the last.
        rank: singular values in the density.
        radii: arclengths, output units.
        reach: latent units searched on either side.

    Returns:
        ``[batch, radii]``, nats per output unit; NaN where the path does not travel the radius.
    """
    centre = log_density_by_rank(peaks.z, peaks.values)[:, rank - 1]
    step = peaks.vectors[:, direction]
    return decay_along(decoder, peaks.z, step, centre, rank, radii, reach=reach).double().cpu()


def over_directions(
    decoder: Decoder, peaks: Peaks, directions: Sequence[int], *, rank: int, radii: Sequence[float], reach: float
) -> Float[Tensor, "directions batch"]:
    """Decays, means over the radii, in every direction; arguments as :func:`along`."""
    return torch.stack([along(decoder, peaks, k, rank=rank, radii=radii, reach=reach).mean(1) for k in directions])


def means(positions: Sequence[float], decays: Float[Tensor, "sweep batch"], *, seed: int) -> Means:
    """Mean decay over points at every position of a sweep, but where fewer than three points have one.

    Args:
        positions: what was swept.
        decays: a row for every position; NaN is a point without a decay.
        seed: seed of the bootstrap over points.
    """
    known = [i for i, row in enumerate(decays) if row.isfinite().sum() >= 3]
    return Means([positions[i] for i in known], [estimate(decays[i], seed=seed) for i in known])


def over_ranks(decoder: Decoder, peaks: Peaks, *, radii: Sequence[float], reach: float) -> Float[Tensor, " ranks"]:
    """Mean decay over points and radii at every rank, along the first singular direction.

    The spectra at the ends of each path are computed once. A path that does not travel a radius does not enter there.
    """
    centre, step = log_density_by_rank(peaks.z, peaks.values), peaks.vectors[:, 0]
    total = torch.zeros_like(centre[0])
    forward, backward = (travel(decoder, peaks.z, sign * step, radii, reach=reach) for sign in (1, -1))
    for column, radius in enumerate(radii):
        ends = peaks.z + forward[:, column, None] * step, peaks.z - backward[:, column, None] * step
        there = (ends[0] + ends[1]).isfinite().all(1)
        for end in ends:
            log_p = log_density_by_rank(end[there], singular_values(decoder, end[there]))
            total = total + (log_p - centre[there]).mean(0) / radius
    return (total / len(radii)).cpu()


@torch.no_grad()
def profile(
    decoder: Decoder, z: Latents, direction: int, *, rank: int, radius: float, reach: float, n: int = 41, shown: int = 9
) -> Profile:
    """Log density through one point along a singular direction.

    Args:
        decoder: any map from ``[batch, latent]`` to ``[batch, *output]``.
        z: the point, ``[1, latent]``.
        direction: index of the singular vector.
        rank: singular values in the density.
        radius: output units drawn to either side, where ``reach`` suffices.
        reach: latent units drawn to either side where it does not.
        n: samples of the line.
        shown: how many outputs.
    """
    step = singular_system(decoder, z).vectors[:, direction]
    back, forth = (travel(decoder, z, sign * step, [radius], reach=reach).nan_to_num(reach) for sign in (-1, 1))
    start, end = z - back * step, z + forth * step
    s, log_p = (values[0].cpu() for values in line_density(decoder, start, end, n=n, rank=rank))
    t = torch.linspace(0, 1, n, dtype=z.dtype, device=z.device) * (back + forth)[0] - back[0]
    centre = int(t.abs().argmin())
    return Profile(s - s[centre], log_p - log_p[centre], decoder(straight(start, end, shown)[0]).cpu())


def of_pair(
    fits: Mapping[str, ConvVAEFit],
    dataset: Dataset,
    points: int,
    few: int,
    *,
    directions: Sequence[int],
    smallest: float,
    rank: int,
    radii: Sequence[float],
    reach: float,
) -> dict[str, Decays]:
    """What a section measures of the two models, for one more pair of them.

    Args:
        fits: the pair, or any models of the kind.
        dataset: the images that they were fitted on.
        points: training images of each, at most; they are drawn with the seed of the fit.
        few: how many of them are measured in more than the first direction.
        directions: singular directions, as far as they are not degenerate in some model.
        smallest: the smallest radius of a sweep, output units.
        rank: singular values in the density.
        radii: arclengths that are averaged, output units.
        reach: latent units searched on either side.
    """
    how = {"rank": rank, "reach": reach}
    decoders = {name: fitted.model.generate for name, fitted in fits.items()}
    peaks = {
        name: measure(decoders[name], codes(fitted, dataset.train[draw(fitted.index, points, seed=fitted.spec.seed)]))
        for name, fitted in fits.items()
    }
    kept = [directions[i] for i in non_degenerate([peak.values for peak in peaks.values()], directions, share=0.1)]
    others = [k for k in kept if k]

    def one(decoder: Decoder, peak: Peaks) -> Decays:
        some = Peaks(*(part[:few] for part in peak))
        first = along(decoder, peak, 0, radii=[smallest, *radii], **how)
        elsewhere = over_directions(decoder, some, others, radii=radii, **how).nanmean(0) if others else None
        last = last_direction(decoder, some.z, rank=rank).decay
        return Decays(first[:, 1:].mean(1), first[:, 0], elsewhere, last)

    return {name: one(decoder, peaks[name]) for name, decoder in decoders.items()}


def last_direction(decoder: Decoder, z: Latents, *, rank: int, span: float = 2.0) -> Degenerate:
    """Decay in the direction that moves the output least, over the arclength that ``span`` latent units travel.

    Args:
        decoder: any map from ``[batch, latent]`` to ``[batch, *output]``.
        z: the points.
        rank: singular values in the density.
        span: latent units to either side.
    """
    step = singular_system(decoder, z).vectors[:, -1]
    curve: Curve = line_density(decoder, z - span * step, z + span * step, n=3, rank=rank)
    radius = curve.s[:, -1].cpu() / 2
    bend = (curve.log_p[:, 0] + curve.log_p[:, 2] - 2 * curve.log_p[:, 1]).double().cpu()
    return Degenerate(bend / radius, radius.double())


def non_degenerate(
    spectra: Sequence[Float[Tensor, "_ values"]], directions: Sequence[int], *, share: float
) -> list[int]:
    """Positions of the directions whose singular value is, on average, a share of the largest in every model.

    Args:
        spectra: singular values at points of each model.
        directions: indices of singular directions.
        share: least share of the largest singular value.
    """
    mean = torch.stack([(spectrum / spectrum[:, :1]).mean(0) for spectrum in spectra]).amin(0)
    return [position for position, k in enumerate(directions) if mean[k] >= share]


def combine(decays: Float[Tensor, "directions batch"]) -> Combined:
    """Mean and strongest decay of every point, over the directions in which it has one."""
    strongest = decays.nan_to_num(torch.inf).amin(0)
    return Combined(decays.nanmean(0), strongest.masked_fill(decays.isnan().all(0), torch.nan))


def separation(memorised: Float[Tensor, " points"], well_trained: Float[Tensor, " others"], *, seed: int) -> Estimate:
    """Probability that a random point of the memorised model decays more than one of the other; 0.5 is chance."""
    return difference(memorised, well_trained, told_apart, seed=seed)


def told_apart(memorised: np.ndarray, well_trained: np.ndarray, axis: int = -1) -> np.ndarray | np.floating:
    """The probability of :func:`separation`, as a statistic."""
    return auc(well_trained, memorised, axis)
