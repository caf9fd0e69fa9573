"""Every section is a lesson, plans add up, and what students get has no solution in it."""

import itertools
import re

import nbformat
import pytest

from lib.measures.intervals import Estimate
from lib.models.data import ROOT
from lib.study import audiences, claims, keys, lessons, parameters, plans, quizzes, recorded
from lib.study.exercises import CHECKS, check
from lib.study.lessons import Choice, Misconception, Question
from lib.study.plans import Session, Step

PATHS = parameters.notebooks()
NAMES = [path.stem for path in PATHS]


def notebook(name):
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


@pytest.mark.parametrize("name", NAMES)
def test_every_section_has_a_whole_lesson(name):
    content = notebook(name)
    one = lessons.lesson(name, content)
    assert one.questions[0].endswith("?")
    assert len(one.outcomes) >= 2
    assert len(one.key_points) >= 2
    assert 15 <= one.teaching <= 60
    assert 10 <= one.exercise <= 30
    assert (one.teaching % 5, one.exercise % 5) == (0, 0)
    topics = re.findall(r"^\(pre-([\w-]+)\)=\n## ", (ROOT / "book" / "prerequisites.md").read_text(), re.MULTILINE)
    needs = re.search(r"\*\*You need:\*\*(.*?)\*\*You get:\*\*", content.cells[0].source, re.DOTALL)[1]
    assert set(one.prerequisites) <= set(topics)
    assert set(re.findall(r"\{doc\}`(\w+)`", needs)) <= set(NAMES)
    assert all(check.name in CHECKS and "def my_" in check.begin for check in one.checks)
    for question in one.quiz:
        assert [choice.right for choice in question.choices].count(True) == 1
        assert all(choice.feedback for choice in question.choices)


def test_every_section_asks_three_to_five_questions():
    asked = {name: len(one.quiz) for name, one in lessons.sections().items()}
    assert list(asked) == NAMES
    assert {name: count for name, count in asked.items() if not 3 <= count <= 5} == {}


def disagrees(name, value, wanted):
    """Whether what was recorded of a value is not what the answer of a question says."""
    record = recorded.read(name).record
    found = lessons.values({name: record}, name)
    if isinstance(wanted, str):
        return claims.verdict(claims.by_id(name)[f"claim-{name}-{value}"], found) != wanted
    return not wanted[0] <= found[value].low <= found[value].high <= wanted[1]


def test_recorded_numbers_make_the_answers_right():
    sections = lessons.sections().items()
    asked = [(name, *each) for name, one in sections for question in one.quiz for each in question.by.items()]
    assert len(asked) > 30
    assert [each for each in asked if disagrees(*each)] == []
    assert disagrees("decay", "decay_memorised", [0, 1])  # it is negative
    assert disagrees("answers", "answers_twins", "undecided")  # it holds


def test_every_check_is_asked_for_in_one_section():
    asked = [check.name for one in lessons.sections().values() for check in one.checks]
    assert sorted(asked) == sorted(CHECKS)


@pytest.mark.parametrize("changed", [{"key_points": []}, {"unknown": 1}, {"minutes": {"teaching": 3}}])
def test_a_lesson_that_lacks_something_is_refused(changed):
    content = notebook("decay")
    content.metadata["lesson"].update(changed)
    with pytest.raises(ValueError, match="a lesson needs"):
        lessons.lesson("decay", content)


@pytest.mark.parametrize(
    "fact",
    [
        {"fact": "It is not so.", "refutes": [0, 1]},
        {"fact": "It is [[no_such_value]].", "refutes": [0, 1]},
        {"fact": "It is [[decay_memorised]]."},
        {"fact": "It is 12345.", "cell": "04-24b"},
        {"fact": "It is −2.04.", "cell": "no-such-cell"},
    ],
)
def test_a_misconception_needs_a_number_of_its_section(fact):
    content = notebook("decay")
    content.metadata["lesson"]["misconceptions"] = [{"wrong": "x", **fact}]
    with pytest.raises(ValueError, match="no number of the section refutes: x"):
        lessons.lesson("decay", content)


def test_recorded_numbers_refute_what_is_usually_got_wrong():
    for name, section in recorded.sections().items():
        found = lessons.values({name: section.record}, name)
        one = lessons.lesson(name, notebook(name))
        assert [each.wrong for each in one.misconceptions if "do not decide" in each.told(found)] == [], name
        assert [each.wrong for each in one.misconceptions if "(not run)" in each.told(found)] == [], name


def test_a_misconception_is_told_with_the_numbers_of_the_run():
    one = Misconception("x", "It is [[dip]].", [1, None])
    assert one.told({}) == "It is (not run)."
    assert one.told({"dip": Estimate(3.0, 2.0, 4.0, 9)}) == "It is 3 [2, 4]."
    said = one.told({"dip": Estimate(3.0, 0.0, 4.0, 9)})
    assert said.endswith("*The numbers shown here do not decide this: `dip` would have to lie above 1.*")


