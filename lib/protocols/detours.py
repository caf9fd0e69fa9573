"""How shortest paths and straight lines differ: their lengths, and how far from all codes each of them goes."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lib.measures.axes import Curves, Decoder, Latents, PerSample
from lib.measures.curves import curve_length, straight
from lib.measures.geodesic import log_measure, shortest_path


class Detours(NamedTuple):
    """Shortest paths beside the straight lines between the same codes; NaN where a path did not converge."""

    ratio: PerSample
    """length of the shortest path over that of the straight line"""
    farther: PerSample
    """the farthest that the shortest path gets from all codes, less that of the straight line; latent units"""
    z: Curves
    """the shortest paths"""


def detours(decoder: Decoder, z: Latents, pairs: Int64[Tensor, "2 pairs"]) -> Detours:
    """Shortest paths between pairs of codes, beside straight lines.

    Args:
        decoder: the one whose metric measures, any map from ``[batch, latent]`` to ``[batch, *output]``.
        z: codes.
        pairs: indices of the ends.
    """
    first, second = z[pairs[0]], z[pairs[1]]
    path = shortest_path(decoder, first, second)
    lines = straight(first, second, path.z.shape[1])
    ratio = path.length / curve_length(decoder, lines)
    farther = farthest(path.z, z) - farthest(lines, z)
    found = (part.where(path.converged, torch.nan) for part in (ratio, farther))
    return Detours(*found, path.z)


def farthest(curves: Curves, z: Float[Tensor, "codes latent"]) -> PerSample:
    """The largest distance of a curve's samples from the nearest code, latent units."""
    return torch.cdist(curves.flatten(0, 1), z).amin(1).view(curves.shape[:2]).amax(1)


def rounding(decoder: Decoder, rounded: Decoder, curves: Curves) -> Float[Tensor, " numbers"]:
    """Relative differences of two decoders: of the curves' lengths, and of the measure at their starts.

    Args:
        decoder: the one that is right.
        rounded: the other.
        curves: where they are compared.
    """
    z = curves[:, 0]
    pairs = [(curve_length(each, curves), log_measure(each, z).exp()) for each in (decoder, rounded)]
    right, other = (torch.cat(pair) for pair in pairs)
    return (other / right - 1).abs()
