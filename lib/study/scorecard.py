"""The scorecard: every claim of the book with its verdict, as a page that is read and as a file that is computed with.

``book/scorecard.md`` is the page, a template; what stands here are its data. A row draws where our number lies in units
of the claim's accepted range, which reaches from 0 to 1, see :func:`positions`.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jinja2
import pandas as pd
from scipy.stats import norm

from lib.measures.intervals import Estimate, number
from lib.study import claims, parameters
from lib.study.claims import Claim

NUMBER = re.compile(r"(?:about |gap )?(−?\d*\.?\d+)(?: times)?")
"""a published text that is one number and nothing else"""
WINDOW = (-1.0, 2.0)
"""what a row draws, in units of the accepted range"""
NO_SIZES = ("results", "device", "remark")
"""parameters that change no number"""
HOPELESS = 100
"""times as large a sample is not said to be one that would decide"""


class Row(NamedTuple):
    """A claim, where it stands in the book, and how a run decided it."""

    part: str
    id: str
    """the claim's address on the page"""
    claim: Claim
    ours: Estimate | None
    """of this build, or if it did not run the section, as recorded"""
    verdict: str
    """a key of :data:`lib.study.claims.VERDICTS`"""
    recorded: Estimate | None
    """of the recorded run, if there is one beside that of this build"""
    recorded_verdict: str
    """of it or, where there is only one run, of that"""
    here: bool
    """whether this build ran the section"""
    sizes: str = ""
    """the parameters that the two runs have not alike, this build's and the recorded one's"""


class Mark(NamedTuple):
    """Where a row draws a value: per cent of its width, and -1 or 1 if the value lies beyond that end of the window."""

    x: float
    beyond: int


def rows(records: Mapping[str, Mapping], recorded: Mapping[str, Mapping]) -> list[Row]:
    """Every claim of the book in its order, decided by the notebooks' records; without one it was not run.

    Args:
        records: of this build, by section.
        recorded: of the recorded runs.
    """
    found = []
    for part, paths in parameters.parts().items():
        for path in paths:
            long = claims.estimates(recorded.get(path.stem, {}))
            values = claims.estimates(records.get(path.stem, {})) or long
            sizes = _sizes(records.get(path.stem, {}), recorded.get(path.stem, {}))
            for name, claim in claims.by_id(path.stem).items():
                ours, other = (claims.as_estimate(run.get(claim.value)) for run in (values, long))
                verdicts = claims.verdict(claim, values), claims.verdict(claim, long or values)
                beside = other if long is not values else None
                found.append(
                    Row(part, name, claim, ours, verdicts[0], beside, verdicts[1], path.stem in records, sizes)
                )
    return found


def _sizes(here: Mapping[str, Mapping], long: Mapping[str, Mapping]) -> str:
    """The parameters that two runs have not alike, where there are two."""
    mine, theirs = (run.get("parameters", {}) for run in (here, long))
    other = {name: value for name, value in mine.items() if name in theirs and theirs[name] != value}
    return ", ".join(f"`{name}` {value} and {theirs[name]}" for name, value in other.items() if name not in NO_SIZES)


def p_value(claim: Claim, ours: Estimate) -> float:
    """How probable so clear a verdict is if the truth were at the nearest border of the accepted range.

    Two-sided, from a normal distribution whose 95 % interval is ours on the side of that border: an interval that just
    decides has .05.

    Example:
        >>> claim = Claim("x", "gap", "It overfits", "direction", "table 1", ".6", "gap", 0.1, math.inf, "its bound")
        >>> f"{p_value(claim, Estimate(0.3, 0.1, 0.5, 200)):.3f}"
        '0.050'
    """
    border = min((claim.low, claim.high), key=lambda end: abs(end - ours.value))
    half = ours.high - ours.value if border > ours.value else ours.value - ours.low
    return float(2 * norm.sf(norm.isf(0.025) * abs(border - ours.value) / half)) if half > 0 else 0.0


