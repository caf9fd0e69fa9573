"""One notebook for three audiences: readers, students, who get no solutions, and instructors, who get notes first."""

import copy
import re

import nbformat

from lib.study import claims, lessons, plans, quizzes
from lib.study.lessons import Check, Lesson
from lib.study.plans import Records

SOLUTION = re.compile(r"^:::\{admonition\} (?:Solution|Answer)\n.*?^:::\n?", re.MULTILINE | re.DOTALL)
EXERCISE = ":::{admonition} Exercise"
CALL = "from lib.study.exercises import check"


def solutions(notebook: nbformat.NotebookNode) -> list[str]:
    """What gives an exercise or a prediction away in a notebook: folded answers, and cells that compute them."""
    texts = [SOLUTION.findall(cell.source) if cell.cell_type == "markdown" else [] for cell in notebook.cells]
    return [text for found in texts for text in found] + [cell.source for cell in notebook.cells if _solves(cell)]


def without_solutions(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A notebook without what :func:`solutions` finds, and without its lesson, which has the answers of its quiz."""
    kept = copy.deepcopy(notebook)
    kept.metadata.pop("lesson", None)
    kept.cells = [cell for cell in kept.cells if not _solves(cell)]
    for cell in kept.cells:
        if cell.cell_type == "markdown":
            cell.source = SOLUTION.sub("", cell.source).rstrip()
    kept.cells = [cell for cell in kept.cells if cell.source]
    return kept


def _solves(cell: nbformat.NotebookNode) -> bool:
    return cell.get("metadata", {}).get("mystnb", {}).get("code_prompt_show", "").startswith("Solution")


def page(
    notebook: nbformat.NotebookNode, name: str, audience: str, records: Records, recorded: Records
) -> nbformat.NotebookNode:
    """A section as a page for an audience: with its quiz, and with notes for those who teach it.

    Args:
        notebook: the executed notebook, which is left as it is.
        name: the section.
        audience: ``readers``, ``students`` or ``instructors``.
        records: of this build.
        recorded: of the recorded runs, whose numbers come first where there are both.
    """
    one = lessons.lesson(name, notebook)
    made = without_solutions(notebook) if audience == "students" else copy.deepcopy(notebook)
    if one is None:
        return made
    if one.quiz or one.checks:
        _before_exercise(made, [_cell("check-yourself", _check_yourself(name, one))])
    if audience == "instructors":
        made.cells.insert(1, _cell("notes", _notes("tip", name, one, records, recorded)))
    elif audience == "readers":
        made.cells.append(_cell("notes", _notes("dropdown", name, one, records, recorded)))
    return made


def for_class(
    notebook: nbformat.NotebookNode, name: str, audience: str, records: Records, recorded: Records
) -> nbformat.NotebookNode:
    """The same as a notebook to work in: functions to write in cells of their own, each followed by its check."""
    one = lessons.lesson(name, notebook)
    made = without_solutions(notebook) if audience == "students" else copy.deepcopy(notebook)
    if one is None:
        return made
    cells = [cell for check in one.checks for cell in _to_write(check)]
    _before_exercise(made, cells and [_cell("check-yourself", "## Check yourself"), *cells])
    if audience == "instructors":
        made.cells.insert(1, _cell("notes", claims.unlinked(_notes("tip", name, one, records, recorded))))
    return made


def _before_exercise(notebook: nbformat.NotebookNode, cells: list[nbformat.NotebookNode]) -> None:
    """Insert cells before the exercise, also where it stands in a cell with something else before it."""
    index = next(i for i, cell in enumerate(notebook.cells) if EXERCISE in cell.source)
    cell = notebook.cells[index]
    before, _, after = cell.source.partition(EXERCISE)
    cell.source = EXERCISE + after
    first = [_cell("before-exercise", before.strip())] if before.strip() else []
    notebook.cells[index:index] = [*first, *cells]


def _check_yourself(name: str, one: Lesson) -> str:
    parts = ["## Check yourself"]
    if one.quiz:
        parts.append(quizzes.form(name, one.quiz))
    if one.checks:
        parts.append("Write it yourself, and let it be checked: it is *correct*, *almost*, or *still missing*.")
    return "\n\n".join([*parts, *(f"{check.task}\n\n```python\n{_begun(check)}\n```" for check in one.checks)])


def _begun(check: Check) -> str:
    function = re.search(r"def (\w+)", check.begin)[1]
    return f'{CALL}\n\n\n{check.begin}\n\n\ncheck("{check.name}", {function})'


def _to_write(check: Check) -> list[nbformat.NotebookNode]:
    code = nbformat.v4.new_code_cell(_begun(check), id=f"check-{check.name}")
    return [_cell(f"task-{check.name}", check.task), code]


def _notes(style: str, name: str, one: Lesson, records: Records, recorded: Records) -> str:
    found, minutes = lessons.values({**records, **recorded}, name), plans.measured(name, records, recorded)
    return (
        f":::{{admonition}} For teachers\n:class: {style} lesson-notes\n{lessons.notes(name, one, found, minutes)}\n:::"
    )


def _cell(name: str, source: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_markdown_cell(source, id=name)
