"""k-means in a curved space: clusters about Fréchet means, which are looked for among the nodes of a graph.

A Fréchet mean of points has the least sum of squared distances to them. By shortest paths, every step towards it costs
new paths to all points. With two latents a lattice can stand for the space instead: distances along a graph of codes
and lattice are computed once, and the mean is the best of all nodes.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib.measures.axes import Decoder, Latents
from lib.measures.geodesic import metric, shortest_path
from lib.measures.graph import graph_distances
from lib.protocols.embeddings import lattice

STARTS = 10
"""random sets of points that means are started from; the result with the smallest loss is kept"""
ROUNDS = 100
"""at most; assignments and means have settled long before"""


class Means(NamedTuple):
    """A clustering about means."""

    clusters: Int[Tensor, " points"]
    means: Int[Tensor, " count"]
    """which candidates"""
    loss: float
    """mean squared distance of a point to the mean of its cluster"""


class Nodes(NamedTuple):
    """Candidates for means, and how far they are from the points."""

    z: Float[Tensor, "candidates latent"]
    """the points first, then the lattice"""
    distances: Float[Tensor, "points candidates"]


def candidates(decoder: Decoder, z: Latents, *, side: int, neighbours: int) -> Nodes:
    """Points of two latents and a lattice about them, with the distances of :func:`graph_distances`.

    Args:
        decoder: any map from ``[batch, 2]`` to ``[batch, *output]``; its metric measures.
        z: the points, all different.
        side: points of the lattice along either axis.
        neighbours: edges from each node.
    """
    nodes = torch.cat([z, lattice(z, side, margin=0.1).nodes])
    return Nodes(nodes, graph_distances(decoder, nodes, neighbours)[: len(z)])


def mean_clusters(distances: Float[Tensor, "points candidates"], count: int, *, seed: int) -> Means:
    """Lloyd's algorithm with Fréchet means among the candidates: the best of :data:`STARTS` random starts.

    A cluster that loses all of its points keeps its mean.

    Args:
        distances: from every point to every candidate.
        count: number of clusters.
        seed: of the starts, which are points; so the first candidates must be the points themselves.

    Raises:
        ValueError: more clusters than points.
    """
    if not 1 <= count <= len(distances):
        raise ValueError(f"the number of clusters must be in 1..{len(distances)}, got {count}")
    squared, rng = distances.square(), np.random.default_rng(seed)
    starts = [torch.from_numpy(rng.permutation(len(distances))[:count]).to(distances.device) for _ in range(STARTS)]
    return min((_settled(squared, means) for means in starts), key=lambda found: found.loss)


def pull(decoder: Decoder, mean: Float[Tensor, " latent"], z: Latents, lengths: Float[Tensor, " batch"]) -> float:
    """Whether a point is the Fréchet mean of others by shortest paths, which know no graph.

    At a mean, the velocities of the shortest paths to all points add up to nothing. The number is the length of their
    mean, by the metric at the point, over the root mean square of the ``lengths``: zero at a mean, about one if all
    points lie in one direction and the graph's lengths are those of the paths.

    Args:
        decoder: any map from ``[batch, latent]`` to ``[batch, *output]``.
        mean: the point.
        z: the others.
        lengths: how far they are by the graph.
    """
    path = shortest_path(decoder, mean.expand_as(z).contiguous(), z)
    velocity = path.velocity.nanmean(0)
    return float((velocity @ metric(decoder, mean[None])[0] @ velocity).sqrt() / lengths.square().mean().sqrt())


def _settled(squared: Float[Tensor, "points candidates"], means: Int[Tensor, " count"]) -> Means:
    for _ in range(ROUNDS):
        clusters = squared[:, means].argmin(1)
        sums = torch.stack([squared[clusters == k].sum(0) for k in range(len(means))])
        occupied = clusters.bincount(minlength=len(means)) > 0
        better = sums.argmin(1).where(occupied, means)
        if torch.equal(better, means):
            break
        means = better
    nearest = squared[:, means].min(1)
    return Means(nearest.indices, means, float(nearest.values.mean()))
