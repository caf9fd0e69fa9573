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
STILL = f"""addEventListener("load", () => {{
  const still = document.createElement("style");
  still.textContent = "{AT_ONCE}";
  document.head.append(still);
}});"""
LOOK = """() => ({
  figures: [...document.querySelectorAll("main figure img")].map((image) => image.loading),
  formulas: document.querySelectorAll("main .math").length,
  typeset: document.querySelectorAll("main .math mjx-container mjx-assistive-mml").length,
})"""
COLOURS = ("color-contrast", "link-in-text-block")
"""rules about what text looks like: most of the time that axe needs, since it looks at every line of a page"""
KINDS = """(seen) => {
  const behind = new Map(), kinds = new Set(seen);
  const ground = (element) => {
    if (!element) return "";
    if (!behind.has(element)) {
      const { backgroundColor, backgroundImage, opacity, position } = getComputedStyle(element);
      const own = [backgroundColor, backgroundImage, opacity, position].join();
      const plain = own === "rgba(0, 0, 0, 0),none,1,static";
      behind.set(element, (plain ? "" : own) + ground(element.parentElement));
    }
    return behind.get(element);
  };
  for (const old of document.querySelectorAll("[data-kind]")) delete old.dataset.kind;
  for (const element of document.body.querySelectorAll("*")) {
    const written = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim().length > 1);
    if (!written || !element.checkVisibility({ visibilityProperty: true })) continue;
    const { color, fontSize, fontWeight, textDecorationLine } = getComputedStyle(element);
    const whole = element.closest("a") ?? element;  // a link is looked at as a whole
    const beside = getComputedStyle(whole.parentElement).color;
    const kind = [color, fontSize, fontWeight, textDecorationLine, beside, ground(element)].join();
    if (!kinds.has(kind)) whole.dataset.kind = kind;
    kinds.add(kind);
  }
  return [...kinds];
}"""
"""marks the first text of each kind that was not seen yet: of a colour, size and weight, in text of a colour, on a ground.

A single character has no contrast for axe, so none stands for its kind."""


def violations(page, **context):
    """What axe finds that is serious, as (rule, number of places, the first of them)."""
    found = Axe().run(page, **context).response["violations"]
    return [(one["id"], len(one["nodes"]), one["nodes"][0]["html"][:200]) for one in found if one["impact"] in WORST]


def problems(page, seen):
    """What axe finds on a page; colours are all that differs in the dark. Kinds of text are looked at once for all pages."""
    rules = {name: {"enabled": False} for name in COLOURS}
    found = violations(page, options={"resultTypes": ["violations"], "rules": rules})
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        page.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=theme)
        kinds = set(page.evaluate(KINDS, list(seen)))
        if kinds - seen:
            options = {"resultTypes": ["violations"], "runOnly": list(COLOURS)}
            looks = violations(page, context={"include": [["[data-kind]"]]}, options=options)
            found += [(theme, *problem) for problem in looks]
        seen |= kinds
    return found


@pytest.fixture(scope="module")
def opened(chromium, read_book):
    """A function that opens pages of the book that is made of recorded results."""
    with served(read_book) as address, chromium.new_context() as context:
        context.add_init_script(STILL)

        def begin(name):
            page = context.new_page()
            page.goto(f"{address}/{name}", wait_until="commit")
            return page

        yield lambda *names: in_turn(names, begin)


@pytest.fixture(scope="module")
def visits(opened, read_book):
    """Of every page: what it looks like, what axe finds, and what it weighs with all of its images."""
    seen, kinds = {}, set()
    for name, page in opened(*names(read_book)):
        looks = page.evaluate(LOOK)  # before the weight, for which every image is asked for
        seen[name] = looks | {"problems": problems(page, kinds), "bytes": page.evaluate(WEIGHT)}
    return seen


def test_axe_finds_nothing_serious_on_any_page_in_either_theme(visits):
    assert len(visits) > 40
    assert {name: seen["problems"] for name, seen in visits.items() if seen["problems"]} == {}


def test_axe_would_find_it(opened):
    """The control: a search that finds nothing on any page says nothing alone."""
    seen = set()
    for _, page in opened("notebooks/decay.html"):
        assert problems(page, seen) == []
        page.evaluate("document.querySelector('main figure img').removeAttribute('alt')")
        page.add_style_tag(content="html[data-theme=dark] main p { color: #444 !important; }")
        code = page.locator("main .highlight .n").locator("visible=true").last
        code.evaluate("(name) => (name.style.color = '#ccc')")
        found = [problem[:2] for problem in problems(page, seen)]
    assert ("dark", "color-contrast") in found
    assert ("light", "color-contrast") in found
    assert "image-alt" in [rule for rule, _ in found]


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
