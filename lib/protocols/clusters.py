"""Is the distance measured by a decoder a better one? Order of triples, and clusters against classes.

The experiment of Arvanitidis et al. 2018, section 5: codes of three classes, clustered by Euclidean and by geodesic
distance. Every ingredient of the latter has a distance of its own here, so that it can be left out.
"""

from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import NamedTuple

import kmedoids
import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from sklearn.cluster import KMeans
from torch import Tensor, nn

from lib.measures.axes import Decoder, Latents
from lib.measures.graph import Distances as Matrix
from lib.measures.graph import graph_distances, pairwise_f, straight_distances
from lib.measures.intervals import Estimate, mean_of_few
from lib.protocols import embeddings

Classes = Int[Tensor, " points"]
Measure = Callable[[Tensor, Tensor], float]
STARTS = 3
"""random medoids that a clustering is started from; the result with the smallest loss is kept"""


class Distances(NamedTuple):
    """Distances between the codes of one model, each a matrix over the codes."""

    euclidean: Matrix
    """latent units"""
    euclidean_graph: Matrix
    """shortest ways along a graph of neighbours, latent units"""
    mean_graph: Matrix
    """the same ways, measured by the decoder's mean, output units"""
    graph: Matrix
    """the same ways, measured by mean and deviation, output units"""
    straight: Matrix
    """straight lines, measured by mean and deviation, output units"""
    shorter: Matrix
    """the smaller of ``graph`` and ``straight``; both bound the geodesic distance from above"""


class Swap(NamedTuple):
    """Three points of which two distances disagree about the nearer pair."""

    at: int
    same: int
    """a point of the class of ``at``: farther by the first distance, nearer by the second"""
    other: int
    """a point of another class"""
    ratio: float
    """by this factor at least, both distances tell the two apart; below one, no triple is swapped"""


def distances(mean: Decoder, whole: Decoder, z: Latents, *, neighbours: int = 10) -> Distances:
    """All distances between the codes of one model.

    Args:
        mean: the decoder's mean.
        whole: its mean and deviation, see :func:`lib.measures.geodesic.stacked`.
        z: codes, all different.
        neighbours: edges from each node of the graphs.

    Raises:
        ValueError: equal codes, or not more of them than neighbours.
    """
    graph, lines = graph_distances(whole, z, neighbours), straight_distances(whole, z, n=11)
    return Distances(
        torch.cdist(z, z),
        graph_distances(nn.Identity(), z, neighbours),
        graph_distances(mean, z, neighbours),
        graph,
        lines,
        torch.minimum(graph, lines),
    )


def all_distances(
    embedded: Mapping[str, embeddings.Embedding], variance: str, *, neighbours: int, executor: Executor
) -> dict[tuple[str, int], Distances]:
    """:func:`distances` between the codes of every model, by group and model.

    Args:
        embedded: the models of each group, and the codes.
        variance: which of their models.
        neighbours: edges from each node of the graphs.
        executor: where models are measured side by side.
    """

    def of_one(name: str, k: int) -> Distances:
        model, z = embedded[name].fits[variance].models[k], embedded[name].codes[variance][k]
        return distances(model.generate, embeddings.expected(model), z, neighbours=neighbours)

    keys = [(name, k) for name, part in embedded.items() for k in range(len(part.codes[variance]))]
    return dict(zip(keys, executor.map(of_one, *zip(*keys, strict=True)), strict=True))


def triples(distance: Matrix, classes: Classes) -> float:
    """The share of triples (a point, another of its class, one of another class) with the one of its class nearer.

    Every point has the same weight. One means that classes are told apart by distance alone, a half that the distance
    knows nothing of them.

    Raises:
        ValueError: a class of one point, or one class only.
    """
    same = classes[:, None] == classes
    if same.all() or (same.sum(1) < 2).any():
        raise ValueError(f"triples need 2 classes of 2 points each, got {classes.bincount().tolist()} points")
    nearer = []
    for row, alike in zip(distance, same, strict=True):
        companions = row[alike].sort().values[1:]  # without the point itself
        nearer.append((companions[:, None] < row[~alike]).double().mean())
    return float(torch.stack(nearer).mean())


