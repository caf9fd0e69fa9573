"""How far do other solvers bear out shortest paths? The same pairs by several ways, with their lengths and seconds.

Beside the minimum of the energy: the differential equation of Arvanitidis et al. 2018 as a boundary-value problem, ways
over a graph of neighbours, and straight lines.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lib.measures import geodesic
from lib.measures.axes import Curves, Decoder, Latents, PerSample
from lib.measures.curves import chords, curve_length, straight
from lib.measures.geodesic import Path
from lib.measures.graph import graph_distances
from lib.measures.intervals import Estimate, estimate

MESH = 17
"""points of a path in the differential equation, every second of those of the energy's"""
TOLERANCE = 1e-2
"""relative residual of the differential equation"""


class Solvers(NamedTuple):
    """Paths between the same pairs of codes by several solvers."""

    energy: Path
    """by the least energy: the others are compared with it"""
    straight: PerSample
    """lengths of the straight lines, output units"""
    graph: PerSample
    """lengths of the shortest ways over the graph of neighbours"""
    equation: Path
    """of the first pairs: the differential equation, solved from the straight line"""
    helped: Path
    """the same, from the path of the least energy"""
    alike: PerSample
    """lengths of the first paths of least energy with as many chords as the equation's"""
    seconds: dict[str, float]
    """for a pair, by solver"""


class Detour(NamedTuple):
    """Two curves between the same ends, and what changes along them."""

    curves: dict[str, Curves]
    """the shortest paths and the straight lines of some pairs"""
    steps: dict[str, Float[Tensor, "batch pieces"]]
    """change of the output from each sample to the next, output units"""


def draw_pairs(order: Int64[Tensor, " drawn"], pairs: int) -> Int64[Tensor, "2 pairs"]:
    """Pairs of different points, from points in a random order; points come again if there are too few.

    Args:
        order: indices of points, none twice.
        pairs: how many; fewer, if a point would have been paired with itself.
    """
    both = order.repeat(-(-2 * pairs // len(order)))[: 2 * pairs].view(2, -1)
    return both[:, both[0] != both[1]]


def solve(
    decoder: Decoder,
    precise: Decoder,
    z: Latents,
    pairs: Int64[Tensor, "2 pairs"],
    *,
    slow: int,
    neighbours: int,
) -> Solvers:
    """Paths between pairs of codes by all solvers.

    Args:
        decoder: any map from ``[batch, latent]`` to ``[batch, *output]``.
        precise: the same in double precision, for the differential equation.
        z: codes, the nodes of the graph.
        pairs: indices of the ends.
        slow: the number of pairs, from the first on, for the differential equation.
        neighbours: edges from each node of the graph.
    """
    first, second = pairs
    paths, fast = _timed(lambda: geodesic.shortest_path(decoder, z[first], z[second]))
    guess = paths.z[:slow, ::2].double()
    ends = z[first[:slow]].double(), z[second[:slow]].double()

    def equation(start: Tensor | None) -> Path:
        return geodesic.boundary_value(precise, *ends, n=MESH, tolerance=TOLERANCE, guess=start)

    unhelped, unhelped_seconds = _timed(lambda: equation(None))
    helped, helped_seconds = _timed(lambda: equation(guess))
    seconds = {"energy": fast / len(first), "equation": unhelped_seconds / slow, "helped": helped_seconds / slow}
    lines = curve_length(decoder, straight(z[first], z[second], paths.z.shape[1]))
    graph = graph_distances(decoder, z, neighbours)[first, second]
    return Solvers(paths, lines, graph, unhelped, helped, curve_length(precise, guess), seconds)


def table(found: Solvers) -> pd.DataFrame:
    """A row for each solver: pairs, how many converged, and length and time over those of the least energy.

    The ratio of lengths is the median over the pairs for which both converged, with the least and the largest; it is
    None if there is no such pair, as is a time that was not taken.
    """
    every = torch.ones_like(found.energy.converged)
    rows = {
        "energy": (found.energy.length, found.energy.converged, found.energy.length),
        "differential equation, from the straight line": (
            found.equation.length,
            found.equation.converged,
            found.alike,
        ),
        "differential equation, from the path above": (found.helped.length, found.helped.converged, found.alike),
        "graph of neighbours": (found.graph, every, found.energy.length),
        "straight lines": (found.straight, every, found.energy.length),
    }
    seconds = dict(zip(rows, found.seconds.values(), strict=False))
    return pd.DataFrame(
        [
            {
                "solver": name,
                "pairs": len(length),
                "converged": int(converged.sum()),
                **_ratios(length, converged & found.energy.converged[: len(length)], beside),
                "time": seconds[name] / found.seconds["energy"] if name in seconds else None,
            }
            for name, (length, converged, beside) in rows.items()
        ],
        dtype=object,
    )


def shortening(found: Solvers, *, seed: int) -> Estimate:
    """Length of the shortest path over that of the straight line: the median over pairs, with its interval."""
    ratio = (found.energy.length / found.straight).where(found.energy.converged, torch.nan)
    return estimate(ratio, np.median, seed=seed)


def most_favourable(
    found: Solvers, decoder: Decoder, z: Latents, pairs: Int64[Tensor, "2 pairs"], count: int
) -> Detour:
    """The pairs whose shortest path saves most, of those whose path converged.

    Args:
        found: paths between the pairs.
        decoder: the one that they are shortest for.
        z: codes.
        pairs: indices of the ends.
        count: of pairs.
    """
    gap = (found.straight / found.energy.length).where(found.energy.converged, 0)
    best = gap.argsort(descending=True)[:count]
    first, second = pairs[:, best.to(pairs.device)]
    curves = {
        "shortest path": found.energy.z[best],
        "straight line": straight(z[first], z[second], found.energy.z.shape[1]),
    }
    return Detour(curves, {name: chords(decoder, curve) for name, curve in curves.items()})


def _ratios(length: Tensor, known: Tensor, beside: Tensor) -> dict[str, float | None]:
    ratios = (length / beside)[known].double()
    if not len(ratios):
        return dict.fromkeys(("median", "least", "largest"))
    return {"median": float(ratios.median()), "least": float(ratios.min()), "largest": float(ratios.max())}


def _timed(function: Callable[[], Path]) -> tuple[Path, float]:
    begin = time.perf_counter()
    found = function()
    return found, time.perf_counter() - begin
