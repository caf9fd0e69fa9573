"""The numbers that a figure shows, read from what it draws."""

import csv
import io
from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure

COLUMNS = ("panel", "kind", "name", "x", "y", "low", "high")
LARGEST = 2_000
"""cells of a grid; what has more is a picture"""
MANY = 2_000
"""points of a line or a cloud; of more, so many are written, the first and the last among them"""


def numbers(figure: Figure) -> str:
    """What a figure draws as CSV: points, lines, bars, estimates with their intervals, and grids; no pictures.

    Panels are counted from 1. Of a line or a cloud of more than :data:`MANY` points, so many are there, evenly spaced
    in the order in which they are drawn: a curve of 60,000 images has 60,000 steps. A line across a whole panel has no
    x, one from its bottom to its top no y. ``low`` and ``high`` are the ends of an interval or of a bar, on y, or on x
    where the kind says so.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> figure, axis = plt.subplots()
        >>> lines = axis.plot([0, 1], [2, 3.5], label="a"), axis.axhline(1)
        >>> print(numbers(figure), end="")
        panel,kind,name,x,y,low,high
        1,line,a,0,2,,
        1,line,a,1,3.5,,
        1,line,,,1,,
        >>> plt.close(figure)
    """
    panels = [axis for axis in figure.axes if axis.axison and axis.get_label() != "<colorbar>"]
    rows = [(panel, *row, "", "") for panel, axis in enumerate(panels, 1) for row in (*_groups(axis), *_single(axis))]
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([COLUMNS, *(map(_cell, row[: len(COLUMNS)]) for row in rows)])
    return written.getvalue()


def _groups(axis: Axes) -> Iterator[tuple]:
    """Bars, and estimates with their intervals."""
    for group in axis.containers:
        if isinstance(group, BarContainer):
            for bar in group.patches:
                low, high = np.array(bar.get_bbox())
                middle, up = (low + high) / 2, group.orientation == "vertical"
                at = (middle[0], high[1]) if up else (high[0], middle[1])
                yield ("bar" if up else "bar on x"), group.get_label(), *at, low[int(up)], high[int(up)]
        elif isinstance(group, ErrorbarContainer):
            for point, ends in zip(group.lines[0].get_xydata(), group.lines[2][0].get_segments(), strict=True):
                side = int(ends[0][0] == ends[1][0])
                yield f"estimate{'' if side else ' on x'}", group.get_label(), *point, ends[0][side], ends[1][side]


def _single(axis: Axes) -> Iterator[tuple]:
    """What stands for itself: lines, points, the edges of bands, and cells of grids."""
    groups = [group for group in axis.containers if isinstance(group, ErrorbarContainer)]
    known = {part for group in groups for part in (group.lines[0], *group.lines[1], *group.lines[2])}
    for line in [line for line in axis.lines if line not in known]:
        own = line.get_transform().contains_branch_separately(axis.transData)
        for point in _some(line.get_xydata()) if all(own) else line.get_xydata()[:1]:
            yield "line", line.get_label(), *np.where(own, point, np.nan)
    for each in [each for each in axis.collections if each not in known]:
        if isinstance(each, PathCollection):
            yield from (("point", each.get_label(), *point) for point in _some(each.get_offsets()))
        elif isinstance(each, LineCollection | PolyCollection):
            kind = "band" if isinstance(each, PolyCollection) else "line"
            yield from ((kind, each.get_label(), *point) for path in each.get_paths() for point in _some(path.vertices))
    for image in axis.images:
        if (values := np.asarray(image.get_array())).ndim == 2 and values.size <= LARGEST:
            yield from (("grid", f"row {row}", column, value) for (row, column), value in np.ndenumerate(values))


def _some(points: np.ndarray) -> np.ndarray:
    """Points, or of many some."""
    return points if len(points) <= MANY else points[np.linspace(0, len(points) - 1, MANY).round().astype(int)]


def _cell(value: object) -> str:
    if isinstance(value, str):
        return "" if value.startswith("_") else value  # matplotlib's name for what has none
    return "" if np.ma.is_masked(value) or np.isnan(value) else f"{value:.6g}"
