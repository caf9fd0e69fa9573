"""What a class gets: the students' edition as files, in which no solution is to be found, and what its command refuses."""

import functools
import json
import re

import pytest
import snowballstemmer
from bs4 import BeautifulSoup
from click.testing import CliRunner
from test_lessons import NAMES, sentences

from lib.__main__ import main
from lib.study import classes, pages, recorded
from lib.study.parameters import Refused

TEXTS = {".html", ".ipynb", ".js", ".json", ".txt", ".csv", ".md"}


@pytest.fixture(scope="module")
def students(tmp_path_factory):
    """The students' edition of what is recorded."""
    folder = tmp_path_factory.mktemp("class") / "students"
    assert classes.make([], recorded.sections(), "students", folder) == folder / "pages" / "index.html"
    return folder


def texts(folder):
    """What every file says, with spaces in place of line ends, by its path."""
    files = [path for path in folder.rglob("*") if path.suffix in TEXTS and "mathjax" not in path.parts]
    return {path.relative_to(folder).as_posix(): " ".join(path.read_text().split()) for path in files}


def test_no_sentence_of_a_solution_is_in_any_file(students):
    found = texts(students)
    assert {name.rpartition(".")[2] for name in found} >= {"html", "ipynb", "js"}
    assert "pages/searchindex.js" in found
    assert "pages/_sources/notebooks/decay.ipynb" in found
    assert sum(len(sentences(name)) for name in NAMES) > 200
    leaks = {(name, one) for name in NAMES for one in sentences(name) for text in found.values() if one.strip() in text}
    assert leaks == set()


def test_the_same_search_finds_every_sentence_where_solutions_are(tmp_path):
    """The control: without it, a search that finds nothing says nothing."""
    section = recorded.read("line_densities")
    page = pages.render_one((section.job, section.record), tmp_path / "html")
    text = " ".join(BeautifulSoup(page.read_text(), "html.parser").get_text().split())
    assert [one for one in sentences("line_densities") if " ".join(one.split()) not in text] == []


def test_the_search_index_knows_no_word_that_only_solutions_have(students):
    stem = functools.cache(snowballstemmer.stemmer("porter").stemWord)

    def stems(text):
        return {stem(word) for word in re.findall(r"[a-z]{3,}", text.lower())}

    shown = set().union(*(stems(path.read_text()) for path in (students / "pages").rglob("*.html")))
    hidden = set().union(*(stems(one) for name in NAMES for one in sentences(name))) - shown
    assert len(hidden) > 20
    index = (students / "pages" / "searchindex.js").read_text()
    known = set(json.loads(index[index.index("{") : index.rindex("}") + 1])["terms"])
    assert len(known) > 1000
    assert hidden & known == set()


def test_students_have_a_notebook_of_every_recorded_section_with_its_exercise(students):
    made = {path.stem: path.read_text() for path in (students / "notebooks").glob("*.ipynb")}
    assert set(made) == set(recorded.sections())
    assert [name for name, text in made.items() if "{admonition} Exercise" not in text] == []
    assert [name for name, text in made.items() if '"misconceptions"' in text or "For teachers" in text] == []
    assert 'check(\\"decay-b\\", my_decay)' in made["decay"]


def test_students_pages_have_no_answers_of_teachers(students):
    teaching = (students / "pages" / "book" / "teaching.html").read_text()
    assert "In the instructors’ edition." in teaching
    assert "Three hours" in teaching


def test_an_edition_is_replaced_and_nothing_else_is(students, tmp_path, monkeypatch):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(Refused, match="not an edition for a class"):
        classes.make([], {}, "students", tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    monkeypatch.setattr(pages, "render", lambda *given: given[2] / "index.html")
    assert list((students / "notebooks").iterdir())
    classes.make([], {}, "instructors", students)
    assert not (students / "notebooks").exists()
    assert json.loads((students / classes.STAMP).read_text()) == {"for": "instructors"}


def test_the_command_wants_to_know_for_whom():
    run = CliRunner().invoke(main, ["class", "somewhere"], standalone_mode=True)
    assert run.exit_code == 2
    assert "--for" in run.output
    run = CliRunner().invoke(main, ["class", "--for", "everybody", "somewhere"])
    assert "students" in run.output