def holm(p_values: Sequence[float]) -> list[bool]:
    """Which of many hypotheses are rejected so that with 95 % confidence none is rejected by chance (Holm 1979).

    Example:
        >>> holm([0.02, 0.001, 0.04])
        [True, True, True]
        >>> holm([0.03, 0.001, 0.04])
        [False, True, False]
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    passed = [p_values[i] <= 0.05 / (len(order) - rank) for rank, i in enumerate(order)]
    first = passed.index(False) if False in passed else len(order)
    return [i in order[:first] for i in range(len(p_values))]


def corrected(listed: Sequence[Row]) -> dict[str, bool]:
    """By address, whether a verdict from an interval survives all others of its part, see :func:`holm`.

    Every claim that was tested counts, those that stayed undecided among them; what has no interval is in none.
    """
    survives = {}
    for part in dict.fromkeys(row.part for row in listed):
        tested = [row for row in listed if row.part == part and _tested(row)]
        rejected = holm([p_value(row.claim, row.ours) for row in tested])
        survives |= {row.id: kept for row, kept in zip(tested, rejected, strict=True)}
    return survives


def _tested(row: Row) -> bool:
    return row.ours is not None and row.ours.n > 0 and row.verdict not in ("not testable", "not run")


def reason(claim: Claim, verdict: str, ours: Estimate | None) -> str:
    """Why a run leaves a claim open, in words; nothing for a verdict that decides.

    An interval across a border would be decided by a sample larger by the square of what it reaches beyond the border
    over the distance of the value from it, if the value stayed what it is. A value outside the range needs one border.

    Args:
        claim: the claim.
        verdict: of the run.
        ours: what the run found.

    Example:
        >>> claim = Claim("x", "gap", "It overfits", "direction", "table 1", ".6", "gap", 0.1, math.inf, "its bound")
        >>> reason(claim, "undecided", Estimate(0.2, 0.05, 0.35, 200))
        'the interval crosses 0.1; if the value stayed, 2.25 times as large a sample would decide'
    """
    if verdict == "not testable":
        return f"below its bar ({claim.bar}): what such a model, or such a test, does not show is evidence for nothing"
    if verdict == "not run":
        return "a run of this size, or with these data, has no such number"
    crossed = _crossed(claim, ours) if verdict == "undecided" and ours else {}
    if not crossed:
        return ""
    said = f"the interval crosses {' and '.join(number(border) for border in crossed)}"
    needed = max(
        ((end - ours.value) / (border - ours.value)) ** 2 if border != ours.value else math.inf
        for border, end in crossed.items()
    )
    if needed > HOPELESS:
        return f"{said}, and the value lies so near to it that no feasible sample would decide"
    return f"{said}; if the value stayed, {number(needed)} times as large a sample would decide"


def _crossed(claim: Claim, ours: Estimate) -> dict[float, float]:
    """The borders that keep an interval from deciding, each with the end of the interval beyond it."""
    if not claim.low <= ours.value <= claim.high:
        return {claim.low: ours.high} if ours.value < claim.low else {claim.high: ours.low}
    crossed = {claim.low: ours.low} if ours.low < claim.low else {}
    return crossed | ({claim.high: ours.high} if ours.high > claim.high else {})


def change(row: Row) -> str:
    """Why a verdict of this build is another than that of the recorded run, in words.

    Two numbers with 95 % intervals agree if they are no farther apart than the root of the sum of the squares of what
    each interval reaches towards the other: then the widths of the intervals make the verdicts differ, not the numbers.
    That is for independent runs. Where one has the models of the other and more, numbers that agree lie nearer still.

    Args:
        row: a claim with a recorded verdict beside that of this build.

    Example:
        >>> claim = Claim("x", "gap", "It overfits", "direction", "table 1", ".6", "gap", 0.1, math.inf, "its bound")
        >>> few, many = Estimate(0.2, 0.0, 0.4, 60), Estimate(0.3, 0.25, 0.35, 1000)
        >>> change(Row("part", "id", claim, few, "undecided", many, "reproduced", True))
        'the numbers agree; the interval of this build is 4 times as wide'
    """
    for verdict, found in ((row.verdict, row.ours), (row.recorded_verdict, row.recorded)):
        if verdict in ("not run", "not testable"):
            return reason(row.claim, verdict, found)
    lower, upper = sorted((row.ours, row.recorded), key=lambda found: found.value)
    if upper.value - lower.value > math.hypot(lower.high - lower.value, upper.value - upper.low):
        return "the numbers differ by more than chance"
    width = row.recorded.high - row.recorded.low
    wide = (row.ours.high - row.ours.low) / width if width else math.inf
    return f"the numbers agree; the interval of this build is {number(wide)} times as wide"


def counts(listed: Sequence[Row], column: str = "verdict") -> dict[str, dict[str, int]]:
    """How many claims of each kind have each verdict that occurs; kinds are never added up.

    Args:
        listed: the claims.
        column: ``verdict``, or ``recorded_verdict``.
    """
    decided = Counter((row.claim.kind, getattr(row, column)) for row in listed)
    return {kind: {name: n for name in claims.VERDICTS if (n := decided[kind, name])} for kind in claims.KINDS}


def table(listed: Sequence[Row]) -> pd.DataFrame:
    """A line for each claim, numbers in full; what is open or was not run is empty."""
    columns = ("part", "section", "claim", "kind", "where", "published", "ours", "low", "high", "n", "unit")
    columns += ("accepted_low", "accepted_high", "bar", "verdict", "reason", "holm")
    columns += ("recorded", "recorded_low", "recorded_high", "recorded_n", "recorded_verdict")
    lines, survives = [], corrected(listed)
    for row in listed:
        claim = row.claim
        said = [row.part, claim.notebook, claim.claim, claim.kind, claim.where, claim.published]
        numbers, long = (found[:4] if found else [None] * 4 for found in (row.ours, row.recorded))
        accepted = [None if math.isinf(end) else end for end in (claim.low, claim.high)]
        verdict = [row.verdict, reason(claim, row.recorded_verdict, row.recorded or row.ours), survives.get(row.id)]
        lines.append([*said, *numbers, claim.unit, *accepted, claim.bar, *verdict, *long, row.recorded_verdict])
    return pd.DataFrame(lines, columns=columns, dtype=object)


def published(claim: Claim) -> float | None:
    """The published number in the claim's own unit, or None unless the text is one number and nothing else.

    Example:
        >>> claim = Claim("x", "gap", "It overfits", "size", "table 1", "gap .678", "gap", 0.5, 0.7, "its bound")
        >>> published(claim), published(claim._replace(published=".678 to .006"))
        (0.678, None)
    """
    if "published" in claim.unit:  # a number relative to the published one
        return 1.0 if claim.unit == "times the published" else None
    found = NUMBER.fullmatch(claim.published)
    return float(found[1].replace("−", "-")) if found else None


def ends(claim: Claim) -> str:
    """Which ends the accepted range has: ``both``, ``low`` or ``high``."""
    return "high" if math.isinf(claim.low) else "low" if math.isinf(claim.high) else "both"


def positions(claim: Claim, ours: Estimate, recorded: Estimate | None = None) -> list[dict[str, float]]:
    """Our value, the ends of its interval and the published number in units of the accepted range: inside is 0 to 1.

    Beside them, if there is one, those of the recorded run in the same units.

    A range with one end has no width, so its unit is the distance from that end to the farthest of our three numbers:
    such a row says on which side of the border the interval lies, and how far in lengths of its own. A range from
    ``low`` up has its border at 0, one up to ``high`` at 1.
    """
    runs = [ours, recorded] if recorded else [ours]
    columns = [{"value": run.value, "low": run.low, "high": run.high} for run in runs]
    columns[0]["published"] = published(claim)
    border = claim.high if ends(claim) == "high" else claim.low
    unit = claim.high - claim.low
    if ends(claim) != "both":
        unit = max(abs(end - border) for run in runs for end in run[:3]) or 1.0
    origin = border - unit if ends(claim) == "high" else border
    return [{name: (value - origin) / unit for name, value in run.items() if value is not None} for run in columns]


def mark(position: float) -> Mark:
    """Where a position is drawn: the accepted range from 35 % to 65 % of the width, with margins of 5 % at the ends.

    Example:
        >>> mark(0.5), mark(7.0)
        (Mark(x=50.0, beyond=0), Mark(x=95.0, beyond=1))
    """
    low, high = WINDOW
    inside = min(max(position, low), high)
    return Mark(round(5 + 90 * (inside - low) / (high - low), 2), (position > high) - (position < low))


def page(template: str, listed: Sequence[Row]) -> str:
    """The page as Markdown with rows in HTML; what comes from claims and runs is escaped."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.globals |= {"claims": claims, "ends": ends, "mark": mark, "number": number, "positions": positions}
    environment.globals |= {"reason": reason, "change": change}
    by_section = {}
    for row in listed:
        by_section.setdefault(row.part, {}).setdefault(row.claim.notebook, []).append(row)
    survives = corrected(listed)
    decided = [row for row in listed if row.id in survives and row.verdict != "undecided"]
    long = any(row.recorded or (row.ours and not row.here) for row in listed)
    data = {"long": counts(listed, "recorded_verdict") if long else {}, "here": any(row.here for row in listed)}
    data |= {"rows": listed, "counts": counts(listed), "parts": by_section, "decided": decided}
    data["moved"] = [row for row in listed if row.recorded and row.verdict != row.recorded_verdict]
    data["alone"] = [row for row in decided if not survives[row.id]]
    return environment.from_string(template).render(data)
