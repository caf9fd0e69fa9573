"""The page of an audit: one folder that opens from a file, with the numbers as files beside it.

It takes the audit as plain data, as ``report.json`` has them, and pictures as arrays.
"""

import base64
import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2
import numpy as np
from markupsafe import Markup
from PIL import Image

from lib.measures.intervals import number
from lib.models.closure import ROOT
from lib.models.store import write_atomically
from lib.study import audit_drawings

TEMPLATES = ROOT / "book" / "_templates"
SIDE = 96
"""pixels of a picture's shorter side at least; smaller ones are enlarged by a whole factor"""
HEADS = ("What was found", "What was and what was not tested", "How sure that is")
SECTIONS = {
    "samples": "Samples",
    "decoder": "Decoder",
    "encoder": "Encoder",
    "log p": "Log probability",
    "several models": "Several models",
}


class Row(NamedTuple):
    """A training image and what belongs to it."""

    pictures: Mapping[str, np.ndarray]
    """by caption, ``[channels, height, width]`` in [0, 1]"""
    place: int
    """of the training image, among those given"""
    q: float
    ratio: float


def write(
    folder: Path,
    report: Mapping,
    most: Sequence[Row],
    least: Sequence[Row],
    lines: Iterable[Sequence],
    *,
    title: str,
    made: str,
) -> Path:
    """Write ``index.html``, ``report.json`` and, if there are lines, ``per_image.csv``.

    Args:
        folder: where to write; files of the same names are replaced.
        report: the audit as plain data.
        most: the most suspicious training images.
        least: as many of the least suspicious.
        lines: the table of all training images, names first.
        title: of the page.
        made: with what it was made, for the foot of the page.

    Returns:
        The page.
    """
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    table = folder / "per_image.csv"
    if text.getvalue():
        write_atomically(table, text.getvalue().encode())
    else:
        table.unlink(missing_ok=True)  # that of an earlier audit
    write_atomically(folder / "report.json", json.dumps({"title": title, **report}, indent=1, allow_nan=False).encode())
    page = render(report, most, least, title=title, made=made, listed=bool(text.getvalue()))
    write_atomically(folder / "index.html", page.encode())
    return folder / "index.html"


