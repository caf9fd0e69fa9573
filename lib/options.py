"""Options that several commands have, and how they speak."""

import os
from collections.abc import Callable

import click

from lib.study import parameters, runs

Given = tuple[tuple[str, str], ...]

preset_option = click.option(
    "--preset", default="quick", show_default=True, metavar="NAME", help=f"Budget: {', '.join(parameters.presets())}."
)
jobs_option = click.option(
    "--jobs", type=click.IntRange(min=1), default=min(runs.SIDE_BY_SIDE, os.cpu_count() or 1),
    show_default=f"cores, at most {runs.SIDE_BY_SIDE}",
    help="Notebooks executed side by side.",
)  # fmt: skip


scheduler_option = click.option(
    "--scheduler", default="", metavar="ADDRESS", help="Run on the Dask cluster of tcp://HOST:8786."
)


def parameter_option(meaning: str) -> Callable:
    """The option ``-p NAME VALUE``."""
    return click.option("-p", "given", nargs=2, multiple=True, metavar="NAME VALUE", help=meaning)


def named(given: Given) -> dict[str, str]:
    """What was given with ``-p``, by name; a name that comes twice is refused."""
    names = [name for name, _ in given]
    if len(set(names)) < len(names):
        raise parameters.Refused(f"a parameter was given twice: {', '.join(names)}")
    return dict(given)


def line(job: runs.Job, record: dict) -> str:
    """A finished run in one line."""
    label = job.folder.name if job.folder.parent.parent == runs.RUNS else job.notebook.stem
    memory = f"{record['peak_memory_bytes'] / 2**30:.1f} GiB"
    took = (
        "unchanged, used again" if record.get("reused") else f"{record['seconds']:.0f} s, {memory}, {record['device']}"
    )
    return f"{label}: {took}"


def printable(text: str) -> str:
    """A text with escapes in place of what a terminal would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
