"""Numbers to take away from a page, as CSV: of its figures, of its tables, and those behind its intervals.

A run notes the numbers of its figures beside them (:func:`lib.study.figures.show`). A figure of a run that did not has
the page's tables, and the items of its intervals, which every run keeps.
"""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat

from lib.models import store
from lib.study import items

TABLE = re.compile(r"^\|.*\|\n\|[:| -]+\|\n(?:\|.*\|\n?)*", re.MULTILINE)
CELL = re.compile(r"(?<!\\)\|")
LINK = "{{download}}`{text} <{file}>`"


def with_files(notebook: nbformat.NotebookNode, name: str, content: bytes | None, folder: Path) -> None:
    """Write what can be taken away from a page, and link it there: below the figure, or below the table.

    Args:
        notebook: the page, which is changed.
        name: its section.
        content: the items of its run, see :func:`lib.study.items.pack`; None if it was not run.
        folder: of the page's source.
    """

    def link(kind: str, text: str, rows: str) -> str:
        file = f"{name}-{kind}.csv"
        store.write_atomically(folder / file, rows.encode())
        return LINK.format(text=text, file=file)

    for cell in notebook.cells:
        for place, output in enumerate(cell.get("outputs", [])):
            kind = f"{cell.id}-{place}"
            rows = output.get("metadata", {}).get("image/png", {}).get("numbers")
            if rows and (figure := cell.metadata.get("mystnb", {}).get("figure")):
                figure.caption += " " + link(kind, "The numbers of this figure (CSV)", rows)
            if table := TABLE.search(text := output.get("data", {}).get("text/markdown", "")):
                below = link(kind, "This table (CSV)", from_markdown(table[0]))
                output.data["text/markdown"] = f"{text[: table.end()].rstrip()}\n\n{below}\n\n{text[table.end() :]}"
        if content and "claims" in cell.get("metadata", {}).get("tags", []):
            below = link("items", "What the intervals of this section are made of (CSV)", "\n".join(listed(content)))
            cell.outputs[-1].data["text/markdown"] += f"\n\n{below}"


def from_markdown(table: str) -> str:
    r"""A table in Markdown as CSV: plain minus signs, and no line below the head.

    Example:
        >>> from_markdown("| a   |   b |\n|:----|----:|\n| x\\|y |  −1,000 |\n")
        'a,b\nx|y,"-1,000"\n'
    """
    head, _, *body = table.strip().splitlines()
    rows = [[cell.strip().replace("\\|", "|") for cell in CELL.split(line)[1:-1]] for line in (head, *body)]
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(rows)
    return written.getvalue().replace("−", "-")


def listed(content: bytes) -> Iterator[str]:
    """The arrays of a run's items as lines of CSV: the estimate, which of its arrays, the place in it, the number."""
    yield "estimate,array,index,number"
    for name, arrays in items.arrays(content).items():
        for place, array in enumerate(arrays):
            yield from (f"{name},{place},{index},{number:.7g}" for index, number in enumerate(array.ravel().tolist()))
