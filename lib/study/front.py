"""The first page: its numbers and its picture are those of the runs, its words are not."""

import base64
import re
from collections.abc import Mapping

import nbformat

from lib.study import claims

VALUE = re.compile(r"\[\[(\w+)\]\]")
PICTURE = re.compile(r"<!-- picture (\w+) ([\w-]+) -->")


def numbers(text: str, records: Mapping[str, dict]) -> str:
    """A text in which every ``[[value]]`` is the estimate of that name, from whatever section has it, or "not run".

    It is a link to its claim on the scorecard, if it has one.
    """
    known = {name: value for record in records.values() for name, value in claims.estimates(record).items()}
    claimed = claims.addresses(records)
    return VALUE.sub(lambda place: claims.linked(str(known.get(place[1], "not run")), claimed.get(place[1])), text)


def picture(notebook: nbformat.NotebookNode, name: str) -> tuple[bytes, str] | None:
    """A figure of a notebook: PNG, and the text that stands for it; None if it shows none, as a cell changed since."""
    cells = (cell for cell in notebook.cells if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == name)
    outputs = (output for cell in cells for output in cell.outputs if "image/png" in output.get("data", {}))
    output = next(outputs, None)
    return output and (base64.b64decode(output.data["image/png"]), output.metadata["image/png"]["alt"])


def with_picture(text: str, notebooks: Mapping[str, nbformat.NotebookNode]) -> tuple[str, bytes | None]:
    """A text in which ``<!-- picture SECTION FIGURE -->`` is that figure as ``front.png``, and the file's content.

    What follows up to an empty line is its caption. Both go where the section was not run, or shows the figure no more.
    """
    place = PICTURE.search(text)
    if place is None:
        return text, None
    caption, _, rest = text[place.end() :].lstrip("\n").partition("\n\n")
    before = text[: place.start()]
    found = picture(notebooks[place[1]], place[2]) if place[1] in notebooks else None
    if found is None:
        return before + rest, None
    content, alt = found
    block = (
        f"```{{figure}} front.png\n:name: fig-front\n:alt: {alt}\n:class: pixels\n:width: 100%\n\n{caption}\n```\n\n"
    )
    return before + block + rest, content
