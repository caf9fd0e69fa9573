"""A flow's way from noise to image: where it is at each time, and how near the image that it heads for is to memory."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lib.measures.axes import Latents
from lib.measures.flows import Velocity, times, trajectory
from lib.measures.nearest import nearest
from lib.models.data import Dataset
from lib.models.flows import FlowFit
from lib.protocols.flow_sizes import How, Points, noise_for, training


class Way(NamedTuple):
    """What becomes of noise on the way."""

    times: Float[Tensor, " times"]
    """those of a sampler, from 0 to 1"""
    points: Float[Tensor, "batch times pixels"]
    distance: Float[Tensor, "batch times"]
    """of the image that the flow heads for to the nearest training image, output units"""


@torch.no_grad()
def way(velocity: Velocity, z: Latents, train: Points, steps: int) -> Way:
    r"""The way of noise through a flow.

    The image that a flow heads for at a point ``y`` is the mean of all images whose lines from noise pass there,

    .. math:: E[x \mid x_t = y] = y + (1 - t) u_t(y),

    which at :math:`t = 1` is the point itself.

    Args:
        velocity: of the flow.
        z: noise.
        train: the training images of the flow.
        steps: of the sampler.

    Example:
        Of one training image, the flow heads for it from the beginning.

        >>> from lib.measures.flows import optimal_velocity
        >>> one = torch.tensor([[3.0, 4.0]])
        >>> way(optimal_velocity(one), torch.zeros(1, 2), one, 2).distance
        tensor([[0., 0., 0.]])
    """
    points = trajectory(velocity, z, steps)
    ahead = [y + (1 - t) * velocity(y, t) for y, t in zip(points[:-1], times(steps), strict=False)]
    distance = nearest(torch.cat([*ahead, points[-1]]), train, 1)[0].view(points.shape[:2])
    return Way(torch.tensor(times(steps)), points.transpose(0, 1), distance.T)


def of_fits(fits: Sequence[FlowFit], images: Dataset, count: int, how: How) -> Way:
    """The ways of the first noises, which are the same for all fits, through one fit after the other."""
    ways = []
    for fitted in fits:
        train = training(fitted, images).to(next(fitted.model.parameters()).device)
        ways.append(way(fitted.model, noise_for(count, train, how), train, how.steps))
    return Way(ways[0].times, *(torch.cat(part).cpu() for part in list(zip(*ways, strict=True))[1:]))
