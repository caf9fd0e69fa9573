"""The look of the book, and the plots that two or more notebooks share. They take arrays, not models."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from cycler import cycler

MEMORISED = {"color": "#b2182b", "linestyle": "-", "label": "memorised"}
"""The model of few images: red and solid, as in the paper ("solid is overfit"), through the whole book."""
WELL_TRAINED = {"color": "#2166ac", "linestyle": "--", "label": "well trained"}
"""The model of all images: blue and dashed."""

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
    """Set the style of all figures in a notebook."""
    sns.set_theme(context="notebook", style="ticks", font="DejaVu Sans")
    plt.rcParams.update(
        {
            "axes.prop_cycle": cycler(color=COLOURS),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "figure.dpi": 110,
            "figure.figsize": (7.5, 3.6),
            "figure.constrained_layout.use": True,
            "legend.frameon": False,
            "font.size": 10,
            "image.cmap": "gray",
        }
    )


def image_strip(axis: plt.Axes, images: np.ndarray, title: str = "") -> None:
    """Images ``[n, height, width]`` or ``[n, channels, height, width]`` side by side; the value range is theirs."""
    if images.ndim == 4:
        images = np.moveaxis(images, 1, -1)
    axis.imshow(np.concatenate(list(images), axis=1).squeeze(), aspect="equal", interpolation="nearest")
    axis.set_title(title, fontsize="small", loc="left")
    axis.set_axis_off()


def band(axis: plt.Axes, x: Sequence[float], values: np.ndarray, *, look: dict) -> None:
    """The mean of curves ``[points, x]``, with a band over the middle half of them."""
    low, high = np.nanquantile(values, (0.25, 0.75), axis=0)
    axis.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0)
    axis.plot(x, np.nanmean(values, axis=0), **look)


def published(axis: plt.Axes, *values: float, horizontal: bool = True) -> None:
    """The paper's own values as dotted lines, named once in the legend."""
    for index, value in enumerate(values):
        line = axis.axhline if horizontal else axis.axvline
        line(value, color="0.45", linestyle=":", linewidth=1.4, zorder=0, label=None if index else "published")