def most_swapped(first: Matrix, second: Matrix, classes: Classes) -> Swap:
    """The triple about which two distances disagree most: the first is misled by it, the second is not.

    By the first distance the point of the same class is the farther, by the second it is the nearer. Of all triples,
    it is the one in which the smaller of the two ratios is largest.
    """
    same = classes[:, None] == classes
    best = Swap(0, 0, 0, 0.0)
    for at in range(len(classes)):
        alike, other = same[at].nonzero()[:, 0], (~same[at]).nonzero()[:, 0]
        alike = alike[alike != at]
        misled = first[at, alike][:, None] / first[at, other]
        right = second[at, other] / second[at, alike][:, None]
        ratio = torch.minimum(misled.log(), right.log())
        row, column = divmod(int(ratio.argmax()), len(other))
        factor = float(ratio[row, column].exp())
        if factor > best.ratio:
            best = Swap(at, int(alike[row]), int(other[column]), factor)
    return best


def medoid_clusters(distance: Matrix, count: int) -> Classes:
    """A number of clusters about medoids: points that have the least sum of distances to those of their cluster."""
    matrix = distance.double().cpu().numpy()
    clusterings = [kmedoids.fasterpam(matrix, count, random_state=start, n_cpu=1) for start in range(STARTS)]
    best = min(clusterings, key=lambda clustering: clustering.loss)
    return torch.from_numpy(best.labels.astype(np.int64))


def f_measure(distance: Matrix, classes: Classes, use: Int[Tensor, " used"] | None = None) -> float:
    """F-measure over pairs of as many clusters about medoids as there are classes.

    Args:
        distance: between all points.
        classes: of all points.
        use: points to cluster; by default all.
    """
    use = torch.arange(len(classes)) if use is None else use
    clusters = medoid_clusters(distance[use][:, use], len(classes.unique()))
    return pairwise_f(classes[use], clusters)


def means_f_measure(z: Latents, classes: Classes, *, seed: int) -> float:
    """F-measure over pairs of the clusters that k-means makes of codes, as many as there are classes."""
    clustering = KMeans(len(classes.unique()), n_init=5, random_state=seed).fit(z.double().cpu().numpy())
    return pairwise_f(classes, torch.from_numpy(clustering.labels_.astype(np.int64)))


def table(
    measure: Measure, distances: Mapping[tuple[Hashable, int], Distances], classes: Mapping[Hashable, Classes]
) -> pd.DataFrame:
    """A measure of every distance of every model: a row for each (group, model), a column for each distance.

    Args:
        measure: of a matrix of distances and the classes of its points, as :func:`triples`.
        distances: of each (group, model).
        classes: of the points of each group.
    """
    rows = {
        (group, model): {kind: measure(matrix, classes[group]) for kind, matrix in several._asdict().items()}
        for (group, model), several in distances.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["group", "model"])


def halves(
    distances: Mapping[tuple[Hashable, int], Distances],
    classes: Mapping[Hashable, Classes],
    size: int,
    subsets: int,
    *,
    seed: int,
) -> pd.DataFrame:
    """The :func:`table` of F-measures of random subsets of the points, one below the other; the same for all models.

    Args:
        distances: of each (group, model).
        classes: of the points of each group.
        size: points in a subset.
        subsets: how many.
        seed: of the subsets.
    """
    available = min(map(len, classes.values()))
    chosen = [
        embeddings.chosen(seed, size, available, embeddings.Stream.HALVES, subset) for subset in range(1, subsets + 1)
    ]
    return pd.concat(table(partial(f_measure, use=use), distances, classes) for use in chosen)


def over_groups(values: pd.Series) -> Estimate:
    """The mean over groups and models, with its 95 % t interval over models, each averaged over the groups."""
    return mean_of_few(torch.tensor(values.groupby("model").mean().to_list(), dtype=torch.float64))


def over_models(values: pd.Series) -> dict[Hashable, Estimate]:
    """The mean over the models of each group, with its 95 % t interval, from a column of :func:`table`."""
    groups = values.groupby("group", sort=False)
    return {group: mean_of_few(torch.tensor(part.to_list(), dtype=torch.float64)) for group, part in groups}


def decided(difference: Estimate) -> str:
    """``better`` or ``worse`` if the whole interval of a difference is on one side of zero, else ``not decided``."""
    if difference.low > 0:
        return "better"
    return "worse" if difference.high < 0 else "not decided"
