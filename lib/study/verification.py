"""Check recorded results on another machine: the files, the numbers from their items, and some parts made once more."""

import importlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import t

from lib.measures.intervals import number
from lib.models import family, one_fold, store
from lib.models.fit import ended, fit
from lib.models.kfold import KFold
from lib.study import claims, items, recorded, tables
from lib.study.recorded import FOLDER, SUMS, Section

PLACE = "<!-- verification -->"
AGREE = 1e-9
"""relative difference up to which a number that is computed again is the same"""
LEVEL = 0.99
"""share of models of other seeds that a prediction interval holds"""
FEW = 0.05
"""relative difference that is consistent where too few models were recorded to know how much they differ"""


class Line(NamedTuple):
    """One line of a check."""

    section: str
    level: str
    """``files``, ``code``, ``numbers`` or ``part``"""
    good: bool
    said: str

    def __str__(self) -> str:
        return f"{self.section}: {self.level}: {self.said}"


def files(folder: Path = FOLDER) -> list[Line]:
    """Whether every recorded file is what the list of digests says, with every one that is not."""
    kept = (line.partition("  ") for line in (folder / SUMS).read_text(errors="replace").splitlines())
    listed = {name: digest for digest, _, name in kept}
    found, lines = recorded.sums(folder), []
    for name in sorted({*listed, *found}):
        if name not in found or name not in listed:
            lines.append(Line(_section(name), "files", False, f"{name} is {'missing' if name in listed else 'extra'}"))
        elif found[name] != listed[name]:
            lines.append(Line(_section(name), "files", False, f"{name} is not what {SUMS} has: {found[name][:16]}"))
    damaged = {line.section for line in lines}
    whole = {_section(name) for name in listed} - damaged
    return sorted(lines + [Line(name, "files", True, f"as {SUMS} has them") for name in whole])


def numbers(section: Section) -> list[Line]:
    """Whether every estimate, interval and verdict follows from the items, with every one that does not."""
    name, record = section.job.notebook.stem, section.record
    values = claims.estimates(record)
    try:
        again = items.again(store.read_regular(section.job.items), values)
    except ValueError as error:
        return [Line(name, "numbers", False, f"the items cannot be used: {error}")]
    lines = [
        Line(name, "numbers", False, f"{value} is {again.made[value]} from its items, recorded is {values[value]}")
        for value in again.made
        if not _agree(again.made[value], values[value])
    ]
    decided = {**values, **again.made}
    for address, claim in claims.by_id(name).items():
        then, now = record["recorded"]["verdicts"].get(address), claims.verdict(claim, decided)
        if then != now:
            lines.append(Line(name, "numbers", False, f"{address}: {now}, recorded as {then or 'no claim'}"))
    said = f"{len(again.made)} estimates with intervals and verdicts again from their items, {len(again.given)} without"
    return lines or [Line(name, "numbers", True, said)]


def code(section: Section) -> Line:
    """Whether the code is that of the recording, with every part that is not."""
    changed = ", ".join(section.changed)
    said = f"{changed}: not as recorded" if changed else "as recorded"
    return Line(section.job.notebook.stem, "code", not changed, said)


