"""Cards: every term, symbol and equation has one, and a page shows it to hand and keyboard alike."""

import json

import nbformat
import pytest
from chromium import watch

from lib.measures.intervals import Estimate
from lib.models.data import ROOT
from lib.study import cards, claims, pages, recorded, scorecard

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
        '<form class="quiz">\n<label>Of which seed?</label>\n</form>\n\nOf this seed.',
    ]
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(source) for source in sources])
    cards.linked(page, ["dip", "VAE", "rank", "seed", "sham"])
    assert [cell.source for cell in page.cells] == [
        sources[0].replace("\nA dip\n", "\nA {term}`dip`\n"),
        sources[1].replace("of a VAE", "of a {term}`VAE`"),
        sources[2].replace("this seed", "this {term}`seed`"),
    ]


def test_a_claim_says_its_sentence_its_range_what_was_published_and_what_this_edition_finds():
    one = claims.by_id("decay")["claim-decay-decay_memorised"]
    ours, other = Estimate(-2.0, -2.5, -1.5, 9), Estimate(-1.0, -2.0, 1.0, 9)
    row = scorecard.Row("x", "id", one, ours, "reproduced", other, "undecided", here=True)
    said = cards.claim(row)
    accepted = claims.accepted(one).replace("<", "&lt;")
    assert [part in said for part in (one.claim, one.published, accepted)] == [True] * 3
    assert (
        f"this build: −2 [−2.5, −1.5] {one.unit}, ✔ reproduced<br>recorded: −1 [−2, 1] {one.unit}, ? undecided" in said
    )
    missing = cards.claim(row._replace(ours=None, recorded=None, here=False, verdict="not run"))
    assert missing.endswith("<br>– not run")
    assert "&lt;b&gt;" in cards.claim(row._replace(claim=one._replace(claim="<b>")))


def test_a_number_of_a_text_is_linked_to_its_claim_and_unlinked_where_there_is_no_scorecard():
    addresses = claims.addresses(["decay", "no_such_section"])
    linked = claims.linked("−2", addresses["decay_memorised"])
    assert linked == '<a href="../book/scorecard.html#claim-decay-decay_memorised">−2</a>'
    assert claims.linked("−2", addresses.get("unknown")) == "−2"
    assert claims.unlinked(json.dumps([linked, linked])) == '["\\u22122", "\\u22122"]'


CLAIMS_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>x</title><main>
<p>It is {}, and {}.</p></main><script src="said.js"></script><script src="cards.js"></script>"""


def test_a_claims_card_opens_at_focus_and_pointer_as_a_term_does(chromium, tmp_path):
    section = recorded.read("decay")
    rows = scorecard.rows({}, {"decay": section.record})
    (tmp_path / "said.js").write_text(cards.script("", "", [], rows))
    (tmp_path / "cards.js").write_text((ROOT / "book" / "_static" / "cards.js").read_text())
    two = [row for row in rows if row.ours][:2]
    file = tmp_path / "page.html"
    file.write_text(CLAIMS_PAGE.format(*(claims.linked(claims.written(row.ours), row.id) for row in two)))
    page = chromium.new_page()
    page.goto(file.as_uri())
    page.keyboard.press("Tab")
    card = page.locator("#card")
    assert two[0].claim.claim in card.inner_text()
    assert claims.VERDICTS[two[0].verdict] in card.inner_text()
    page.keyboard.press("Escape")
    assert not card.is_visible()
    page.locator("a").last.hover()
    assert two[1].claim.published in card.inner_text()
    page.close()


@pytest.fixture
def page(chromium, tmp_path):
    """A recorded section on its own, from its file; nothing may go wrong."""
    section, trouble = recorded.read("start_and_length"), []
    path = pages.render_one((section.job, section.record), tmp_path / "html")
    opened = chromium.new_page(viewport={"width": 390, "height": 844})
    watch(opened, trouble)
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
