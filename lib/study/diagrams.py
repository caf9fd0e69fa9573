"""A figure to decide by: questions from the top down, and what to do at each yes."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt

from lib.study.figures import COLOURS

QUESTION, ANSWER = 0.17, 0.69
"""middles of the two columns, in the width of the axis"""


class Step(NamedTuple):
    """A question, and what to do where its answer is yes."""

    question: str
    answer: str


def decisions(axis: plt.Axes, steps: Sequence[Step], end: str) -> None:
    """Questions below each other, each with what to do if the answer is yes; no leads to the next.

    Args:
        axis: where to draw; its frame goes.
        steps: from the first question to the last.
        end: what is to be said where all answers were no.
    """
    axis.set(xlim=(0, 1), ylim=(len(steps) + 0.5, -0.5))
    axis.axis("off")
    box = {"boxstyle": "round,pad=0.45", "fc": "none"}
    look = {"ha": "center", "va": "center", "fontsize": 9}
    arrow = {"arrowstyle": "-|>", "color": "0.4", "shrinkA": 0, "shrinkB": 0}
    for row, step in enumerate(steps):
        axis.text(QUESTION, row, step.question, bbox=box | {"ec": COLOURS[0]}, **look)
        axis.text(ANSWER, row, step.answer, bbox=box | {"ec": COLOURS[1]}, **look)
        axis.annotate("", (0.395, row), (0.33, row), arrowprops=arrow)
        axis.text(0.362, row - 0.06, "yes", ha="center", va="bottom", fontsize=9, color="0.4")
        axis.annotate("", (QUESTION, row + 0.72), (QUESTION, row + 0.3), arrowprops=arrow)
        axis.text(QUESTION + 0.01, row + 0.5, "no", ha="left", va="center", fontsize=9, color="0.4")
    axis.text(QUESTION, len(steps), end, bbox=box | {"ec": "0.4"}, **look)
