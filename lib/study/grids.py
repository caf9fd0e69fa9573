"""Two plots for many rows: shares in a grid, and estimates as rows of marks."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float

from lib.measures.intervals import Estimate
from lib.study.figures import COLOURS, bars


def percentages(axis: plt.Axes, shares: Float[np.ndarray, "rows columns"], labels: Sequence[str]) -> None:
    """Shares in per cent, written in the cells of a grid that are darker the larger they are.

    Args:
        axis: where to draw.
        shares: from 0 to 1.
        labels: of the columns.
    """
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1.2, aspect="auto")
    for (row, column), value in np.ndenumerate(shares):
        look = {"color": "white" if value > 0.7 else "black", "ha": "center", "va": "center"}
        axis.text(column, row, f"{100 * value:.0f}".replace("-", "−"), fontsize=9, **look)
    axis.set_xticks(range(len(labels)), labels)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


def marks(axis: plt.Axes, rows: Sequence[str], values: Mapping[str, Sequence[Estimate]]) -> None:
    """A group of marks with their intervals for each row, the first row on top.

    Args:
        axis: where to draw.
        rows: their names.
        values: by the name of a mark, an estimate for each row; at most seven marks.
    """
    for index, (name, estimates) in enumerate(values.items()):
        at = np.arange(len(rows)) + 0.8 / len(values) * (index - (len(values) - 1) / 2)
        look = {"fmt": "osv^DPX"[index], "ms": 4, "capsize": 2, "color": COLOURS[index], "label": name}
        axis.errorbar([each.value for each in estimates], at, xerr=bars(estimates), **look)
    for line in np.arange(len(rows) - 1) + 0.5:
        axis.axhline(line, color="0.9", lw=0.8, zorder=0)
    axis.set_yticks(range(len(rows)), rows)
    axis.invert_yaxis()
