"""Whether another seed would say the same: how often intervals of two runs disagree, and which verdicts flip.

A 95 % interval of the right unit is disagreed with by another seed in about 5 % of the pairs. More often means that it
leaves out what differs between runs: an interval over the points of one model, say, for a claim about models.
"""

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from lib.measures.intervals import Estimate
from lib.models import store
from lib.study import claims, parameters, runs, tables

Records = Mapping[int, Mapping[str, dict]]
"""the records of runs by seed and section"""


def jobs(preset: str, sections: Sequence[str], seeds: Sequence[int]) -> dict[int, list[runs.Job]]:
    """The runs of sections by seed; those of the book where it is their own seed. All of the book if none is named."""
    names = sections or [job.notebook.stem for job in runs.jobs(preset, {})]
    paths = [parameters.find(name) for name in names]
    return {seed: [runs.job(path, preset, {"seed": str(seed)}) for path in paths] for seed in seeds}


def disagreement(first: Estimate, second: Estimate) -> float:
    r"""How far two estimates are apart, in units of what their 95 % intervals allow: one is on the border.

    .. math:: \frac{|a - b|}{\sqrt{h_a^2 + h_b^2}}

    where :math:`h` is the half of an interval that faces the other estimate; infinite where neither has one.

    Example:
        >>> disagreement(Estimate(0.0, -3.0, 3.0, 9), Estimate(10.0, 6.0, 14.0, 9))
        2.0
    """
    below, above = sorted((first, second))
    allowed = math.hypot(max(0.0, below.high - below.value), max(0.0, above.value - above.low))
    apart = above.value - below.value
    return apart / allowed if allowed else (math.inf if apart else 0.0)


def compare(records: Records) -> pd.DataFrame:
    """Every estimate that has an interval, a row each: its values by seed, and the pairs of seeds that disagree.

    Columns: ``section``, ``value``, ``seed N`` for every seed, ``pairs``, ``beyond`` (of these, disagreements beyond
    one), ``disjoint`` (intervals that do not meet) and ``worst`` (the largest disagreement).
    """
    found = []
    for section, value in _named(records):
        each = {seed: claims.estimates(sections[section]).get(value) for seed, sections in records.items()}
        known = [estimate for estimate in each.values() if estimate and estimate.low < estimate.high]
        pairs = [sorted(pair) for pair in itertools.combinations(known, 2)]
        if not pairs:
            continue
        apart = [disagreement(*pair) for pair in pairs]
        found.append(
            {
                "section": section,
                "value": value,
                **{f"seed {seed}": str(estimate) for seed, estimate in each.items()},
                "pairs": len(pairs),
                "beyond": sum(each > 1 for each in apart),
                "disjoint": sum(below.high < above.low for below, above in pairs),
                "worst": max(apart),
            }
        )
    columns = ["section", "value", *(f"seed {seed}" for seed in records), "pairs", "beyond", "disjoint", "worst"]
    return pd.DataFrame(found, columns=columns)


def verdicts(records: Records) -> pd.DataFrame:
    """Every claim, a row each: its verdicts by seed, whether they are all the same, and whether one flips.

    A verdict flips when one seed says yes and another no; one that is undecided with some seed has only changed.
    """
    found = []
    for section in dict.fromkeys(section for section, _ in _named(records)):
        for claim in claims.claims(section):
            values = {seed: claims.estimates(sections[section]) for seed, sections in records.items()}
            said = {f"seed {seed}": claims.verdict(claim, of) for seed, of in values.items()}
            different = set(said.values())
            found.append(
                {
                    "section": section,
                    "value": claim.value,
                    **said,
                    "changed": len(different) > 1,
                    "flipped": set(claims.KINDS[claim.kind]) <= different,
                }
            )
    return pd.DataFrame(
        found, columns=["section", "value", *(f"seed {seed}" for seed in records), "changed", "flipped"]
    )


def summary(estimates: pd.DataFrame, decided: pd.DataFrame) -> pd.DataFrame:
    """A row for every section and one for all: estimates, pairs beyond and disjoint, verdicts changed and flipped."""
    counts = estimates.groupby("section", sort=False)[["pairs", "beyond", "disjoint"]].sum()
    changes = decided.groupby("section", sort=False)[["changed", "flipped"]].sum()
    counts.insert(0, "estimates", estimates["section"].value_counts())
    changes.insert(0, "verdicts", decided["section"].value_counts())
    together = changes.join(counts, how="outer")[[*counts, *changes]].fillna(0).astype(int)
    together.loc["all"] = together.sum()
    shares = [tables.percent(row.beyond / row.pairs) if row.pairs else "–" for row in together.itertuples()]
    together.insert(3, "share", shares)
    return together.reset_index(names="section")


def write(records: Records, folder: Path) -> tuple[str, Path, Path]:
    """Write both tables and ``about.json`` into a folder; the summary as text, and the files of the tables."""
    frames = {"estimates": compare(records), "verdicts": verdicts(records)}
    files = [folder / f"{name}.csv" for name in frames]
    for file, frame in zip(files, frames.values(), strict=True):
        store.write_atomically(file, frame.to_csv(index=False).encode())
    commits = {record["commit"] for sections in records.values() for record in sections.values()}
    about = {"commits": sorted(commits), "seeds": list(records)}
    store.write_atomically(folder / "about.json", json.dumps(about).encode())
    return tables.markdown(summary(*frames.values())), *files


def with_tables(text: str, folder: Path) -> str:
    """A text in which ``<!-- stability NAME -->`` is the summary that is recorded in that sub-folder."""

    def table(place: re.Match) -> str:
        here = folder / place[1]
        if not here.is_dir():
            return "Not recorded."
        about = json.loads((here / "about.json").read_text())
        frames = (pd.read_csv(here / f"{name}.csv") for name in ("estimates", "verdicts"))
        commits, seeds = ", ".join(f"`{commit}`" for commit in about["commits"]), ", ".join(map(str, about["seeds"]))
        return f"Recorded at {commits}, seeds {seeds}:\n\n{tables.markdown(summary(*frames))}"

    return re.sub(r"<!-- stability (\w+) -->", table, text)


def _named(records: Records) -> list[tuple[str, str]]:
    """The sections that every seed has, with the names of their values, in order."""
    first, *others = records.values()
    common = [section for section in first if all(section in other for other in others)]
    return [(section, value) for section in common for value in first[section].get("values", {})]
