"""The look of the book, and the plots that two or more notebooks share. They take arrays, not models."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from IPython.display import display

from lib.measures.intervals import Estimate

MEMORISED = {"color": "#b2182b", "linestyle": "-", "label": "memorised"}
"""The model of few images: red and solid, as in the paper ("solid is overfit"), through the whole book."""
WELL_TRAINED = {"color": "#2166ac", "linestyle": "--", "label": "well trained"}
"""The model of all images: blue and dashed."""

WIDTH = 7.0
"""inches across a page, of every figure: so that a point is as large in all of them"""

COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#000000",
)  # Okabe & Ito: safe for the colour-blind


def style() -> None:
    """Set the style of all figures in a notebook: nothing below 9 points, and a background that follows the page's."""
    plt.rcParams.update(
        {
            "axes.facecolor": "none",
            "axes.labelsize": 10,
            "axes.prop_cycle": cycler(color=COLOURS),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": 10,
            "figure.constrained_layout.use": True,
            "figure.dpi": 200,
            "figure.facecolor": "none",
            "figure.figsize": (WIDTH, 3.4),
            "font.size": 10,
            "image.cmap": "gray",
            "legend.fontsize": 9,
            "legend.frameon": False,
            "savefig.facecolor": "none",
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
        }
    )


def show(figure: plt.Figure, alt: str) -> None:
    """Show a figure with the text that stands for it where it is not seen, and close it.

    Its smallest text, in points, and its number of panels go with it, for the tests of the book.
    """
    texts = [text for text in figure.findobj(plt.Text) if text.get_visible() and text.get_text().strip()]
    panels = [axis for axis in figure.axes if axis.axison and axis.get_label() != "<colorbar>"]
    notes = {"alt": alt, "points": min((text.get_fontsize() for text in texts), default=12.0), "panels": len(panels)}
    display(figure, metadata={"image/png": notes})
    plt.close(figure)


def image_strip(axis: plt.Axes, images: np.ndarray, title: str = "") -> None:
    """Images ``[n, height, width]`` or ``[n, channels, height, width]`` side by side; the value range is theirs."""
    if images.ndim == 4:
        images = np.moveaxis(images, 1, -1)
    axis.imshow(np.concatenate(list(images), axis=1).squeeze(), aspect="equal", interpolation="nearest")
    axis.set_title(title, fontsize="small", loc="left")
    axis.set_axis_off()


def image_rows(axis: plt.Axes, rows: Mapping[str, np.ndarray], title: str = "") -> None:
    """Rows of as many images ``[n, channels, height, width]`` each, with their names on the left."""
    image_strip(axis, np.concatenate(list(rows.values()), axis=2), title)
    for index, name in enumerate(rows):
        place = {"transform": axis.transAxes, "ha": "right", "va": "center"}
        axis.text(-0.01, 1 - (index + 0.5) / len(rows), name, **place)


def band(axis: plt.Axes, x: Sequence[float], values: np.ndarray, *, look: dict) -> None:
    """The mean of curves ``[points, x]``, with a band over the middle half of them."""
    low, high = np.nanquantile(values, (0.25, 0.75), axis=0)
    axis.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0)
    axis.plot(x, np.nanmean(values, axis=0), **look)


def estimates(
    axis: plt.Axes, x: Sequence[float], values: Sequence[Estimate], *, filled: bool = False, **look: object
) -> None:
    """Estimates over ``x`` with their intervals: as bars, or filled between."""
    middle, low, high = np.array([value[:3] for value in values]).T
    if filled:
        axis.plot(x, middle, **look)
        axis.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0)
    else:
        axis.errorbar(x, middle, [middle - low, high - middle], capsize=2, **look)


def label(axis: plt.Axes, text: str, x: float, y: float, *, left: bool = False, **look: object) -> None:
    """A text just above a point, to its right or to its left."""
    where = {"xytext": (-4 if left else 4, 4), "ha": "right" if left else "left"}
    axis.annotate(text, (x, y), textcoords="offset points", **where, **look)


def published(axis: plt.Axes, *values: float, horizontal: bool = True) -> None:
    """The paper's own values as dotted lines, named once in the legend."""
    for index, value in enumerate(values):
        line = axis.axhline if horizontal else axis.axvline
        line(value, color="0.45", linestyle=":", linewidth=1.4, zorder=0, label=None if index else "published")


def extremes(axes: Sequence[plt.Axes], images: np.ndarray, scores: np.ndarray) -> None:
    """The images of the lowest, the middle and the highest scores, a row on each of three axes."""
    count = min(14, len(scores) // 3)
    order = np.argsort(scores)
    middle = len(order) // 2 - count // 2
    for axis, name, start in zip(axes, ("low", "median", "high"), (0, middle, len(order) - count), strict=True):
        chosen = order[start : start + count]
        image_strip(axis, images[chosen], f"{name}: {scores[chosen[0]]:.1f} to {scores[chosen[-1]]:.1f} nats")


def outlier_bins(axes: Sequence[plt.Axes], log_p: np.ndarray, high: np.ndarray, images: np.ndarray) -> None:
    """Where the highly memorised images lie among all, by log probability.

    Args:
        axes: three: the counts (with the number of high ones above each bar), their share, and images from every other
            bin: a regular one above a high one, where there are such.
        log_p: of every image, nats.
        high: which are highly memorised.
        images: ``[n, channels, height, width]`` in [0, 1].
    """
    edges = np.histogram_bin_edges(log_p, 14)
    which = np.clip(np.digitize(log_p, edges) - 1, 0, len(edges) - 2)
    centres, width = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]
    total, marked = (np.bincount(which[mask], minlength=len(centres)) for mask in (high | ~high, high))
    axes[0].bar(centres, total - marked, width, color=COLOURS[4], edgecolor="w", label="regular")
    above = {"bottom": total - marked, "color": COLOURS[5], "edgecolor": "w", "label": "highly memorised"}
    axes[0].bar(centres, marked, width, **above)
    for x, count, of in zip(centres, marked, total, strict=True):
        axes[0].annotate(str(count), (x, of), ha="center", va="bottom", fontsize="x-small")
    share = np.divide(marked, total, out=np.zeros(len(total)), where=total > 0)
    axes[1].bar(centres, share, width, color=COLOURS[5], edgecolor="w")
    for index in range(0, len(centres), 2):
        for row, mask in enumerate((~high, high)):
            found = np.flatnonzero((which == index) & mask)
            if len(found):
                box = (centres[index] - width, centres[index] + width, -row - 1, -row)
                axes[2].imshow(np.moveaxis(images[found[0]], 0, -1).squeeze(), extent=box, aspect="auto")
    axes[2].set(xlim=axes[0].get_xlim(), ylim=(-2, 0), yticks=(-0.5, -1.5), yticklabels=("regular", "high"))
    axes[2].tick_params(bottom=False, labelbottom=False, left=False)
    axes[2].spines[:].set_visible(False)


def binned_means(
    axis: plt.Axes, x: np.ndarray, y: np.ndarray, width: float, *, bars: bool = True, **look: object
) -> None:
    """The mean of ``y`` in bins of ``x`` that hold at least five points, with 1.96 standard errors to either side."""
    index = np.floor(x / width)
    bins, counts = np.unique(index, return_counts=True)
    bins = bins[counts >= 5]
    groups = [y[index == b] for b in bins]
    errors = [1.96 * group.std(ddof=1) / len(group) ** 0.5 for group in groups] if bars else None
    axis.errorbar((bins + 0.5) * width, [g.mean() for g in groups], yerr=errors, fmt="o", ms=3, capsize=2, **look)
