"""Quizzes and slides, in a real browser: on pages of single runs, as anybody makes them."""

import pytest
from chromium import watch

from lib.study import pages, recorded

SECTIONS = ("line_densities", "metric_and_maps")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The pages of two recorded runs, each alone."""
    made = {}
    for name in SECTIONS:
        section = recorded.read(name)
        made[name] = pages.render_one((section.job, section.record), tmp_path_factory.mktemp(name) / "html")
    return made


@pytest.fixture
def visit(chromium, files):
    """Open a page from its file; at the end, nothing may have gone wrong."""
    opened, trouble = [], []

    def visit_page(name, query="", **how):
        page = chromium.new_page(viewport={"width": 1280, "height": 720}, **how)
        watch(page, trouble)
        page.goto(f"{files[name].as_uri()}{query}")
        opened.append(page)
        return page

    yield visit_page
    for page in opened:
        page.close()
    assert trouble == []


def presented(visit, name, **how):
    page = visit(name, "?present", **how)
    page.wait_for_selector(".deck[data-ready]")
    return page


FITS = """() => [...document.querySelectorAll(".deck .slide")].map((slide) => {
  const body = slide.querySelector(".slide-body"), all = [...body.querySelectorAll("*")].filter(e => e.getClientRects().length);
  const bottom = Math.max(0, ...all.map(e => e.getBoundingClientRect().bottom));
  return {tall: body.scrollHeight - body.clientHeight, wide: body.scrollWidth - body.clientWidth, bottom, shown: all.length,
          zoom: Number(body.style.zoom), smallest: Math.min(...all.filter(e => e.innerText?.trim() && !e.closest("mjx-container, .math, .headerlink, .katex")).map(e => parseFloat(getComputedStyle(e).fontSize)))};
})"""


@pytest.mark.parametrize("name", SECTIONS)
def test_no_slide_overflows_at_1280_by_720_and_none_is_empty(visit, name):
    slides = presented(visit, name).evaluate(FITS)
    assert len(slides) > 15
    assert [slide for slide in slides if slide["tall"] > 1 or slide["wide"] > 1] == []
    assert [slide for slide in slides if slide["shown"] == 0] == []
    assert min(slide["zoom"] for slide in slides) >= 0.6
    assert min(slide["smallest"] * slide["zoom"] for slide in slides if slide["smallest"]) >= 9


@pytest.mark.parametrize("name", SECTIONS)
def test_slides_have_all_that_the_page_has(visit, name):
    count = "() => ['main figure', 'form.quiz', '.admonition', 'table', '.math', 'p'].map(s => document.querySelectorAll('.bd-article ' + s.replace('main ', '')).length)"
    page, deck = visit(name), presented(visit, name)
    page.wait_for_load_state()
    assert page.evaluate(count) == deck.evaluate(count)
    left = "() => document.querySelectorAll('article.bd-article :is(figure, p, .cell, .admonition)').length"
    assert deck.evaluate(left) == 0


def test_a_figure_is_as_tall_as_the_screen_leaves_it(visit):
    page = presented(visit, "line_densities")
    heights = page.eval_on_selector_all(".deck figure img", "all => all.map(e => e.getBoundingClientRect().height)")
    assert len(heights) >= 4
    assert min(heights) > 720 / 2
    shared = page.eval_on_selector_all(".deck .slide", "all => all.map(e => e.querySelectorAll('figure').length)")
    assert max(shared) == 1


def at(page):
    return page.locator(".deck .slide.current")


def test_keys_turn_pages_and_the_address_keeps_the_place(visit):
    page = presented(visit, "line_densities")
    assert page.locator(".place").inner_text().startswith("1 / ")
    assert at(page).locator("h1").inner_text().endswith("Line densities")
    for key, place in (("ArrowRight", 2), (" ", 3), ("PageDown", 4), ("ArrowLeft", 3), ("Home", 1), ("ArrowLeft", 1)):
        page.keyboard.press(key)
        assert page.locator(".place").inner_text().startswith(f"{place} / "), key
    page.keyboard.press("End")
    last = page.locator(".place").inner_text()
    assert last.split(" / ")[0] == last.split(" / ")[1]
    page.reload()
    page.wait_for_selector(".deck[data-ready]")
    assert page.locator(".place").inner_text() == last
    page.get_by_label("previous slide").click()
    assert page.locator(".place").inner_text() != last
    page.keyboard.press("Escape")
    page.wait_for_selector("article.bd-article h1")
    assert page.locator(".deck").count() == 0


def test_a_solution_waits_for_its_key(visit):
    page = presented(visit, "line_densities")
    hidden = page.locator(".deck", has_text="x").locator("text=The prior is constant, so its part is zero")
    assert hidden.count() == 1
    while at(page).locator(".solution").count() == 0:
        page.keyboard.press("ArrowRight")
    assert not hidden.is_visible()
    page.keyboard.press("s")
    assert hidden.is_visible()
    assert at(page).locator(".slide-body").evaluate("e => e.scrollHeight - e.clientHeight") <= 1
    page.keyboard.press("s")
    assert not hidden.is_visible()


def test_code_is_folded_and_notes_have_their_key(visit):
    page = presented(visit, "line_densities")
    assert page.locator(".deck .cell_input:visible").count() == 0
    notes = page.locator(".deck-notes")
    assert not notes.is_visible()
    page.keyboard.press("n")
    assert notes.is_visible()
    assert "45 to teach, 15 for the exercise" in notes.inner_text()
    steps, wrong = notes.locator("table").all()
    assert steps.locator("tr").last.inner_text().startswith("54 to 60")
    assert wrong.locator("tr").count() == 5
    page.keyboard.press("n")
    page.keyboard.press("c")
    assert page.locator(".deck .cell_input").count() > 10
    assert page.locator(".deck .cell_input").first.evaluate("e => getComputedStyle(e).display") != "none"


def test_the_clock_runs(visit):
    page = presented(visit, "line_densities")
    before = page.locator(".clock").inner_text()
    page.wait_for_function("before => document.querySelector('.clock').textContent !== before", arg=before)


def test_without_present_there_are_no_slides(visit):
    assert visit("line_densities").locator(".deck").count() == 0


def test_a_quiz_says_what_to_think_of_each_answer(visit):
    page = visit("line_densities")
    first = page.locator("form.quiz fieldset").first
    said = first.locator(".feedback")
    assert [item.is_visible() for item in said.all()] == [False] * 3
    first.get_by_label("2 nats.", exact=True).check()
    assert first.locator(".feedback:visible").inner_text().startswith("✘ Both ends count")
    assert page.locator(".quiz-score").inner_text() == "0 of 3 right"
    page.keyboard.press("ArrowDown")  # native: the next answer, with its own words
    assert first.locator(".feedback:visible").count() == 1
    first.get_by_label("4 nats.", exact=True).check()
    assert first.locator(".feedback:visible").inner_text() == "✔ Right: two ends, each 2 nats above the middle."
    assert page.locator(".quiz-score").inner_text() == "1 of 3 right"
    assert page.locator(".quiz-said").text_content().startswith("✔ Right: two ends")


def test_a_quiz_needs_no_script(chromium, files):
    page = chromium.new_page(java_script_enabled=False)
    page.goto(files["line_densities"].as_uri())
    first = page.locator("form.quiz fieldset").first
    first.get_by_label("4 nats.", exact=True).check()
    assert first.locator(".feedback:visible").inner_text().startswith("✔ Right")
    page.close()


def test_a_quiz_fits_a_phone(visit):
    page = visit("line_densities")
    page.set_viewport_size({"width": 390, "height": 844})
    for choice in page.locator("form.quiz input").all():
        choice.check()
        right = "all => Math.max(...all.map(e => e.getBoundingClientRect().right))"
        assert page.eval_on_selector_all("form.quiz *", right) <= 390
