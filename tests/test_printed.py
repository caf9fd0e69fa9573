"""The book on paper: one document without folds, and what Chromium makes of it."""

import io
import shutil

import pytest
from bs4 import BeautifulSoup
from chromium import find_chromium, static_page

from lib.study import pages, parameters, printed, recorded
from lib.study.parameters import Refused

SECTION = "line_densities"


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    """The pages of one recorded run."""
    section = recorded.read(SECTION)
    return pages.render_one((section.job, section.record), tmp_path_factory.mktemp("html") / "html").parents[1]


PARTS = [("Before", ["book/notation", "book/prerequisites"]), ("A part", [f"notebooks/{SECTION}"])]


@pytest.fixture(scope="module")
def document(html):
    return BeautifulSoup(printed.document(html, PARTS), "html.parser")


def test_the_parts_of_the_book_on_paper_are_those_of_its_contents():
    names = [name for _, chapters in printed.contents() for name in chapters]
    assert names[0] == "book/index"
    assert [name for name in names if name.startswith("notebooks/")] == [
        f"notebooks/{p.stem}" for p in parameters.notebooks()
    ]


def test_a_document_has_every_page_once_under_its_part(document):
    assert [article["id"] for article in document.select("article")] == [name for _, names in PARTS for name in names]
    assert [heading.text for heading in document.select("h1")] == ["Before", "A part"]
    assert len(document.select("h2")) == 3


def test_every_link_inside_leads_to_something_and_no_anchor_comes_twice(document):
    anchors = [element["id"] for element in document.select("[id]")]
    assert len(set(anchors)) == len(anchors)
    inside = [link["href"][1:] for link in document.select("a[href^='#']")]
    assert len(inside) > 5
    assert set(inside) - set(anchors) == set()


def test_nothing_is_folded_or_lost(document, html):
    assert [each for each in document.select("details") if "open" not in each.attrs] == []
    assert document.select("script:not([src*=mathjax])") == [
        each for each in document.select("script") if "MathJax" in (each.string or "")
    ]
    page = BeautifulSoup((html / "notebooks" / f"{SECTION}.html").read_text(), "html.parser")
    both = [found.select_one("article:has(img)") for found in (document, page)]
    for what in ("img", "table", ".math", ".admonition", "pre", ".feedback"):
        assert len(both[0].select(what)) == len(both[1].select(what)) > 0, what


@pytest.fixture(scope="module")
def paper(html, tmp_path_factory):
    find_chromium()
    before = sorted(path.name for path in (html / "book").iterdir())
    made = printed.pdf(html, SECTION, tmp_path_factory.mktemp("paper") / "section.pdf")
    assert sorted(path.name for path in (html / "book").iterdir()) == before
    return made.read_bytes()


def test_paper_has_bookmarks_for_every_part_page_and_heading(html, document, tmp_path):
    page = html / "book" / "print-test.html"
    page.write_text(str(document))
    printed.run(page, tmp_path / "parts.pdf", tmp_path / "profile")
    page.unlink()
    reader = pypdf((tmp_path / "parts.pdf").read_bytes())
    titles = [words(each.title) for each in flat(reader.outline)]
    assert titles == [words(heading.text) for heading in document.select("h1, h2, h3, h4")]
    assert [each.title for each in reader.outline if not isinstance(each, list)] == ["Before", "A part"]


def words(text):
    return " ".join(text.split())


def test_paper_has_page_numbers_and_what_the_page_folds(paper):
    texts = [page.extract_text() for page in pypdf(paper).pages]
    assert 8 < len(texts) < 40
    assert [text.split()[0] for text in texts] == [str(number) for number in range(1, len(texts) + 1)]
    whole = " ".join(" ".join(texts).split())
    for words in (
        "The division is one of coordinates",
        "Both rise, and the memorised model",
        "For teachers",
        "from lib.measures",
    ):
        assert words in whole, words
    assert "file://" not in whole
    assert "(CSV)" not in whole
    assert "Hide code cell" not in whole
    assert len(set(texts)) == len(texts)


def test_formulas_are_printed_in_their_own_fonts(paper):
    fonts = [font.get_object() for page in pypdf(paper).pages for font in page["/Resources"].get("/Font", {}).values()]
    names = " ".join(str(font.get("/FontDescriptor", {}).get("/FontName")) for font in fonts)
    assert "MathJax_Math-Italic" in names
    assert "MathJax_Main-Regular" in names


def pypdf(content):
    reader = pytest.importorskip("pypdf", reason="pip install pypdf looks into the PDF")
    return reader.PdfReader(io.BytesIO(content))


def flat(outline):
    for each in outline:
        yield from flat(each) if isinstance(each, list) else [each]


def test_of_many_models_paper_has_the_first_ten_and_what_all_have_come_to(chromium, tmp_path):
    """A row of 27 columns is wider than paper, which cuts off the end of it: the mean."""
    rows = ["".join(f"<td>{k}</td>" for k in range(count)) for count in (27, 13)]
    tables = "".join(f"<table><tr>{row}</tr></table>" for row in rows)
    page = chromium.new_page()
    page.goto(static_page(tmp_path, tables, "print.css").as_uri())
    shown = "cells => cells.filter((cell) => cell.checkVisibility()).map((cell) => +cell.textContent)"
    assert page.eval_on_selector_all("td", shown) == [*range(11), 25, 26, *range(13)]
    page.close()


def test_pages_that_are_not_there_and_no_browser_are_said(html, tmp_path, monkeypatch):
    with pytest.raises(Refused, match=r"decay\.html; make book or make read"):
        printed.pdf(html, "decay", tmp_path / "x.pdf")
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(Refused, match="needs Chromium"):
        printed.pdf(html, SECTION, tmp_path / "x.pdf")
    assert not (tmp_path / "x.pdf").exists()
