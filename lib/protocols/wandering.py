"""Do random walks stay near the data? Four walks with equal steps, and where they are walked.

The experiment of Arvanitidis et al. 2018, section 5, and the open question of a course project about it.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lib.measures import geodesic
from lib.measures.axes import Decoder, Latents
from lib.measures.intervals import Estimate, share
from lib.measures.walks import walk

Starts = Float[Tensor, "walkers latent"]
KINDS = ("Euclidean", "metric of the mean", "metric with RBF variance", "Metropolis")
TYPICAL = 300
"""codes at which the typical step is measured"""
EVERY = 10
"""steps from one record to the next"""


class Wander(NamedTuple):
    """Where the walkers of one kind were, at the start and after every ten steps."""

    z: Float[Tensor, "times walkers latent"]
    """NaN for a walker that is lost, see :func:`lib.measures.walks.walk`"""
    distance: Float[Tensor, "times walkers"]
    """from the nearest code, latent units; infinite for a walker that is lost"""
    accepted: Float[Tensor, " walkers"]
    """share of steps that were taken"""


def equal_step(decoder: Decoder, z: Latents, step: float) -> float:
    r"""The scale ``s`` of a walk whose step at a typical code has the standard deviation ``step`` in each latent.

    .. math:: s^2 \operatorname{median}_z \operatorname{tr} M(z)^{-1} = d \cdot \text{step}^2

    so that walks by different metrics move equally far where they start.

    Args:
        decoder: any map from ``[batch, latent]`` to ``[batch, *output]``.
        z: codes.
        step: standard deviation, latent units.
    """
    squared = geodesic.metric(decoder, z).inverse().diagonal(dim1=1, dim2=2).sum(1).median()
    return step * math.sqrt(z.shape[1] / float(squared))


def wander(
    decoder: Decoder,
    codes: Latents,
    starts: Starts,
    *,
    steps: int,
    step: float,
    rng: torch.Generator,
    metropolis: bool = False,
) -> Wander:
    """Random walks by the metric of a decoder, with their distance from the codes.

    Args:
        decoder: any map from ``[batch, latent]`` to ``[batch, *output]``.
        codes: of the data; the first 300 of them are the typical ones.
        starts: of the walkers.
        steps: of each walk, a multiple of ten.
        step: standard deviation of a step in each latent at a typical code, latent units.
        rng: the source of random numbers for the steps.
        metropolis: whether steps are refused so that the walk has the target one over the measure.
    """
    scale = equal_step(decoder, codes[:TYPICAL], step)
    path = walk(decoder, starts, steps, scale, metropolis=metropolis, every=EVERY, rng=rng)
    places = path.z.flatten(0, 1)
    lost = places.isnan().any(1)
    nearest = torch.cdist(places.nan_to_num(0), codes).amin(1).where(~lost, torch.inf)
    return Wander(path.z, nearest.view(path.z.shape[:2]), path.accepted)


def four_walks(
    mean: Decoder,
    whole: Decoder,
    codes: Latents,
    starts: Starts,
    *,
    steps: int,
    step: float,
    rng: Callable[[], torch.Generator],
) -> dict[str, Wander]:
    """The four walks of one model by kind, from the same starts, and with one seed.

    The last draws chances as well, so that its steps are no longer those of the third from the second on.

    Steps are Euclidean, by the metric of the mean, by that of mean and deviation, and by the latter with some refused.

    Args:
        mean: the decoder's mean.
        whole: its mean and deviation, see :func:`lib.measures.geodesic.stacked`.
        codes: of the data.
        starts: of the walkers.
        steps: of each walk, a multiple of ten.
        step: standard deviation of a step in each latent at a typical code, latent units.
        rng: makes the source of random numbers anew for each walk.
    """
    return {
        kind: wander(decoder, codes, starts, steps=steps, step=step, rng=rng(), metropolis=kind == "Metropolis")
        for kind, decoder in zip(KINDS, (nn.Identity(), mean, whole, whole), strict=True)
    }


def joined(parts: list[Wander]) -> Wander:
    """The walkers of several models as those of one."""
    z, distance, accepted = zip(*parts, strict=True)
    return Wander(torch.cat(z, 1), torch.cat(distance, 1), torch.cat(accepted))


def far_after(walked: Wander, steps: int, limit: float) -> Estimate:
    """The share of walkers farther from the codes than a limit after a number of steps, with its exact interval."""
    distance = walked.distance[steps // EVERY]
    return share(int((distance > limit).sum()), len(distance))


def time_far(walked: Wander, limit: float) -> Float[Tensor, " walkers"]:
    """The share of the second half of its time that each walker spends farther from the codes than a limit."""
    return (walked.distance[_half(walked) :] > limit).double().mean(0).cpu()


def measure_there(decoder: Decoder, walked: Wander) -> Float[Tensor, " places"]:
    """Log10 of the measure of a decoder where walkers are in the second half of their time (every fiftieth step)."""
    places = walked.z[_half(walked) :: 5].flatten(0, 1)
    return geodesic.log_measure(decoder, places[places.isfinite().all(1)]) / math.log(10)


def measure_on_circle(decoder: Decoder, radius: float, like: Tensor) -> Float[Tensor, " places"]:
    """Log10 of the measure of a decoder with two latents at 60 places on a circle about the origin.

    Args:
        decoder: any map from ``[batch, 2]`` to ``[batch, *output]``.
        radius: of the circle, latent units.
        like: a tensor of the type and on the device that the decoder takes.
    """
    angle = torch.linspace(0, 2 * math.pi, 60, dtype=like.dtype, device=like.device)[:, None]
    return geodesic.log_measure(decoder, radius * torch.cat([angle.cos(), angle.sin()], 1)) / math.log(10)


def _half(walked: Wander) -> int:
    return (len(walked.z) - 1) // 2