def test_a_lesson_is_no_part_of_what_a_run_depends_on(tmp_path):
    """So that recorded results stay those of the notebook."""
    content = notebook("decay")
    plain, path = keys.made_with(ROOT / "notebooks" / "decay.ipynb"), tmp_path / "decay.ipynb"
    del content.metadata["lesson"]
    nbformat.write(content, path)
    assert keys.made_with(path) == plain


def test_the_minutes_of_every_plan_add_up():
    known = lessons.sections()
    made = plans.plans(known)
    totals = {name: sum(session.minutes for session in sessions) for name, sessions in made.items()}
    assert totals == {"One hour": 60, "Three hours": 180, "A day": 360, "A seminar of twelve weeks": 12 * 90}
    assert len(made["A seminar of twelve weeks"]) == 12
    for session in (session for sessions in made.values() for session in sessions):
        parts = [known[step.name].teaching if step.what == "teach" else step.minutes for step in session.steps]
        assert sum(parts) == session.minutes == session.ends()
    keys_ = {session.reading for sessions in made.values() for session in sessions if session.reading}
    references = (ROOT / "book" / "references.bib").read_text()
    assert [key for key in keys_ if f"{{{key}," not in references] == []


def test_the_steps_of_a_lesson_take_its_minutes_and_stand_in_the_notes():
    for name, one in lessons.sections().items():
        minutes = [step for step, _ in one.course]
        assert min(minutes) >= 1, name
        assert sum(minutes) == one.teaching + one.exercise, name
        assert one.teaching in itertools.accumulate(minutes), name  # where the exercise begins
        assert all(what for _, what in one.course), name
        notes = lessons.notes(name, one, {}, "1")
        assert f"| {sum(minutes) - minutes[-1]} to {sum(minutes)} " in notes


@pytest.mark.parametrize("plan", ["One hour", "Three hours"])
def test_a_plan_adds_up_from_the_steps_of_its_sections_and_the_minutes_that_were_measured(plan):
    """Down to steps; and where the computer is waited for, it is for what was measured, within the exercise's minutes."""
    known, kept = lessons.sections(), {name: section.record for name, section in recorded.sections().items()}
    (session,) = plans.plans(known)[plan]
    steps = []
    for step in session.steps:
        if step.what == "other":
            steps.append(step.minutes)
            continue
        course = [minutes for minutes, _ in known[step.name].course]
        begun = list(itertools.accumulate(course)).index(known[step.name].teaching) + 1
        steps += course[:begun] if step.what == "teach" else course[begun:]
    assert len(steps) >= 10
    assert sum(steps) == session.minutes
    took = {step.name: kept[step.name]["seconds"] / 60 for step in session.steps if step.what == "exercise"}
    room = {step.name: step.minutes for step in session.steps if step.what == "exercise"}
    sheet = plans._sheet(session, {}, kept)
    for name, minutes in took.items():
        assert (f"before: {{doc}}`../notebooks/{name}`" in sheet) == (minutes > room[name])
    waits = [round(minutes, 1) for name, minutes in took.items() if minutes <= room[name]]
    said = re.search(r"In the exercises the computer takes ([\d. +]+)(?: = ([\d.]+))?, measured", sheet)
    assert [float(one) for one in said[1].split(" + ")] == waits
    assert float(said[2] or said[1]) == pytest.approx(sum(waits))


def test_minutes_that_are_shared_out_add_up_and_follow_the_words():
    assert lessons.shared(30, [0, 10, 90]) == [1, 4, 25]
    cells = [nbformat.v4.new_markdown_cell("# Title\n\nTwo words\n\n## Part\n\nsix words in this part here\n")]
    cells += [nbformat.v4.new_code_cell("seen = 1"), nbformat.v4.new_code_cell("x", metadata={"tags": ["hide-input"]})]
    cells += [
        nbformat.v4.new_markdown_cell(":::{admonition} Exercise\nDo it\n:::\n:::{admonition} Solution\nDone\n:::")
    ]
    made = lessons.course(nbformat.v4.new_notebook(cells=cells), 17, 5)
    assert made == [[5, "The claim under test"], [12, "*Part*"], [5, "The exercise"]]


@pytest.mark.parametrize(
    ("name", "asked"), [(each.name, one.checks) for one in lessons.sections().values() for each in one.checks]
)
def test_what_teachers_are_given_as_correct_is(name, asked):
    namespace = {}
    for each in asked:  # one of a section may use those before it
        exec(each.correct, namespace)
        if each.name == name:
            break
    assert check(name, namespace[re.search(r"def (\w+)", each.begin)[1]], "ada").verdict == "correct"