def parts(section: Section, count: int, scratch: Path, rng: random.Random) -> Iterator[Line]:
    """Fit some of the recorded models once more, drawn at random, and say how far they are from what was recorded.

    *same*: the losses end at the same numbers, to the last bit; *consistent*: within the interval that holds 99 % of
    models of other seeds, as far as those that were recorded tell (of fewer than three, within 5 %); *differs*: not.

    Args:
        section: the recorded section.
        count: how many; at most all.
        scratch: an empty folder for the fits.
        rng: what draws them.
    """
    name, fits = section.job.notebook.stem, section.record["fits"]
    for used in rng.sample(fits, min(count, len(fits))):
        torch.set_num_threads(used["machine"]["threads"])
        dataset = items.called(used["again"])
        if dataset.digest != used["data"]:
            yield Line(name, "part", False, f"{dataset.name} is not the same data here: SHA-256 {dataset.digest[:16]}")
            continue
        others = [other["ended"] for other in fits if _alike(other, used)]
        spec, what, then = specification(used), used["family"], used["ended"]
        if isinstance(spec, KFold):  # one model of a repeat, beside all folds of all repeats
            fold = rng.randrange(spec.folds)
            what, then = f"fold {fold} of a {what}", _by_fold(then, spec)[fold]
            others = [ends for each in others for ends in _by_fold(each, spec)]
            losses = one_fold.losses(spec, fold, dataset, "cpu")
        else:
            losses = fit([spec], dataset, "cpu", folder=scratch)[0].losses
        said = placed(now := ended(losses), then, others)
        ends = f"its losses end at {_listed(now)}, recorded at {_listed(then)}"
        options = ", ".join(f"{key} {value}" for key, value in used["spec"].items())
        yield Line(name, "part", said != "differs", f"{said}: {what} ({options}): {ends}")


def _by_fold(ends: Sequence[float], spec: KFold) -> list[list[float]]:
    """Where the training and the test loss of each model of a repeat ended."""
    return np.reshape(ends, (2, spec.folds)).T.tolist()


def placed(again: Sequence[float], then: Sequence[float], others: Sequence[Sequence[float]]) -> str:
    """``same``, ``consistent`` or ``differs``: numbers beside those of the same model, and of models like it.

    Example:
        >>> placed([1.02], [1.0], [[1.0], [0.9], [1.1], [1.05]]), placed([2.0], [1.0], [[1.0], [0.9], [1.1]])
        ('consistent', 'differs')
    """
    new, old, known = np.array(again), np.array(then), np.array(others)
    if np.array_equal(new, old):
        return "same"
    reach = FEW * np.abs(old)
    if (count := len(known)) > 2:
        reach = t.ppf((1 + LEVEL) / 2, count - 1) * known.std(0, ddof=1) * (1 + 1 / count) ** 0.5
        old = known.mean(0)
    return "consistent" if (np.abs(new - old) <= reach).all() else "differs"


def specification(used: Mapping[str, object]) -> family.Spec:
    """The specification of a recorded fit.

    Raises:
        ValueError: a family or a field that there is not.
    """
    for path in sorted(Path(family.__file__).parent.glob("*.py")):
        importlib.import_module(f"lib.models.{path.stem}")
    known = {kind.__name__: kind for kind in _below(family.Spec)}
    try:
        return known[used["family"]](**used["spec"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"no family fits {used['family']} {used['spec']}: {error}") from None


def with_lines(text: str) -> str:
    """A text in which ``<!-- verification -->`` is what :mod:`lib.recording` kept of its last check."""
    path = FOLDER / "verification.json"
    if not path.exists():
        return text.replace(PLACE, "Nothing was kept.")
    kept = json.loads(path.read_text())
    cells = [
        (f"`{line['section']}`", line["level"], "✔" if line["good"] else "✘", line["said"]) for line in kept["lines"]
    ]
    where = f"{kept['date'][:10]}, on {kept['cores']} cores of {kept['processor']}, commit `{kept['commit']}`:"
    return text.replace(PLACE, f"{where}\n\n{tables.markdown(tables.rows(('section', 'level', '', 'found'), cells))}")


def _below(kind: type) -> list[type]:
    return [each for direct in kind.__subclasses__() for each in (direct, *_below(direct))]


def _alike(one: Mapping, other: Mapping) -> bool:
    """The same but for the seed and the number of the repeat."""
    plain = [{k: v for k, v in used["spec"].items() if k not in ("seed", "repeat")} for used in (one, other)]
    return one["family"] == other["family"] and plain[0] == plain[1]


def _listed(ends: Sequence[float]) -> str:
    return ", ".join(f"{number(end)}" for end in ends)


def _agree(one: tuple, other: tuple) -> bool:
    return bool(np.allclose(one[:5], other[:5], rtol=AGREE, atol=AGREE))


def _section(name: str) -> str:
    return Path(name).name.partition(".")[0]
