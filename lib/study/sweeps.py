"""The runs of a sweep as one table and one figure."""

import csv
import io
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt

from lib.models.store import write_atomically
from lib.study.claims import estimates
from lib.study.figures import bars
from lib.study.runs import Job


def grid(given: Mapping[str, str]) -> list[dict[str, str]]:
    """All combinations of comma-separated values; commas inside square brackets do not separate."""
    axes = [[(name, text) for text in re.split(r",(?![^\[]*\])", texts)] for name, texts in given.items()]
    return [dict(combination) for combination in itertools.product(*axes)]


def summarise(runs: Sequence[tuple[Job, dict]], swept: Sequence[str], folder: Path) -> tuple[Path, Path]:
    """Write ``sweep.csv``, one line per run and value with its interval, and ``sweep.png``, one panel per value.

    Args:
        runs: jobs with their records.
        swept: the parameters that vary; the first is the horizontal axis.
        folder: where to write.
    """
    rows = [
        [*(job.parameters[name] for name in swept), value, *number[:5], str(job.output)]
        for job, record in runs
        for value, number in estimates(record).items()
    ]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*swept, "value", "estimate", "low", "high", "n", "missing", "notebook"])
    writer.writerows(rows)
    write_atomically(folder / "sweep.csv", text.getvalue().encode())
    image = io.BytesIO()
    _draw(rows, swept).savefig(image, dpi=120)
    plt.close("all")
    write_atomically(folder / "sweep.png", image.getvalue())
    return folder / "sweep.csv", folder / "sweep.png"


def _draw(rows: Sequence[Sequence], swept: Sequence[str]) -> plt.Figure:
    count = len(swept)
    names = list(dict.fromkeys(row[count] for row in rows))
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(4 * columns, 3 * lines), squeeze=False, layout="constrained")
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    for axis, name in zip(axes.flat, names, strict=False):
        mine = [row for row in rows if row[count] == name]
        for others in dict.fromkeys(tuple(map(str, row[1:count])) for row in mine):
            chosen = [row for row in mine if tuple(map(str, row[1:count])) == others]
            label = ", ".join(f"{parameter} = {value}" for parameter, value in zip(swept[1:], others, strict=True))
            x = [row[0] if isinstance(row[0], int | float) else str(row[0]) for row in chosen]
            values = [row[count + 1 : count + 4] for row in chosen]
            axis.errorbar(
                x, [value for value, *_ in values], yerr=bars(values), marker="o", capsize=3, label=label or None
            )
        axis.set(title=name, xlabel=swept[0])
        if count > 1:
            axis.legend(fontsize="small")
    return figure
