"""Plans for teaching: sessions whose minutes add up, with what the computer was measured to take for each section."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import yaml

from lib.models.data import ROOT
from lib.study import lessons, parameters, tables
from lib.study.lessons import Lesson

COLUMNS = ("from", "what", "minutes", "computer, minutes")


class Step(NamedTuple):
    """Something that takes a part of a session."""

    what: str
    """``teach``, ``exercise`` or ``other``"""
    name: str
    """the section, or what else it is"""
    minutes: int


class Session(NamedTuple):
    """What is done without going home between."""

    name: str
    minutes: int
    steps: list[Step]
    reading: str = ""
    """a key of the references"""

    def ends(self) -> int:
        """The minute at which its last step ends."""
        return sum(step.minutes for step in self.steps)


Records = Mapping[str, Mapping]
"""records of runs by section"""


def plans(known: Mapping[str, Lesson]) -> dict[str, list[Session]]:
    """The plans of ``book/plans.yml`` by name.

    Args:
        known: the lessons, whose minutes are those of the steps.

    Raises:
        ValueError: a session whose steps do not add up to its minutes, by name.
    """
    found = {}
    for plan in yaml.safe_load((ROOT / "book" / "plans.yml").read_text()):
        found[plan["name"]] = [_session(entry, known) for entry in plan["sessions"]]
    return found


def _session(entry: dict, known: Mapping[str, Lesson]) -> Session:
    steps = [_step(step, known) for step in entry["steps"]]
    session = Session(**{**entry, "steps": steps})
    if session.ends() != session.minutes:
        raise ValueError(f"{session.name}: the steps take {session.ends()} minutes, the session {session.minutes}")
    return session


def _step(entry: dict, known: Mapping[str, Lesson]) -> Step:
    if "other" in entry:
        return Step("other", entry["other"], entry["minutes"])
    what, name = next(iter(entry.items()))
    return Step(what, name, known[name].teaching if what == "teach" else known[name].exercise)


def measured(name: str, records: Records, recorded: Records) -> str:
    """What a section took, in minutes: in this build, or as it was recorded, which says so.

    Example:
        >>> measured("decay", {"decay": {"seconds": 30.0}}, {}), measured("decay", {}, {"decay": {"seconds": 600}})
        ('0.5', '10 (recorded)')
        >>> measured("decay", {}, {})
        'not measured'
    """
    if name in records:
        return tables.cell(records[name]["seconds"] / 60)
    return f"{tables.cell(recorded[name]['seconds'] / 60)} (recorded)" if name in recorded else "not measured"


def page(text: str, records: Records, recorded: Records, *, mistakes: bool = True) -> str:
    """The page on teaching: lessons, plans and mistakes in their places.

    Args:
        text: the page's Markdown.
        records: of this build.
        recorded: of the recorded runs, whose numbers come first where there are both.
        mistakes: whether to say what is usually got wrong, which answers exercises.
    """
    known = lessons.sections()
    sheets = [_plan(name, plan, records, recorded) for name, plan in plans(known).items()]
    made = {"lessons": _overview(known, records, recorded), "plans": "\n\n".join(sheets)}
    made["misconceptions"] = _mistakes(known, {**records, **recorded}) if mistakes else "In the instructors' edition."
    for place, part in made.items():
        text = text.replace(f"<!-- {place} -->", part)
    return text


def _overview(known: Mapping[str, Lesson], records: Records, recorded: Records) -> str:
    parts = []
    for caption, paths in parameters.parts().items():
        rows = [_line(path.stem, known[path.stem], records, recorded) for path in paths if path.stem in known]
        columns = ("section", "asks", "needs", "to teach, min", "exercise, min", "computer, min")
        parts += [f"### {caption}", tables.markdown(tables.rows(columns, rows))]
    return "\n\n".join(parts)


def _line(name: str, one: Lesson, records: Records, recorded: Records) -> Sequence[object]:
    needs = ", ".join(f"{{ref}}`{topic.replace('-', ' ')} <pre-{topic}>`" for topic in one.prerequisites)
    took = measured(name, records, recorded)
    return (f"{{doc}}`../notebooks/{name}`", " ".join(one.questions), needs, one.teaching, one.exercise, took)


def _plan(name: str, sessions: Sequence[Session], records: Records, recorded: Records) -> str:
    return "\n\n".join([f"### {name}", *(_sheet(session, records, recorded) for session in sessions)])


def _sheet(session: Session, records: Records, recorded: Records) -> str:
    """A session as a table with the clock, and the sums below."""
    clock, rows = 0, []
    for step in session.steps:
        page = f"{{doc}}`../notebooks/{step.name}`"
        what = step.name if step.what == "other" else page if step.what == "teach" else f"exercise of {page}"
        took = measured(step.name, records, recorded) if step.what == "exercise" else ""
        rows.append((f"{clock // 60}:{clock % 60:02}", what, step.minutes, took))
        clock += step.minutes
    reading = f" To read before: {{cite:t}}`{session.reading}`." if session.reading else ""
    table = tables.markdown(tables.rows(COLUMNS, rows))
    return f"**{session.name}.**{reading}\n\n{table}\n\n{_sum(session, records, recorded)}"


def _sum(session: Session, records: Records, recorded: Records) -> str:
    """What the minutes add up to, and which runs do not fit into the minutes of their exercise."""
    kinds = {"teach": "to teach", "exercise": "of exercises", "other": "of the rest"}
    sums = {words: sum(step.minutes for step in session.steps if step.what == what) for what, words in kinds.items()}
    said = (
        f"{' + '.join(f'{minutes} {words}' for words, minutes in sums.items() if minutes)} = {session.ends()} minutes."
    )
    known = {**recorded, **records}
    runs = {
        step: known[step.name]["seconds"] / 60
        for step in session.steps
        if step.what == "exercise" and step.name in known
    }
    late = [step for step, took in runs.items() if took > step.minutes]
    waits = [round(took, 1) for step, took in runs.items() if step not in late]
    if waits:
        total = f" = {sum(waits):.1f}" if len(waits) > 1 else ""
        said += f" In the exercises the computer takes {' + '.join(f'{one:.1f}' for one in waits)}{total}, measured."
    if late:
        pages = ", ".join(f"{{doc}}`../notebooks/{step.name}`" for step in late)
        said += f" Longer than its exercise, so to be run before: {pages}."
    return said


def _mistakes(known: Mapping[str, Lesson], records: Records) -> str:
    rows = []
    for name, one in known.items():
        found = lessons.values(records, name)
        rows += [(f"{{doc}}`../notebooks/{name}`", each.wrong, each.told(found, name)) for each in one.misconceptions]
    return tables.markdown(tables.rows(("section", *lessons.WRONG), rows))
