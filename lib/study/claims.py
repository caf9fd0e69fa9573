"""What was published, what this run found, and what follows: the lines of the scorecard.

``book/claims.yml`` lists the claims. The verdict follows from the interval alone: inside the accepted range the claim
reproduced, wholly outside it did not, across the border it is undecided.
"""

import json
import math
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
import yaml
from IPython.display import Markdown

from lib.measures.intervals import Estimate
from lib.models.data import ROOT, Dataset
from lib.models.store import write_atomically

VERDICTS = {
    "reproduced": "✔ reproduced",
    "did not reproduce": "✘ did not reproduce",
    "undecided": "? undecided",
    "not run": "– not run",
}


class Claim(NamedTuple):
    """One line of the scorecard: a published statement and the rule by which a run decides it."""

    chapter: str
    value: str
    """name of the chapter's value that decides"""
    claim: str
    where: str
    published: str
    unit: str
    low: float
    """lower end of the accepted range"""
    high: float
    why: str
    """why that range"""


def claims(path: Path = ROOT / "book" / "claims.yml") -> list[Claim]:
    """All claims.

    Raises:
        ValueError: an entry with other fields than those of :class:`Claim`, or an empty range.
    """
    found = []
    for entry in yaml.safe_load(path.read_text()):
        low, high = (
            math.inf * sign if end is None else end for sign, end in zip((-1, 1), entry.pop("range"), strict=True)
        )
        if set(entry) != set(Claim._fields) - {"low", "high"} or not low < high:
            raise ValueError(
                f"{path.name}: {entry} needs exactly {', '.join(Claim._fields[:-3])}, range: [low, high], why"
            )
        found.append(Claim(**entry, low=low, high=high))
    return found


def verdict(claim: Claim, ours: Estimate | None) -> str:
    """``reproduced``, ``did not reproduce``, ``undecided``, or ``not run`` without a value."""
    if ours is None:
        return "not run"
    if claim.low <= ours.low and ours.high <= claim.high:
        return "reproduced"
    return "did not reproduce" if ours.high < claim.low or claim.high < ours.low else "undecided"


def table(chapter: str, values: Mapping[str, Estimate | float]) -> Markdown:
    """The claims of a chapter as a table: published, ours, interval, verdict."""
    rows = [row(claim, values) for claim in claims() if claim.chapter == chapter]
    return Markdown("\n".join([*HEADER, *rows]))


HEADER = ("| claim | published | ours | 95 % interval | accepted | verdict |", "|---|---|---|---|---|---|")


def row(claim: Claim, values: Mapping[str, Estimate | float]) -> str:
    """One line of the table."""
    ours = as_estimate(values.get(claim.value))
    numbers = ("–", "–")
    if ours is not None:
        counted = f" (n = {ours.n}" + (f", {ours.missing} without a value)" if ours.missing else ")") if ours.n else ""
        numbers = (
            f"{ours.value:.3g} {claim.unit}{counted}",
            f"[{ours.low:.3g}, {ours.high:.3g}]" if ours.n else "–",
        )
    accepted = f"{_range(claim)}: {claim.why}"
    cells = [f"{claim.claim} ({claim.where})", claim.published, *numbers, accepted, VERDICTS[verdict(claim, ours)]]
    return f"| {' | '.join(cells)} |"


def estimates(record: Mapping[str, Mapping]) -> dict[str, Estimate]:
    """The numbers of a run, from its record; none from an empty one."""
    return {name: Estimate(**number) for name, number in record.get("values", {}).items()}


def as_estimate(value: Estimate | float | None) -> Estimate | None:
    """A plain number as an estimate: its own interval, with ``n = 0``. Estimates and None stay what they are."""
    return value if isinstance(value, Estimate | None) else Estimate(float(value), float(value), float(value), 0)


def write_values(
    folder: str, chapter: str, values: Mapping[str, Estimate | float], dataset: Dataset | None, device: torch.device
) -> Path:
    """Write a chapter's numbers, and what only its own process knows: data, device, peak memory.

    Raises:
        ValueError: a value that is NaN or infinite, by name.
    """
    numbers = {name: as_estimate(value) for name, value in values.items()}
    bad = [name for name, number in numbers.items() if number is None or not all(map(math.isfinite, number))]
    if bad:
        raise ValueError(f"{chapter}: not a finite number: {', '.join(bad)}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    content = {
        "values": {name: number._asdict() for name, number in numbers.items()},
        "dataset": {"name": dataset.name, "sha256": dataset.digest} if dataset else None,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "peak_memory_bytes": peak,
    }
    path = ROOT / folder / f"{chapter}.values.json"
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False).encode())
    return path


def _range(claim: Claim) -> str:
    if math.isinf(claim.low):
        return f"≤ {claim.high:g}"
    return f"≥ {claim.low:g}" if math.isinf(claim.high) else f"{claim.low:g} to {claim.high:g}"
