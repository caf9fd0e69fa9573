"""Everybody can use every page, and soon: what axe finds in both themes, what a page weighs, what waits for scrolling."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from chromium import AT_ONCE, in_turn, names, served

THEMES = ("light", "dark")
WORST = ("serious", "critical")
HEAVIEST = 3_000_000  # bytes
WEIGHT = """async () => {
  for (const image of document.images) image.loading = "eager";
  await Promise.all([...document.images].map((image) => image.decode()));
  const parts = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
  return parts.reduce((sum, part) => sum + part.encodedBodySize, 0);
}"""
LOOK = """() => ({
  figures: [...document.querySelectorAll("main figure img")].map((image) => image.loading),
  formulas: document.querySelectorAll("main .math").length,
  typeset: document.querySelectorAll("main .math mjx-container mjx-assistive-mml").length,
})"""
PREPARED = """addEventListener("load", () => {
  const still = document.createElement("style");
  still.textContent = "AT_ONCE";
  document.head.append(still);
  const seen = new Set(), others = [];
  for (const token of document.querySelectorAll(".highlight span")) {
    const place = token.closest("[class*=highlight-]")?.parentElement.className;
    const kind = `${token.className} in ${place}, ${token.checkVisibility()}`;
    if (seen.has(kind) || token.textContent.length < 2) others.push(token);
    else seen.add(kind);
  }
  for (const token of others) token.replaceWith(...token.childNodes);
});""".replace("AT_ONCE", AT_ONCE)
"""holds what moves, and leaves one word of each colour and place in the code of a page: their thousands are half of what
axe looks at.

Single characters have no contrast for axe, so none of them stands for its kind. All are looked at before the first is
replaced: after each change the page would be laid out again."""


def found(page, theme):
    """What axe finds in a theme; colours are all that differs in the dark."""
    page.emulate_media(color_scheme=theme)
    page.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=theme)
    rules = {"runOnly": ["color-contrast"]} if theme == "dark" else {}
    response = Axe().run(page, options={"resultTypes": ["violations"], **rules}).response
    return [
        (theme, one["id"], len(one["nodes"]), one["nodes"][0]["html"][:200])
        for one in response["violations"]
        if one["impact"] in WORST
    ]


@pytest.fixture(scope="module")
def opened(chromium, read_book):
    """A function that opens pages of the book that is made of recorded results."""
    with served(read_book) as address, chromium.new_context() as context:
        context.add_init_script(PREPARED)  # what scrolls can be focused 300 ms after the last change of a page

        def begin(name):
            page = context.new_page()
            page.goto(f"{address}/{name}", wait_until="commit")
            return page

        yield lambda *names: in_turn(names, begin)


@pytest.fixture(scope="module")
def visits(opened, read_book):
    """Of every page: what it looks like, what axe finds, and what it weighs with all of its images."""
    seen = {}
    for name, page in opened(*names(read_book)):
        problems = [problem for theme in THEMES for problem in found(page, theme)]
        seen[name] = page.evaluate(LOOK) | {"problems": problems, "bytes": page.evaluate(WEIGHT)}
    return seen


def test_axe_finds_nothing_serious_on_any_page_in_either_theme(visits):
    assert len(visits) > 40
    assert {name: seen["problems"] for name, seen in visits.items() if seen["problems"]} == {}


def test_axe_would_find_it(opened):
    """The control: a search that finds nothing on any page says nothing alone."""
    for _, page in opened("notebooks/decay.html"):
        page.evaluate("document.querySelector('main figure img').removeAttribute('alt')")
        page.add_style_tag(content="html[data-theme=dark] main p { color: #444 !important; }")
        page.add_style_tag(content="html[data-theme=light] main .highlight .n { color: #ccc !important; }")
        problems = [(theme, rule) for theme in THEMES for theme, rule, *_ in found(page, theme)]
    assert ("light", "image-alt") in problems
    assert ("dark", "color-contrast") in problems
    assert ("light", "color-contrast") in problems


def test_no_page_weighs_more_than_three_megabytes(visits):
    weights = {name: seen["bytes"] for name, seen in visits.items()}
    print(f"the heaviest page: {max(weights, key=weights.get)}, {max(weights.values()) / 1e6:.2f} MB")
    assert min(weights.values()) > 300_000  # they were weighed
    assert {name: weight for name, weight in weights.items() if weight > HEAVIEST} == {}


def test_figures_come_as_one_scrolls(visits):
    loading = [how for seen in visits.values() for how in seen["figures"]]
    assert len(loading) > 60
    assert set(loading) == {"lazy"}


def test_formulas_are_typeset_and_readable_aloud(visits):
    assert sum(seen["formulas"] for seen in visits.values()) > 500
    assert {name: seen for name, seen in visits.items() if seen["typeset"] < seen["formulas"]} == {}
