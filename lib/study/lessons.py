"""A section as a lesson: what it asks, what one can do afterwards, what it takes, and what is usually got wrong.

It stands in the notebook's own metadata under ``lesson``, which no run depends on, so words can change without a run.
"""

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import nbformat

from lib.measures.intervals import Estimate, number
from lib.study import claims, parameters, tables

VALUE = re.compile(r"\[\[([\w-]+)\]\]")
WRONG = ("usually got wrong", "what the section says")
OPTIONAL = {"checks": [], "quiz": [], "course": []}
FIRST = "The claim under test"
EXERCISE, PREDICT = "The exercise", "*Change this and predict*"
TASKS = {"Exercise": EXERCISE, "Solution": EXERCISE, "Change this and predict": PREDICT, "Answer": PREDICT}
"""what is to be done, by the titles of its parts"""
BEFORE = (
    "**Before:** run the section once, on the machine that will run it in class, so that its models are in the cache: "
    "`python -m lib run {name}`. For slides, add `?present` to the address of the page; there, `n` shows these notes, "
    "and `s` a solution."
)
NOT_REFUTED = " *The numbers shown here do not decide this: {name} would have to lie {where}.*"

Values = Mapping[str, Estimate]
"""the estimates of a section by name"""


class Misconception(NamedTuple):
    """What is usually got wrong, and the number that says so."""

    wrong: str
    fact: str
    """with numbers, or with ``[[value]]`` in the place of a value of the section"""
    refutes: tuple[float | None, float | None] | None = None
    """where the whole interval of the first value lies if it refutes; an end that is None is open"""
    cell: str = ""
    """of the notebook, that has the numbers of a fact without values"""

    def told(self, values: Values, section: str = "") -> str:
        """The fact with the numbers of a run, linked to claims of the section; where they do not refute, it says so."""
        claimed = claims.addresses([section])
        text = VALUE.sub(
            lambda place: claims.linked(claims.written(values.get(place[1])), claimed.get(place[1])), self.fact
        )
        if self.refutes is None:
            return text
        name = VALUE.search(self.fact)[1]
        low, high = claims.ends(self.refutes)
        ours = values.get(name)
        if ours is None or (low <= ours.low and ours.high <= high):
            return text
        return text + NOT_REFUTED.format(name=f"`{name}`", where=_range(low, high))


class Choice(NamedTuple):
    """One answer to choose."""

    text: str
    feedback: str
    right: bool = False


class Question(NamedTuple):
    """A question of which one answer is right."""

    question: str
    choices: list[Choice]
    by: Mapping[str, list[float] | str] = MappingProxyType({})
    """values of the section that make the answer right: where the whole interval lies, or the claim's verdict"""


class Check(NamedTuple):
    """A function to write, which :func:`lib.study.exercises.check` looks at."""

    name: str
    task: str
    begin: str
    """the first lines of the function"""
    correct: str
    """a function that is, for those who teach"""


class Lesson(NamedTuple):
    """A section as a lesson."""

    questions: list[str]
    outcomes: list[str]
    """what one can do afterwards"""
    prerequisites: list[str]
    """topics of ``book/prerequisites.md``"""
    teaching: int
    """minutes, as the authors estimate"""
    exercise: int
    key_points: list[str]
    misconceptions: list[Misconception]
    checks: list[Check]
    quiz: list[Question]
    course: list[list]
    """minutes and what is done in them, in turn; see :func:`course` where nobody has planned it"""


def lesson(name: str, notebook: nbformat.NotebookNode) -> Lesson | None:
    """The lesson of the notebook of that name; None if it has none.

    Raises:
        ValueError: a field that is missing, unknown or empty, or a misconception without a number.
    """
    if "lesson" not in notebook.metadata:
        return None
    found = {**OPTIONAL, **notebook.metadata["lesson"]}
    wanted = {*Lesson._fields, "minutes"} - {"teaching", "exercise"}
    empty = {name for name, value in found.items() if not value} - OPTIONAL.keys()
    if set(found) != wanted or empty or set(found["minutes"]) != {"teaching", "exercise"}:
        raise ValueError(
            f"a lesson needs {', '.join(sorted(wanted))} and minutes of teaching and exercise; got {found}"
        )
    wrong = [Misconception(**each) for each in found["misconceptions"]]
    if unsupported := [each.wrong for each in wrong if not supported(each, name, notebook)]:
        raise ValueError(f"no number of the section refutes: {'; '.join(unsupported)}")
    quiz = [Question(**each | {"choices": [Choice(**choice) for choice in each["choices"]]}) for each in found["quiz"]]
    own = {"misconceptions": wrong, "quiz": quiz, "checks": [Check(**each) for each in found["checks"]]}
    minutes = found.pop("minutes")
    found["course"] = found["course"] or course(notebook, **minutes)
    return Lesson(**(found | minutes | own))


