"""Cards: every term, symbol and equation has one, and a page shows it to hand and keyboard alike."""

import nbformat
import pytest

from lib.models.data import ROOT
from lib.study import cards, pages, recorded

TERMS, SYMBOLS = (
    dict(read((ROOT / "book" / name).read_text()))
    for read, name in ((cards.terms, "glossary.md"), (cards.symbols, "notation.md"))
)


def test_every_term_and_every_symbol_has_its_meaning():
    glossary = (ROOT / "book" / "glossary.md").read_text().partition("```{glossary}\n")[2].splitlines()
    names = {line for line in glossary if line and not line.startswith((" ", "`"))}
    assert set(TERMS) == names
    assert len(SYMBOLS) > 50
    meanings = [*TERMS.values(), *SYMBOLS.values()]
    assert [text for text in meanings if "{" in text.replace("\\(", "") and "`" in text] == []
    assert TERMS["sham"] == TERMS["sham model"]
    assert ": second difference" in SYMBOLS[r"\delta"]


def test_a_term_is_linked_once_and_only_in_sentences():
    sources = [
        "# A dip\n\nThe $dip$, `dip`, [dip](x.md), dips and {ref}`dip` of a VAE-3.\n\n:::{admonition} A dip\nA dip\n:::",
        "| dip |\n\n```\ndip\n```\n\n$$\ndip\n$$\n\nThe rank of a VAE, of a dip, and a {term}`sham`, a sham.",
    ]
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(source) for source in sources])
    cards.linked(page, ["dip", "VAE", "rank", "sham"])
    assert [cell.source for cell in page.cells] == [
        sources[0].replace("\nA dip\n", "\nA {term}`dip`\n"),
        sources[1].replace("of a VAE", "of a {term}`VAE`"),
    ]


@pytest.fixture
def page(chromium, tmp_path):
    """A recorded section on its own, from its file; nothing may go wrong."""
    section, trouble = recorded.read("start_and_length"), []
    path = pages.render_one((section.job, section.record), tmp_path / "html")
    opened = chromium.new_page(viewport={"width": 390, "height": 844})
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    opened.goto(path.as_uri())
    opened.wait_for_selector("mjx-container")
    yield opened
    opened.close()
    assert trouble == []


def test_a_symbol_shows_its_card_at_the_focus_and_under_the_pointer(page):
    card = page.locator("#card")
    symbols = page.locator(".symbol")
    texts = symbols.evaluate_all("all => all.map(each => each.querySelector('math')?.textContent)")
    assert len(texts) == len(set(texts)) > 0
    assert not card.is_visible()
    symbols.first.focus()
    assert card.is_visible()
    assert symbols.first.get_attribute("aria-describedby") == "card"
    assert card.get_attribute("role") == "tooltip"
    box = card.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    page.keyboard.press("Escape")
    assert not card.is_visible()
    symbols.last.hover()
    assert card.is_visible()
    card.hover()  # the pointer may go to the card
    page.wait_for_timeout(300)
    assert card.is_visible()
    page.mouse.move(0, 0)
    page.wait_for_timeout(300)
    assert not card.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
