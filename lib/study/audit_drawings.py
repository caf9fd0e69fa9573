"""The drawings of an audit's page, as SVG that takes its colours from the page."""

import html
import math
from collections.abc import Mapping, Sequence

from lib.measures.intervals import number

WIDTH = 380
DASHES = {"exact": "", "blurred": "6 3", "noised": "2 3"}


def strip(name: str, value: Mapping, null: Sequence[float] | None) -> str:
    """A number with its interval over the band that chance gives.

    Args:
        name: of the number.
        value: with ``value``, ``low`` and ``high``.
        null: the ends of the band; None if it is not known.
    """
    ends = [value["low"], value["high"], value["value"], *(null or ())]
    low, high = min(ends), max(ends)
    room = 0.08 * (high - low) or 1.0

    def x(at: float) -> float:
        return round(10 + (WIDTH - 20) * (at - low + room) / (high - low + 2 * room), 1)

    said = f"{name}: {number(value['value'])}, interval {number(value['low'])} to {number(value['high'])}"
    band = ""
    if null is not None:
        said += f", chance {number(null[0])} to {number(null[1])}"
        band = f'<rect class="band" x="{x(null[0])}" y="6" width="{max(2, x(null[1]) - x(null[0])):.1f}" height="16"/>'
    return (
        f'<svg viewBox="0 0 {WIDTH} 40" role="img" aria-label="{html.escape(said)}">'
        f'<line class="axis" x1="10" x2="{WIDTH - 10}" y1="14" y2="14"/>{band}'
        f'<line class="interval" x1="{x(value["low"])}" x2="{x(value["high"])}" y1="14" y2="14"/>'
        f'<circle class="value" cx="{x(value["value"])}" cy="14" r="5"/>'
        f'<text x="10" y="37">{number(low)}</text><text x="{WIDTH - 10}" y="37" text-anchor="end">{number(high)}</text>'
        "</svg>"
    )


def powers(limits: Sequence[Mapping]) -> str:
    """How often planted copies were seen by their share, a curve for each kind; shares on a logarithmic axis."""
    if not limits:
        return ""
    least = min(point[0] for limit in limits for point in limit["power"])
    span = math.log(1 / least) or 1.0

    def x(share: float) -> float:
        return round(40 + (WIDTH - 60) * (1 + math.log(share) / span), 1)

    def y(power: float) -> float:
        return round(170 - 150 * power, 1)

    curves = "".join(
        f'<polyline fill="none" class="interval" stroke-dasharray="{DASHES.get(limit["kind"], "")}" points="'
        + " ".join(f"{x(share)},{y(power)}" for share, power in limit["power"])
        + '"/>'
        for limit in limits
    )
    ticks = [share for share in (0.0001, 0.001, 0.01, 0.1, 1.0) if share >= least]
    marks = "".join(
        f'<text x="{x(share)}" y="190" text-anchor="middle">{number(100 * share)} %</text>' for share in ticks
    )
    levels = "".join(f'<text x="34" y="{y(p) + 4}" text-anchor="end">{p:.0%}</text>' for p in (0.0, 0.5, 1.0))
    key = "".join(_key(limit["kind"], y(0.9 - 0.11 * row)) for row, limit in enumerate(limits))
    seen = "; ".join(
        f"{limit['kind']}: " + ("never 95 %" if limit["share"] is None else f"95 % at {number(100 * limit['share'])} %")
        for limit in limits
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} 200" role="img" aria-label="How often copies were seen. {html.escape(seen)}">'
        f'<line class="axis" x1="40" x2="{WIDTH - 20}" y1="170" y2="170"/>'
        f'<line class="axis" stroke-dasharray="2 4" x1="40" x2="{WIDTH - 20}" y1="{y(0.95)}" y2="{y(0.95)}"/>'
        f"{curves}{marks}{levels}{key}</svg>"
    )


def _key(kind: str, y: float) -> str:
    """A line of the legend."""
    dash = f'<line class="interval" stroke-dasharray="{DASHES.get(kind, "")}" x1="46" x2="76" y1="{y}" y2="{y}"/>'
    return f'{dash}<text x="82" y="{y + 4}">{html.escape(kind)}</text>'