def course(notebook: nbformat.NotebookNode, teaching: int, exercise: int) -> list[list]:
    """Minutes for each part of a section, in proportion to the words to be read there, and for what is to be done.

    To be read are prose, captions and the code that is shown. What is to be done has its solution, to be talked about.
    """
    words, here = Counter(), FIRST
    for cell in notebook.cells:
        task = None
        for line in _read(cell):
            if cell.cell_type == "markdown" and line.startswith("## "):
                here = f"*{line[3:]}*"
            task = None if line == ":::" else TASKS.get(line.removeprefix(":::{admonition} "), task)
            words[task or here] += len(line.split())
    done = [task for task in (EXERCISE, PREDICT) if words[task]]
    both = (teaching, [part for part in words if part not in done]), (exercise, done)
    steps = (zip(shared(total, [words[name] for name in names]), names, strict=True) for total, names in both)
    return [list(step) for step in itertools.chain(*steps)]


def _read(cell: nbformat.NotebookNode) -> list[str]:
    if cell.cell_type == "markdown":
        return cell.source.splitlines()
    hidden = {"hide-input", "hide-cell", "remove-cell"} & set(cell.metadata.get("tags", []))
    caption = cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", "")
    return [caption, *([] if hidden else cell.source.splitlines())]


def shared(minutes: int, weights: Sequence[int]) -> list[int]:
    """Whole minutes that add up, at least one for each and the rest in proportion to weights.

    Example:
        >>> shared(10, [1, 1, 5])
        [2, 2, 6]
    """
    rest, ends = minutes - len(weights), itertools.accumulate(weights, initial=0)
    places = [round(rest * end / sum(weights)) for end in ends]
    return [1 + after - before for before, after in itertools.pairwise(places)]


def supported(misconception: Misconception, name: str, notebook: nbformat.NotebookNode) -> bool:
    """Whether the numbers of a fact are the section's: values of its claims or code, or numbers that a cell has."""
    names = VALUE.findall(misconception.fact)
    if names:
        code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
        claimed = {claim.value for claim in claims.claims(name)}
        listed = all(value in claimed or f'"{value}"' in code for value in names)
        return listed and misconception.refutes is not None and not misconception.cell
    text = next((cell.source for cell in notebook.cells if cell.id == misconception.cell), "")
    numbers = re.findall(r"−?\d[\d,.]*\d|\d", misconception.fact)
    return bool(numbers) and misconception.refutes is None and all(each in text for each in numbers)


def sections() -> dict[str, Lesson]:
    """The lessons of all notebooks that have one, in the order of the book."""
    found = {path.stem: lesson(path.stem, nbformat.read(path, as_version=4)) for path in parameters.notebooks()}
    return {name: each for name, each in found.items() if each}


def values(records: Mapping[str, dict], name: str) -> dict[str, Estimate]:
    """The estimates of one section; none if there is no record of it."""
    return claims.estimates(records.get(name, {}))


def notes(name: str, one: Lesson, found: Values, minutes: str) -> str:
    """What a teacher wants beside the page, as Markdown.

    Args:
        name: the section.
        one: the lesson.
        found: the numbers that refute.
        minutes: what the computer takes, as :func:`lib.study.plans.measured` says it.
    """
    needed = ", ".join(f"{{ref}}`pre-{topic}`" for topic in one.prerequisites)
    wrong = tables.rows(WRONG, [(w.wrong, w.told(found, name)) for w in one.misconceptions])
    return "\n\n".join(
        [
            f"**Minutes:** {one.teaching} to teach, {one.exercise} for the exercise; the computer: {minutes}.",
            BEFORE.format(name=name),
            f"**Questions:** {' '.join(one.questions)}",
            f"**Afterwards one can:**\n\n{_list(one.outcomes)}",
            f"**Needs:** {needed}.",
            f"**Key points:**\n\n{_list(one.key_points)}",
            _course(one.course),
            tables.markdown(wrong),
            *(f"Correct in `{check.name}`:\n\n```python\n{check.correct}\n```" for check in one.checks),
        ]
    )


def _course(steps: list[list]) -> str:
    """The steps of a lesson with the minutes at which they begin."""
    starts = itertools.accumulate((minutes for minutes, _ in steps), initial=0)
    rows = [(f"{start} to {start + minutes}", what) for start, (minutes, what) in zip(starts, steps, strict=False)]
    return tables.markdown(tables.rows(("minutes", "what"), rows))


def _list(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _range(low: float, high: float) -> str:
    if math.isinf(low):
        return f"below {number(high)}"
    return f"above {number(low)}" if math.isinf(high) else f"between {number(low)} and {number(high)}"