def render(report: Mapping, most: Sequence[Row], least: Sequence[Row], *, title: str, made: str, listed: bool) -> str:
    """The page as HTML; arguments as :func:`write`, and whether there is a table of all training images."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
        loader=jinja2.FileSystemLoader(TEMPLATES),
    )  # fmt: skip
    return environment.get_template("audit.html").render(
        title=title,
        made=made,
        listed=listed,
        seed=report["seed"],
        first=list(zip(HEADS, report["sentences"], strict=True)),
        notes=report["notes"],
        look="warn" if report["sides"]["differ"] else "note",
        pictures=_pictures(most, least),
        limits=[_limit(each) for each in report["limits"]],
        trials=max((each["trials"] for each in report["limits"]), default=0),
        power=Markup(audit_drawings.powers(report["limits"])),
        sections=[_section(each) for each in report["sections"]],
    )


def _pictures(most: Sequence[Row], least: Sequence[Row]) -> list[tuple[str, str, list[dict]]]:
    if not most:
        return []
    how = (
        "Ordered by the ratio of two distances: from the training image to the nearest sample, and to the nearest "
        "other image. q is the false discovery rate at which it would be named, from the same ratio of held-out images."
    )
    other = "For comparison: training images to which no sample is near."
    return [
        ("The most suspicious training images", how, [_row(row) for row in most]),
        ("The least suspicious ones", other, [_row(row) for row in least]),
    ]


def _row(row: Row) -> dict:
    pictures = [
        {"address": _address(picture), "caption": caption, "alt": f"{caption}, of training image {row.place}"}
        for caption, picture in row.pictures.items()
    ]
    return {"pictures": pictures, "text": f"training image {row.place}: q = {number(row.q)}, ratio {number(row.ratio)}"}


def _address(picture: np.ndarray) -> str:
    """A picture inside the page."""
    pixels = np.clip(np.rint(255 * np.moveaxis(picture, 0, -1)), 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels[..., :3])
    factor = max(1, -(-SIDE // min(image.size)))
    out = io.BytesIO()
    image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST).save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def _limit(limit: Mapping) -> dict:
    share = "not even if all are" if limit["share"] is None else f"{number(100 * limit['share'])} %"
    return {"kind": limit["kind"], "share": share, "copies": "–" if limit["copies"] is None else f"{limit['copies']:,}"}


def _section(section: Mapping) -> dict:
    return {
        "head": SECTIONS.get(section["access"], section["access"]),
        "skipped": section["skipped"],
        "joint": None if section["joint"] is None else f"p = {number(section['joint'])}",
        "alarms": None if (rate := section["false_alarms"]) is None else f"{_rate(rate)} of {rate['n']} shams",
        "notes": [*section["notes"], *_about(section)],
        "findings": [_finding(each) for each in section["findings"]],
    }


def _about(section: Mapping) -> Iterable[str]:
    """What is said of a section as a whole."""
    if section["added"] is not None:
        yield (
            "Real training images in place of the samples, each compared with the others: the samples prefer the "
            f"training side by more with p = {number(section['added'])}, by the first two tests. This counts where the "
            "two sides differ; how near samples come, the other two, depends on their blur as well."
        )
    if (limit := section["limit"]) is not None:
        seen = (
            "not even if all were"
            if limit["share"] is None
            else f"if they were {number(100 * limit['share'])} % of all"
        )
        yield (
            "Training images were planted in this decoder in rising number: it makes each of them exactly, from the "
            f"latents that were found for it and from latents about. They would have been seen {seen}, in 95 % of "
            f"{limit['trials']} trials."
        )


def _finding(finding: Mapping) -> dict:
    value, null, p = finding["value"], finding["null"], finding["p"]
    missing = f"; {value['missing']:,} had no number" if value["missing"] else ""
    band = "Chance is not known."
    if null is not None:
        band = f"The grey band is the null: {number(null[0])} to {number(null[1])}."
    test = "There is no test."
    if p is not None:
        test = f"p = {number(p)}, exact, by exchanges; {finding['suspicious']} is suspicious."
    if finding["noticed"] is not None:
        test += f" {number(finding['noticed'])} or more would have been seen in 95 % of cases."
    if finding["real"] is not None:
        real, added = _ends(finding["real"]), _ends(finding["added"])
        test += f" Real training images in place of the samples have {real}; the samples add {added}."
    return {
        "name": finding["name"],
        "unit": finding["unit"],
        "n": f"{value['n']:,}{missing}",
        "value": _ends(value),
        "strip": Markup(audit_drawings.strip(finding["name"], value, null)),
        "chance": f"{band} {test}",
        "reads": finding["reads"],
        "control": [] if finding["control"] is None else list(_control(finding["control"])),
    }


def _control(control: Mapping) -> Iterable[dict[str, str]]:
    """What a test says where the answer is known, in lines."""
    copies = {kind: f"samples that are all {kind} copies" for kind in audit_drawings.DASHES}
    if control["positive"]:
        p = "; ".join(f"{copies.get(kind, kind)}: p = {number(value)}" for kind, value in control["positive"].items())
        yield {"look": "muted", "text": f"Positive control. {p[0].upper()}{p[1:]}."}
    if control["blind"]:
        told = " and to ".join(copies.get(kind, kind) for kind in control["blind"])
        yield {"look": "warn", "text": f"Blind here to {told}."}
    if (rate := control["false_alarms"]) is None:
        return
    sham = f"Sham control: {_rate(rate)} of {rate['n']} random halves of the held-out images are flagged; 5 % are due."
    if control["published"] is not None:
        sham += f" The rule of the literature ({control['rule']}) flags {_rate(control['published'])}."
    yield {"look": "muted", "text": sham}


def _ends(value: Mapping) -> str:
    return f"{number(value['value'])} [{number(value['low'])}, {number(value['high'])}]"


def _rate(value: Mapping) -> str:
    return f"{number(100 * value['value'])} % [{number(100 * value['low'])}, {number(100 * value['high'])}]"
