"""The look of the book, and the plots that two or more notebooks share. They take arrays, not models."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from IPython.display import display
from matplotlib.figure import SubFigure

from lib.measures.intervals import Estimate, number
from lib.study import drawn

MEMORISED = {"color": "#b2182b", "linestyle": "-", "label": "memorised"}
"""The model of few images: red and solid, as in the paper ("solid is overfit"), through the whole book."""
WELL_TRAINED = {"color": "#2166ac", "linestyle": "--", "label": "well trained"}
"""The model of all images: blue and dashed."""

PAIR = {"memorised": MEMORISED, "well trained": WELL_TRAINED}

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

    What it draws goes with it as CSV, see :func:`lib.study.drawn.numbers`; and for the tests of the book its smallest
    text, in points, and its number of panels.
    """
    texts = [text for text in figure.findobj(plt.Text) if text.get_visible() and text.get_text().strip()]
    panels = [axis for axis in figure.axes if axis.axison and axis.get_label() != "<colorbar>"]
    notes = {"alt": alt, "points": min((text.get_fontsize() for text in texts), default=12.0), "panels": len(panels)}
    notes["numbers"] = drawn.numbers(figure)
    display(figure, metadata={"image/png": notes})
    plt.close(figure)


def image_strip(axis: plt.Axes, images: np.ndarray, title: str = "") -> None:
    """Images ``[n, height, width]`` or ``[n, channels, height, width]`` side by side; the value range is theirs."""
    if images.ndim == 4:
        images = np.moveaxis(images, 1, -1)
    axis.imshow(np.concatenate(list(images), axis=1).squeeze(), aspect="equal", interpolation="nearest")
    axis.set_title(title, fontsize=9, loc="left")
    axis.set_axis_off()


def along(
    figure: plt.Figure | SubFigure,
    images: Mapping[str, np.ndarray],
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    looks: Mapping[str, dict],
) -> plt.Axes:
    """What models make along a path, a strip of images for each of them, above curves over that path.

    Args:
        figure: where to draw.
        images: by model, ``[n, channels, height, width]``.
        curves: by model, positions and values.
        looks: by model, the look of its curve.

    Returns:
        The axis of the curves.
    """
    *strips, below = figure.subplots(len(images) + 1, 1, height_ratios=[1] * len(images) + [2 * len(images)])
    for axis, (name, row) in zip(strips, images.items(), strict=True):
        image_strip(axis, row, name)
    for name, (x, y) in curves.items():
        below.plot(x, y, **looks[name])
    below.axhline(0, color="0.8", lw=0.8, zorder=0)
    below.legend()
    return below


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
    middle = [value.value for value in values]
    if filled:
        low, high = np.array([value[1:3] for value in values]).T
        axis.plot(x, middle, **look)
        axis.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0)
    else:
        axis.errorbar(x, middle, bars(values), capsize=2, **look)


def bars(values: Sequence[Estimate | Sequence[float]]) -> np.ndarray:
    """How far the intervals of values, low and high ends reach to either side, ``[2, values]``.

    A BCa interval may exclude its own estimate; an error bar cannot point inwards.
    """
    middle, low, high = np.array([value[:3] for value in values], dtype=float).T
    return np.clip([middle - low, high - middle], 0, None)


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
        image_strip(axis, images[chosen], f"{name}: {number(scores[chosen[0]])} to {number(scores[chosen[-1]])} nats")


def outlier_bins(
    axes: Sequence[plt.Axes],
    centres: np.ndarray,
    width: float,
    regular: np.ndarray,
    high: np.ndarray,
    share: np.ndarray,
) -> None:
    """Where the highly memorised images lie among all, by log probability.

    Args:
        axes: two: the images of either kind, the highly memorised ones on top, and their share below.
        centres: of the bins, nats.
        width: of a bin, nats.
        regular: how many images of each bin are not highly memorised.
        high: how many are.
        share: of the bin's images that are.
    """
    axes[0].bar(centres, regular, 0.92 * width, color=COLOURS[4], label="regular")
    axes[0].bar(centres, high, 0.92 * width, bottom=regular, color=COLOURS[1], label="highly memorised")
    axes[0].set(ylabel="images", ylim=(0, 1.4 * axes[0].get_ylim()[1]))  # room for the legend
    axes[0].legend()
    axes[1].bar(centres, share, 0.92 * width, color=COLOURS[1])
    axes[1].set(ylabel="highly memorised,\nshare of the bin")
    for axis in axes:
        axis.label_outer()


def binned_means(axis: plt.Axes, x: np.ndarray, y: np.ndarray, width: float, **look: object) -> None:
    """The mean of ``y`` in bins of ``x`` that hold at least five points, with 1.96 standard errors to either side."""
    index = np.floor(x / width)
    bins, counts = np.unique(index, return_counts=True)
    bins = bins[counts >= 5]
    groups = [y[index == b] for b in bins]
    errors = [1.96 * group.std(ddof=1) / len(group) ** 0.5 for group in groups]
    axis.errorbar((bins + 0.5) * width, [g.mean() for g in groups], yerr=errors, fmt="o", ms=3, capsize=2, **look)