def test_a_session_that_does_not_add_up_is_refused_by_name():
    entry = {"name": "Week 1", "minutes": 61, "steps": [{"teach": "decay"}, {"exercise": "decay"}]}
    with pytest.raises(ValueError, match="Week 1: the steps take 60 minutes, the session 61"):
        plans._session(entry, lessons.sections())


def test_a_sheet_has_the_clock_the_measured_minutes_and_the_sum():
    session = Session("A", 60, [Step("teach", "decay", 40), Step("exercise", "decay", 20)])
    sheet = plans._sheet(session, {"decay": {"seconds": 90.0}}, {})
    assert re.search(r"0:40 +\| exercise of {doc}`../notebooks/decay` +\| +20 \| 1.5", sheet)
    assert sheet.endswith(
        "40 to teach + 20 of exercises = 60 minutes. In the exercises the computer takes 1.5, measured."
    )
    late = plans._sheet(session, {}, {"decay": {"seconds": 1500.0}})
    assert late.endswith("Longer than its exercise, so to be run before: {doc}`../notebooks/decay`.")


def test_the_page_on_teaching_has_every_section_and_every_plan():
    kept = {name: section.record for name, section in recorded.sections().items()}
    text = plans.page((ROOT / "book" / "teaching.md").read_text(), {}, kept)
    assert "<!--" not in text
    assert all(f"{{doc}}`../notebooks/{name}`" in text for name in NAMES)
    assert all(f"### {name}\n" in text for name in plans.plans(lessons.sections()))
    assert text.count("(recorded)") >= len(kept)


def test_a_quiz_is_native_and_does_not_always_have_the_right_answer_first():
    form = quizzes.form("x", [Question("Is $a<b$?", [Choice("yes", "Right.", right=True), Choice("no", "Look.")])])
    assert "\n\n" not in form
    assert form.count('type="radio" name="x-1"') == 2
    assert re.findall(r'class="feedback (\w+)"', form).count("right") == 1
    forms = {name: quizzes.form(name, one.quiz) for name, one in lessons.sections().items() if one.quiz}
    places = [
        re.findall(r"feedback (\w+)", part).index("right")
        for form in forms.values()
        for part in form.split("<legend>")[1:]
    ]
    assert len(set(places)) > 2


SENTENCE = re.compile(r"[A-Za-z][A-Za-z ,-]{34,}")
"""words in a row, which formulas, escapes and markup leave as they are"""


def sentences(name):
    """What the solutions of a section say, but for what its questions quote."""
    content = notebook(name)
    asked = "".join(cell.source for cell in content.cells)
    for text in audiences.solutions(content):
        asked = asked.replace(text, "")
    return {one for text in audiences.solutions(content) for one in SENTENCE.findall(text) if one not in asked}


@pytest.mark.parametrize("name", NAMES)
def test_students_get_no_solution(name):
    content = notebook(name)
    assert len(audiences.solutions(content)) >= 2
    assert len(sentences(name)) >= 2
    before = nbformat.writes(content)
    for made in (audiences.page, audiences.for_class):
        text = nbformat.writes(made(content, name, "students", {}, {}))
        assert [found for found in sentences(name) if found in text] == []
        assert "dropdown" not in text
        assert "Exercise" in text
        assert "Change this and predict" in text
        whole = nbformat.writes(made(content, name, "instructors", {}, {}))
        assert [found for found in sentences(name) if found not in whole] == []
        assert "For teachers" in whole
    assert nbformat.writes(content) == before


def test_functions_to_write_are_cells_of_the_notebook_and_text_of_the_page():
    content = notebook("decay")
    cells = audiences.for_class(content, "decay", "students", {}, {}).cells
    index = next(i for i, cell in enumerate(cells) if cell.id == "check-decay-b")
    assert 'check("decay-b", my_decay)' in cells[index].source
    assert [cell.source.startswith("## Check yourself") for cell in cells[:index]].count(True) == 1
    assert any("} Exercise" in cell.source for cell in cells[index:])
    page = audiences.page(content, "decay", "readers", {}, {})
    asked = next(cell for cell in page.cells if cell.id == "check-yourself")
    assert asked.cell_type == "markdown"
    assert 'check("decay-b", my_decay)' in asked.source
    assert page.cells[-1].source.startswith(":::{admonition} For teachers\n:class: dropdown")


@pytest.mark.parametrize("name", [name for name, one in lessons.sections().items() if one.checks])
def test_a_cell_to_write_in_runs_as_it_stands_and_says_what_is_missing(name):
    cells = audiences.for_class(notebook(name), name, "students", {}, {}).cells
    for cell in (cell for cell in cells if cell.id.startswith("check-") and cell.cell_type == "code"):
        *lines, call = cell.source.splitlines()
        namespace = {}
        exec("\n".join(lines), namespace)
        assert "NotImplementedError" in repr(eval(call, namespace))
