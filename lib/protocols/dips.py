r"""Dips at every rank and threshold, from the spectra at three points of each path.

A dip :math:`\log \tilde p(s_0) + \log \tilde p(s_1) - 2 \log \tilde p(s_{1/2})` needs the singular values at the two
ends of a path and at its midpoint, whatever the rank: :func:`measure` computes them once, the others read them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lib.measures.axes import Along, Decoder, Latents, Outputs, PerSample, SingularValues
from lib.measures.curves import straight
from lib.measures.density import log_density_by_rank, log_density_by_threshold, log_prior
from lib.measures.jacobian import singular_values
from lib.measures.paths import Curve, line_density, midpoint
from lib.models.convolutional import ConvVAEFit
from lib.models.data import nearest_neighbours
from lib.protocols.dimensions import rank_by_threshold
from lib.protocols.pair import Case


class Point(NamedTuple):
    """One point of every path."""

    z: Latents
    spectrum: SingularValues
    """singular values of the decoder there, output units per latent unit"""


class Paths(NamedTuple):
    """The three points of straight paths on which their dips depend."""

    start: Point
    end: Point
    middle: Point
    """halfway in arclength"""


class Parts(NamedTuple):
    """Dips at one rank, in nats, and what they are made of."""

    total: PerSample
    prior: PerSample
    r""":math:`\log p(z_0) + \log p(z_1) - 2 \log p(z_{1/2})`"""
    generator: PerSample
    """the rest: the second difference of the volumes"""


class Thresholds(NamedTuple):
    """Dips where the rank is what a threshold leaves."""

    mean: Float[np.ndarray, " thresholds"]
    """mean dip, nats, in units that may change along a path"""
    changing: Float[np.ndarray, " thresholds"]
    """share of paths whose rank is not the same at all three points"""


class Walk(NamedTuple):
    """One path, to look at."""

    curve: Curve
    """log density over arclength"""
    images: Outputs
    """the outputs at equal latent steps"""


def measure(decoder: Decoder, z0: Latents, z1: Latents, *, n: int) -> Paths:
    """The spectra at start, end and midpoint of straight paths.

    Args:
        decoder: any map from ``[batch, latent]`` to ``[batch, *output]``.
        z0: where the paths start.
        z1: where they end.
        n: samples of a path, on which the midpoint is found.

    Raises:
        ValueError: as :func:`lib.measures.paths.midpoint`.
    """
    three = (z0, z1, midpoint(decoder, z0, z1, n=n))
    return Paths(*(Point(z, singular_values(decoder, z)) for z in three))


def of_cases(fits: Mapping[str, ConvVAEFit], cases: Mapping[str, Case], *, n: int) -> dict[str, Paths]:
    """:func:`measure` for pairs of images in the models of the pair, by case."""
    return {label: measure(fits[case.model].model.generate, case.start, case.end, n=n) for label, case in cases.items()}


def with_samples(decoder: Decoder, paths: Paths, *, n: int) -> Paths:
    """The same paths with their midpoints found on another number of samples."""
    z = midpoint(decoder, paths.start.z, paths.end.z, n=n)
    return paths._replace(middle=Point(z, singular_values(decoder, z)))


def second_difference(paths: Paths, log_p: Callable[[Latents, SingularValues], Tensor]) -> Tensor:
    """The dips of any density that is a function of latents and spectra, in double precision."""
    start, end, middle = (log_p(*point).double().cpu() for point in paths)
    return start + end - 2 * middle


def by_rank(paths: Paths) -> Along:
    """Dips at every rank: column ``r - 1`` is rank ``r``."""
    return second_difference(paths, log_density_by_rank)


def parts(paths: Paths, rank: int) -> Parts:
    """Dips at one rank, and how much of them is due to the prior and to the generator.

    Raises:
        ValueError: ``rank`` is more than there are singular values, or less than one.
    """
    most = paths.start.spectrum.shape[1]
    if not 1 <= rank <= most:
        raise ValueError(f"rank must be in 1..{most} for these paths, got {rank}")
    total = by_rank(paths)[:, rank - 1]
    prior = second_difference(paths, lambda z, spectrum: log_prior(z))
    return Parts(total, prior, total - prior)


def by_threshold(paths: Paths, thresholds: Sequence[float] | np.ndarray, *, relative: bool) -> Thresholds:
    """Mean dips with every singular value below a threshold taken as zero, for every threshold.

    Args:
        paths: the paths.
        thresholds: output units per latent unit, or shares of the largest singular value of a point if ``relative``.
        relative: which of the two.
    """
    mean, changing = [], []
    for threshold in map(float, thresholds):
        dips = second_difference(
            paths,
            lambda z, spectrum, threshold=threshold: log_density_by_threshold(
                z, spectrum, threshold, relative=relative
            ),
        )
        ranks = torch.stack([rank_by_threshold(point.spectrum, threshold, relative=relative) for point in paths])
        mean.append(dips.mean().item())
        changing.append((ranks != ranks[0]).any(0).double().mean().item())
    return Thresholds(np.array(mean), np.array(changing))


def neighbours_in_latents(z: Latents, among: Float[Tensor, "candidates latent"]) -> Latents:
    """The nearest other code of each code.

    Raises:
        DataError: all of the nearest codes of some ``z`` equal it.
    """
    return among[nearest_neighbours(z.cpu(), among.cpu()).to(among.device)]


def log_size_ratio(first: np.ndarray, second: np.ndarray) -> np.floating:
    """Log of the size of one mean over that of another: a statistic of :func:`lib.measures.intervals.over_models`."""
    return np.log(np.abs(np.mean(first) / np.mean(second)))


@torch.no_grad()
def crossfade(decoder: Decoder, paths: Paths) -> PerSample:
    r"""How far the output at the midpoint is from the mean of the outputs at the ends, over the distance of the ends.

    .. math:: \frac{\| f(z_{1/2}) - \frac12 (f(z_0) + f(z_1)) \|}{\| f(z_1) - f(z_0) \|}

    Zero where one output fades while the other appears, as two photographs on top of each other; large where the path
    leads over outputs of another kind.
    """
    start, end, middle = (decoder(point.z).flatten(1) for point in paths)
    return (middle - (start + end) / 2).norm(dim=1) / (end - start).norm(dim=1)


@torch.no_grad()
def walk(decoder: Decoder, z0: Latents, z1: Latents, *, n: int, rank: int, shown: int = 11) -> Walk:
    """Density along one straight path, relative to the mean of its two ends, and outputs at equal latent steps.

    Args:
        decoder: any map from ``[batch, latent]`` to ``[batch, *output]``.
        z0: where the path starts, ``[1, latent]``.
        z1: where it ends.
        n: samples of the path.
        rank: singular values in the density.
        shown: how many outputs.
    """
    s, log_p = (values.cpu() for values in line_density(decoder, z0, z1, n=n, rank=rank))
    relative = log_p - (log_p[:, :1] + log_p[:, -1:]) / 2
    return Walk(Curve(s, relative), decoder(straight(z0, z1, shown)[0]).cpu())
