"""Is the density lower between two training images, whatever way leads from one to the other?

The dip of Feiszli 2017, section 5.3, along straight latent paths and along the shortest ones of Arvanitidis et al.
2018.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lib.measures.axes import Decoder, Latents, PerSample
from lib.measures.curves import curve_length, middle, straight
from lib.measures.density import log_prior
from lib.measures.geodesic import shortest_path
from lib.measures.intervals import Estimate, estimate
from lib.measures.paths import dip_along

SAMPLES = 17
"""points of each path"""


class Dips(NamedTuple):
    """Dips between the same pairs by two paths; NaN where there is no shortest path."""

    straight: PerSample
    """nats"""
    shortest: PerSample
    """nats"""
    prior: PerSample
    """nats of their difference that the prior makes: the two middles are not equally likely"""
    length: PerSample
    """of the shortest path over that of the straight one"""


class Medians(NamedTuple):
    """Medians over the pairs of a model, with their intervals; nats, but for the length."""

    straight: Estimate
    shortest: Estimate
    change: Estimate
    """by the shortest path, pair by pair"""
    prior: Estimate
    """what the prior makes of the change"""
    without_prior: Estimate
    """the dip along the shortest path, less that part"""
    length: Estimate
    """of the shortest path over that of the straight one"""


def nearest_of_class(
    images: Float[Tensor, "n *shape"], labels: Int64[Tensor, " n"], rows: Int64[Tensor, " pairs"]
) -> Int64[Tensor, " pairs"]:
    """The nearest other image of the same class, in pixels; of any class where there is no other of the same.

    Args:
        images: among which to look.
        labels: their classes.
        rows: the images whose neighbours are wanted.
    """
    found = []
    for row in rows:
        others = torch.arange(len(images)) != row
        companions = others & (labels == labels[row])
        among = (companions if companions.any() else others).nonzero()[:, 0]
        distance = (images[among] - images[row]).flatten(1).norm(dim=1)
        found.append(among[int(distance.argmin())])
    return torch.stack(found)


def dips(decoder: Decoder, z0: Latents, z1: Latents, *, rank: int) -> Dips:
    """The dip between pairs of latents along the straight and along the shortest path.

    Args:
        decoder: any map from ``[batch, latent]`` to ``[batch, *output]``.
        z0: starts.
        z1: ends, of the same shape.
        rank: singular values in the density.
    """
    bent = shortest_path(decoder, z0, z1, n=SAMPLES, degree=4, steps=150, tolerance=1e-4)
    line = straight(z0, z1, SAMPLES)
    prior = 2 * (log_prior(middle(decoder, line)) - log_prior(middle(decoder, bent.z)))
    shortest, ratio = dip_along(decoder, bent.z, rank=rank), bent.length / curve_length(decoder, line)
    known = [values.where(bent.converged, torch.nan) for values in (shortest, prior, ratio)]
    return Dips(*(values.double().cpu() for values in (dip_along(decoder, line, rank=rank), *known)))


def medians(found: Dips, *, seed: int) -> Medians:
    """The medians over pairs; a pair without a shortest path is missing from all but the first.

    Args:
        found: dips of several pairs.
        seed: seed of the bootstrap.
    """
    change = found.shortest - found.straight
    columns = (found.straight, found.shortest, change, found.prior, found.shortest - found.prior, found.length)
    return Medians(*(estimate(values, np.median, seed=seed) for values in columns))
