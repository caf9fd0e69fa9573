"""What was published, what this run found, and what follows: the lines of the scorecard.

``book/claims`` lists the claims, a file for each notebook. The verdict follows from the interval alone: inside the
accepted range the claim reproduced, wholly outside it did not, across the border it is undecided; and for what a model
below its bar does not show, nothing is decided. Ranges are frozen in ``ranges.lock``.
"""

import hashlib
import json
import math
import re
import resource
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, SupportsFloat

import pandas as pd
import torch
import yaml
from IPython.display import Markdown

from lib.measures.intervals import Estimate, number
from lib.models import fit
from lib.models.data import ROOT, Dataset
from lib.models.store import write_atomically
from lib.study import items, tables

NUMBERS = Estimate._fields[:5]
CLAIMS = ROOT / "book" / "claims"
SCORECARD = "../book/scorecard.html"

VERDICTS = {
    "reproduced": "✔ reproduced",
    "did not reproduce": "✘ did not reproduce",
    "holds": "✔ holds",
    "does not hold": "✘ does not hold",
    "undecided": "? undecided",
    "not testable": "○ not testable",
    "not run": "– not run",
}
KINDS = {
    "direction": ("reproduced", "did not reproduce"),
    "size": ("reproduced", "did not reproduce"),
    "identity": ("holds", "does not hold"),
    "ours": ("holds", "does not hold"),
}
"""What a claim is, and what its verdicts are called: the sign or the order that was published; a number that was; what
mathematics says, which cannot fail but by a mistake; and what was not published, such as a control."""


class Claim(NamedTuple):
    """One line of the scorecard: a published statement and the rule by which a run decides it."""

    notebook: str
    value: str
    """name of the notebook's value that decides"""
    claim: str
    kind: str
    """one of :data:`KINDS`"""
    where: str
    published: str
    unit: str
    low: float
    """lower end of the accepted range"""
    high: float
    why: str
    """why that range"""
    bar: str = ""
    """name of a value that must be at most one, or the claim is not shown by what was not seen; none by default"""


def claims(notebook: str) -> list[Claim]:
    """The claims of a notebook; none if it has no file of them.

    Raises:
        ValueError: an entry with other fields than those of :class:`Claim`, an unknown kind, or an empty range.
    """
    path, listed = CLAIMS / f"{notebook}.yml", []
    for entry in yaml.safe_load(path.read_text()) if path.exists() else []:
        low, high = ends(entry.pop("range"))
        wanted = set(Claim._fields) - {"notebook", "low", "high", "bar"}
        if set(entry) - {"bar"} != wanted or not low < high or entry["kind"] not in KINDS:
            raise ValueError(
                f"{path.name}: {entry} needs exactly {', '.join(Claim._fields[1:-4])}, range: [low, high], why, and a "
                f"bar if there is one; kinds: {', '.join(KINDS)}"
            )
        listed.append(Claim(notebook, **entry, low=low, high=high))
    return listed


def ends(accepted: Sequence[SupportsFloat | None]) -> tuple[float, float]:
    """The two ends of a range; one that is None is open."""
    low, high = accepted
    return -math.inf if low is None else float(low), math.inf if high is None else float(high)


def by_id(notebook: str) -> dict[str, Claim]:
    """The claims of a notebook by their addresses: its name and the value's; the second of a value adds its kind."""
    found: dict[str, Claim] = {}
    for claim in claims(notebook):
        name = f"claim-{claim.notebook}-{claim.value}"
        found[f"{name}-{claim.kind}" if name in found else name] = claim
    return found


def addresses(sections: Iterable[str]) -> dict[str, str]:
    """The addresses of the claims of sections by the names of their values; of two claims of one value, the first."""
    found: dict[str, str] = {}
    for name in sections:
        for address, claim in by_id(name).items():
            found.setdefault(claim.value, address)
    return found


def linked(text: str, address: str | None) -> str:
    """A number of a page as a link to its claim on the scorecard, if it has one."""
    return f'<a href="{SCORECARD}#{address}">{text}</a>' if address else text


def unlinked(text: str) -> str:
    """A text without these links, for where there is no scorecard.

    Example:
        >>> unlinked(f"It is {linked('3 [2, 4]', 'claim-decay-dip')}.")
        'It is 3 [2, 4].'
    """
    return re.sub(rf'<a href=(\\?"){re.escape(SCORECARD)}#[\w-]+\1>(.*?)</a>', r"\2", text)


def written(value: Estimate | None) -> str:
    """An estimate in a sentence, with its interval if it has one."""
    if value is None:
        return "(not run)"
    return str(value) if value.n else number(value.value)


def verdict(claim: Claim, values: Mapping[str, Estimate | float]) -> str:
    """A key of :data:`VERDICTS`, of the values of a run: the whole interval decides, and the bar where there is one."""
    ours, bar = (as_estimate(values.get(name)) for name in (claim.value, claim.bar))
    if ours is None or (claim.bar and bar is None):
        return "not run"
    yes, no = KINDS[claim.kind]
    if ours.high < claim.low or claim.high < ours.low:
        return no  # what is seen in a bad model is seen all the same; what is not seen says nothing
    if bar is not None and bar.high > 1:
        return "not testable"
    return yes if claim.low <= ours.low and ours.high <= claim.high else "undecided"


