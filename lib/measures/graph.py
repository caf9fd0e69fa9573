"""Distances over a graph of neighbours, and how well a clustering by them finds the classes."""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree, shortest_path
from scipy.spatial import KDTree
from scipy.spatial.distance import pdist, squareform
from torch import Tensor

from lib.measures.axes import Decoder, Latents
from lib.measures.curves import curve_length, straight

Distances = Float[Tensor, "points points"]


def graph_distances(decoder: Decoder, z: Latents, neighbours: int = 10, *, n: int = 9) -> Distances:
    """Shortest ways between all pairs of latents along the edges of a graph, in output units.

    An edge joins a latent to each of its nearest, by Euclidean distance, and has the length that the decoder gives to
    the straight line between them; a minimum spanning tree is added, so that there is a way between any two. Up to the
    error of chords, the result is never below the geodesic distance. With the identity as the decoder, it is the
    Euclidean control.

    Args:
        decoder: any map from ``[batch, latent]`` to ``[batch, *output]``.
        z: latents, the nodes of the graph.
        neighbours: number of edges from each node to its nearest.
        n: number of points on every edge.

    Raises:
        ValueError: there are not more nodes than neighbours, or some latents are equal.

    Example:
        >>> graph_distances(lambda z: 2 * z, torch.tensor([[0.0], [1.0], [3.0]]), neighbours=1)
        tensor([[0., 2., 6.],
                [2., 0., 4.],
                [6., 4., 0.]])
    """
    if not 1 <= neighbours < len(z):
        raise ValueError(f"neighbours must be in 1..{len(z) - 1} for {len(z)} points, got {neighbours}")
    points = z.double().cpu().numpy()
    distinct = len(np.unique(points, axis=0))
    if distinct < len(z):  # a spanning tree does not join them
        raise ValueError(f"{len(z)} latents, of which {distinct} are distinct; give each once")
    near = KDTree(points).query(points, k=neighbours + 1)[1]
    tree = minimum_spanning_tree(squareform(pdist(points))).tocoo()
    pairs = np.concatenate([np.stack([near[:, :1].repeat(neighbours, 1), near[:, 1:]], 2).reshape(-1, 2),
                            np.stack([tree.row, tree.col], 1)])  # fmt: skip
    pairs = np.unique(np.sort(pairs, 1), axis=0)
    lengths = segment_lengths(decoder, z[pairs[:, 0]], z[pairs[:, 1]], n=n).double().cpu().numpy()
    graph = coo_array((lengths, (pairs[:, 0], pairs[:, 1])), shape=(len(z), len(z))).tocsr()
    return torch.from_numpy(shortest_path(graph, directed=False)).to(z)


def straight_distances(decoder: Decoder, z: Latents, *, n: int = 9) -> Distances:
    """Lengths of the straight lines between all pairs of latents, in output units, by chords between ``n`` points.

    Example:
        >>> straight_distances(lambda z: 2 * z, torch.tensor([[0.0], [1.0], [3.0]]))
        tensor([[0., 2., 6.],
                [2., 0., 4.],
                [6., 4., 0.]])
    """
    first, second = torch.triu_indices(len(z), len(z), 1)
    upper = z.new_zeros(len(z), len(z))
    upper[first, second] = segment_lengths(decoder, z[first], z[second], n=n)
    return upper + upper.T


def segment_lengths(decoder: Decoder, z0: Latents, z1: Latents, *, n: int) -> Float[Tensor, " batch"]:
    """Lengths of the straight lines between pairs of latents, in output units, by chords between ``n`` points.

    Example:
        >>> segment_lengths(lambda z: 2 * z, torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]), n=3)
        tensor([10.])
    """
    return curve_length(decoder, straight(z0, z1, n))


def pairwise_f(classes: Int[Tensor, " points"], clusters: Int[Tensor, " points"]) -> float:
    r"""F-measure of a clustering over pairs of points: the harmonic mean of precision and recall.

    .. math:: F = \frac{2 TP}{2 TP + FP + FN}

    where a pair is a true positive if its points are in one cluster and of one class, a false positive if they are in
    one cluster alone, a false negative if they are of one class alone.

    Example:
        One pair of a cluster, which is of one class; two pairs of a class.

        >>> round(pairwise_f(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 2])), 3)
        0.667
    """
    same_class, same_cluster = classes[:, None] == classes, clusters[:, None] == clusters
    both = (same_class & same_cluster).sum() - len(classes)
    return float(2 * both / (same_class.sum() + same_cluster.sum() - 2 * len(classes)))
