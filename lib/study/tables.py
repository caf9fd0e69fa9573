"""Tables of a page: pandas frames as Markdown, every number through one formatter."""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real

import numpy as np
import pandas as pd
from IPython.display import Markdown

from lib.measures.intervals import Estimate, number


def show(frame: pd.DataFrame, *, before: str = "", after: str = "") -> Markdown:
    """A table as a page shows it, with text before and after it; the index is not shown."""
    return Markdown("\n\n".join(part for part in (before, markdown(frame), after) if part))


def rows(columns: Sequence[str], cells: Sequence[Sequence[object]]) -> pd.DataFrame:
    """A frame from rows of anything that :func:`cell` can write."""
    return pd.DataFrame([dict(zip(columns, row, strict=True)) for row in cells], columns=list(columns), dtype=object)


def markdown(frame: pd.DataFrame) -> str:
    """A frame as a Markdown table: text to the left, numbers to the right."""
    written = frame.astype(object).map(cell)
    align = ["right" if all(isinstance(each, Real) for each in frame[name]) else "left" for name in frame]
    return written.to_markdown(index=False, disable_numparse=True, colalign=align if len(frame) else None)


def cell(value: object) -> str:
    """Anything as the text of a cell: numbers with three significant digits, whole ones in full, nothing as a dash."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{value:,}".replace("-", "−")
    if isinstance(value, Real):
        return number(value)
    return "–" if value is None else str(value)


def percent(value: Estimate | float) -> str:
    """A share as a percentage, with its interval if it has one."""
    if isinstance(value, Estimate):
        return f"{value.value:.0%} [{value.low:.0%}, {value.high:.0%}]".replace("-", "−")
    return f"{value:.0%}".replace("-", "−")


def listed(values: Mapping[str, object], unit: str = "") -> str:
    """Numbers in a sentence, such as "3.2 nats at the first and 4 nats at the second"."""
    return " and ".join(f"{cell(value)}{unit} at {name}" for name, value in values.items())