def frozen(notebook: str) -> list[str]:
    """The lines of the file of frozen ranges for a notebook's claims: a digest of what decides, and what it is of."""
    lines = []
    for claim in claims(notebook):
        decides = [claim.notebook, claim.value, claim.kind, claim.low, claim.high, claim.bar]
        digest = hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]
        lines.append(f"{digest}  {claim.notebook} {claim.value} {_range(claim)}")
    return lines


def frame(notebook: str, values: Mapping[str, Estimate | float]) -> pd.DataFrame:
    """The claims of a notebook: published, ours, interval, accepted range, verdict."""
    return tables.rows(COLUMNS, [_row(claim, values) for claim in claims(notebook)])


def beside(notebook: str, *columns: Mapping[str, Estimate | float]) -> pd.DataFrame:
    """The claims of a notebook with what each of :data:`RUNS` found, and its verdict."""
    rows = []
    for claim in claims(notebook):
        found = [_row(claim, values) for values in columns]
        said = [f"{claim.claim} ({claim.where}; {claim.unit})", claim.kind, claim.published]
        shown = [[row[3].replace(f" {claim.unit}", ""), row[4], row[6]] for row in found]
        said += [
            "<br>".join(part.replace(" ", "\N{NO-BREAK SPACE}") for part in three if part != "–") for three in shown
        ]
        rows.append([*said, accepted(claim)])
    return tables.rows(("claim", "kind", "published", *RUNS, "accepted"), rows)


def conclude(
    folder: str, notebook: str, values: Mapping[str, Estimate | float], dataset: Dataset | None, device: torch.device
) -> Markdown:
    """Write a section's numbers, see :func:`write_values`, and show its claims, see :func:`frame`."""
    write_values(folder, notebook, values, dataset, device)
    return tables.show(frame(notebook, values))


RUNS = ("this build", "recorded")
COLUMNS = ("claim", "kind", "published", "ours", "95 % interval", "accepted", "verdict")


def _row(claim: Claim, values: Mapping[str, Estimate | float]) -> list[str]:
    ours = as_estimate(values.get(claim.value))
    middle, interval = "–", "–"
    if ours is not None:
        counted = f" (n = {ours.n}" + (f", {ours.missing} without a value)" if ours.missing else ")") if ours.n else ""
        middle = f"{number(ours.value)} {claim.unit}{counted}"
        interval = f"[{number(ours.low)}, {number(ours.high)}]" if ours.n else "–"
    said = VERDICTS[verdict(claim, values)]
    return [f"{claim.claim} ({claim.where})", claim.kind, claim.published, middle, interval, accepted(claim), said]


def accepted(claim: Claim) -> str:
    """The accepted range of a claim, why it is that, and the bar if there is one."""
    return f"{_range(claim)}: {claim.why}" + (f"; if {claim.bar} ≤ 1" if claim.bar else "")


def estimates(record: Mapping[str, Mapping]) -> dict[str, Estimate]:
    """The numbers of a run, from its record; none from an empty one."""
    return {name: Estimate(**entry) for name, entry in record.get("values", {}).items()}


def as_estimate(value: Estimate | float | None) -> Estimate | None:
    """A plain number as an estimate: its own interval, with ``n = 0``. Estimates and None stay what they are."""
    return value if isinstance(value, Estimate | None) else Estimate(float(value), float(value), float(value), 0)


def write_values(
    folder: str, notebook: str, values: Mapping[str, Estimate | float], dataset: Dataset | None, device: torch.device
) -> Path:
    """Write a notebook's numbers, their items, and what only its own process knows: data, device, peak memory.

    Raises:
        ValueError: a value that is NaN or infinite, or that cannot be computed again from its items, by name.
    """
    numbers = {name: as_estimate(value) for name, value in values.items()}
    bad = [name for name, value in numbers.items() if value is None or not all(map(math.isfinite, value[:5]))]
    if bad:
        raise ValueError(f"{notebook}: not a finite number: {', '.join(bad)}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    content = {
        "values": {name: dict(zip(NUMBERS, value, strict=False)) for name, value in numbers.items()},
        "dataset": {"name": dataset.name, "sha256": dataset.digest} if dataset else None,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "peak_memory_bytes": peak,
        "fits": [{**used, "again": used["again"] and items.call(used["again"])} for used in fit.USED.values()],
    }
    path = ROOT / folder / f"{notebook}.values.json"
    write_atomically(path.with_name(f"{notebook}.items.npz"), items.pack(numbers))
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False).encode())
    return path


def _range(claim: Claim) -> str:
    if math.isinf(claim.low):
        return f"≤ {number(claim.high)}"
    return f"≥ {number(claim.low)}" if math.isinf(claim.high) else f"{number(claim.low)} to {number(claim.high)}"
