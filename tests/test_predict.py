"""Predict, then reveal, and the explorer in its page: rendered by Jupyter Book, opened from files."""

import json
import re

import nbformat
import pytest
from chromium import AT_ONCE, watch

from lib.models.data import ROOT
from lib.study import pages
from lib.study.parameters import notebooks

SECTION = "notebooks/moving_latents.html"
CLASS = "book/class_guesses.html"


@pytest.fixture(scope="module")
def site(smoke_run, tmp_path_factory):
    """The section and the page for a class, from a smoke run, as a folder."""
    folder = tmp_path_factory.mktemp("site")
    chapters = [{"file": f"book/{name}"} for name in ("class_guesses", "notation", "references")]
    toc = {"format": "jb-book", "root": SECTION.removesuffix(".html"), "chapters": chapters}
    return pages._build(smoke_run("moving_latents"), {}, toc, folder / "html", strict=False).parent


@pytest.fixture
def visit(chromium, site):
    """Open a page in a browser without a past; nothing may leave the machine and nothing may go wrong."""
    contexts, trouble = [], []

    def visit_page(name, **options):
        contexts.append(chromium.new_context(reduced_motion="reduce", accept_downloads=True, **options))
        page = contexts[-1].new_page()
        watch(page, trouble)
        page.goto((site / name).as_uri())
        if options.get("java_script_enabled", True):  # the other way, it would wait for ever
            page.add_style_tag(content=AT_ONCE)
        return page

    yield visit_page
    for context in contexts:
        context.close()
    assert trouble == []


PAIR = re.compile(
    r":::\{admonition\} Change this and predict\n.*?\n:::\s+:::\{admonition\} Answer\n:class: dropdown\n", re.DOTALL
)


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_the_answer_of_every_prompt_follows_it_at_once(path):
    """Or it would not become a form."""
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    text = "\n\n".join(cells)
    assert len(PAIR.findall(text)) == text.count("{admonition} Change this and predict") > 0


def answers(page):
    return page.locator(".admonition.dropdown", has_text="Answer")


def test_an_answer_opens_once_a_guess_is_locked_and_stands_beside_it(visit):
    page = visit(SECTION)
    forms = page.get_by_role("form", name="Your guess")
    assert forms.count() == answers(page).count() == 3
    assert not answers(page).first.is_visible()
    form, status = forms.first, page.locator(".admonition .status").first
    lock = form.get_by_role("button", name="Lock it and see the answer")
    lock.click()
    assert status.inner_text() == "Choose one first."
    choice = form.get_by_role("radio").last
    assert page.evaluate("document.activeElement.type") == "radio"
    choice.check()
    form.get_by_label("A number (if it is one)").fill("three")
    lock.click()
    assert "three is not a number" in status.inner_text()
    assert not answers(page).first.is_visible()
    form.get_by_label("A number (if it is one)").fill("−2.5")
    lock.click()
    assert status.get_attribute("role") == "status"
    assert status.inner_text() == "Your guess is locked. The answer is open below."
    answer = answers(page).first
    assert answer.locator("p").last.is_visible()
    assert answer.locator(".guessed").inner_text().endswith(f": {choice_text(page)} · −2.5")
    assert not answers(page).nth(1).is_visible()


def choice_text(page):
    return page.evaluate("guesses.mine()[0].choice")


def test_a_guess_needs_no_mouse_and_is_still_there_after_a_visit(visit):
    page = visit(SECTION)
    page.locator("form.guess input[type=radio]").first.focus()
    for key in ("Space", "Tab"):
        page.keyboard.press(key)
    page.keyboard.type("it has a reason")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    for key in ("Tab", "Tab", "Enter"):
        page.keyboard.press(key)
    assert page.locator("form.guess").first.locator("q").inner_text().endswith(" · it has a reason")
    assert page.evaluate("document.activeElement.textContent") == "Guess again"
    page.reload()
    assert answers(page).first.is_visible()
    assert page.locator("form.guess").first.locator("q").inner_text().endswith(" · it has a reason")
    page.get_by_role("button", name="Guess again").click()
    assert not answers(page).first.is_visible()
    page.reload()
    assert not answers(page).first.is_visible()


def test_without_scripts_and_in_print_everything_is_there(visit):
    page = visit(SECTION, java_script_enabled=False)
    assert page.locator("form.guess").count() == 0
    assert answers(page).first.locator("p").last.is_visible()
    assert page.locator(".explorer .without").is_visible()
    page = visit(SECTION)
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert answers(page).first.locator("p").last.is_visible()
    assert page.locator(".contains-task-list").first.is_visible()
    assert not page.locator("form.guess").first.is_visible()
    assert not page.locator(".explorer").is_visible()
    assert page.locator("figure img").first.is_visible()


def saved(page, tmp_path, name, number, words):
    """A browser's guesses on the first prompt, by its own button, as a file."""
    form = page.locator("form.guess").first
    form.get_by_role("radio").nth(number % 2).check()
    form.get_by_label("A number (if it is one)").fill(str(number))
    form.get_by_label("Why (if you like)").fill(words)
    form.get_by_role("button", name="Lock it and see the answer").click()
    with page.expect_download() as download:
        form.get_by_role("button", name="Save all my guesses").click()
    download.value.save_as(tmp_path / name)
    return tmp_path / name


def test_a_class_of_guesses_is_merged_and_drawn(visit, tmp_path):
    given = [(f"{place}.json", number, f"reason <b>{number}</b>") for place, number in enumerate((1, 1, 2, 3, 4, 9))]
    files = [saved(visit(SECTION), tmp_path, *each) for each in given]
    guesses = json.loads(files[0].read_text())["guesses"]
    assert set(guesses[0]) == {"browser", "id", "title", "prompt", "choice", "choices", "number", "words"}
    (tmp_path / "again.json").write_bytes(files[0].read_bytes())
    (tmp_path / "broken.json").write_text("[1")
    (tmp_path / "other.json").write_text(json.dumps({"format": "guesses-1", "guesses": [{"id": "x"}]}))
    page = visit(CLASS)
    every = [*files, *(tmp_path / name for name in ("again.json", "broken.json", "other.json"))]
    page.get_by_label("Files of guesses:").set_input_files(every)
    status = page.locator("#class-guesses output[aria-live=polite]")
    page.wait_for_function("document.querySelectorAll('.spread').length > 0")
    assert status.inner_text() == (
        "6 guesses on 1 prompt, from 6 browsers. broken.json was left out: not JSON. "
        "other.json was left out: a guess without its prompt, or an empty one."
    )
    spread = page.locator(".spread")
    assert spread.locator("h2").inner_text() == "Move two latents yourself, prompt 1"
    bars, dots = spread.locator("svg").all()
    assert re.fullmatch(r".+ 2, .+ 4, .+ 0", bars.get_attribute("aria-label"))
    assert dots.get_attribute("aria-label") == "6 numbers from 1 to 9, median 2.5, middle half 1.25 to 3.75"
    x = dots.locator("circle").evaluate_all("all => all.map((dot) => +dot.getAttribute('cx'))")
    assert x == sorted(x)
    assert x[0] == x[1]  # one on top of the other
    assert (x[2] - x[0]) * 8 == pytest.approx(x[-1] - x[0], abs=40)
    spread.locator("summary").click()
    assert spread.locator("li").first.inner_text() == "reason <b>1</b>"
    with page.expect_download() as download:
        page.get_by_role("button", name="Save all as one file").click()
    assert len(json.loads(download.value.path().read_text())["guesses"]) == 6
    page.get_by_role("button", name="Start again").click()
    assert page.locator(".spread").count() == 0


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = (rgb) => { const [r, g, b] = rgb.map((v) => { const c = v / 255; return c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; };
  const behind = (node) => {
    let over = [0, 0, 0, 0];
    for (; node && over[3] < 255; node = node.parentElement) {
      const [r, g, b, a] = rgba(getComputedStyle(node).backgroundColor), share = (a / 255) * (1 - over[3] / 255);
      over = [...[r, g, b].map((v, i) => over[i] + v * share), over[3] + 255 * share];
    }
    return over.slice(0, 3);
  };
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((m, n) => n - m); return (x + .05) / (y + .05); };
  const own = [...document.querySelectorAll(".explorer *, form.guess *, .status, .guessed, .spread p, .spread li, .spread figcaption, #class-guesses *")];
  return own.filter((node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim()) && node.checkVisibility())
    .map((node) => [node.textContent.trim().slice(0, 30), ratio(rgba(getComputedStyle(node)[node.closest("svg") ? "fill" : "color"]).slice(0, 3), behind(node)), parseFloat(getComputedStyle(node).fontSize)]);
}"""
NAMELESS = """() => [...document.querySelectorAll(".explorer :is(input, [tabindex], [role=img], svg:not([aria-hidden])), form.guess :is(input, textarea, button), #class-guesses :is(input, button)")]
  .filter((node) => !(node.labels?.length || node.getAttribute("aria-label") || (node.matches("button") && node.textContent.trim()))).map((node) => node.outerHTML)"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_controls_have_names_and_words_can_be_read(visit, tmp_path, scheme):
    for name in (SECTION, CLASS):
        page = visit(name, color_scheme=scheme)
        page.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
        if name == SECTION:
            page.wait_for_selector(".explorer[aria-busy=false]")
            saved(page, tmp_path, "own.json", 2, "words")
        found = page.evaluate(CONTRAST)
        assert len(found) > (20 if name == SECTION else 3)
        assert [part for part in found if part[1] < 4.5] == []
        assert page.evaluate(NAMELESS) == []


def test_both_pages_fit_a_phone(visit):
    for name in (SECTION, CLASS):
        page = visit(name, viewport={"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        right = "all => Math.max(...all.map((node) => node.getBoundingClientRect().right))"
        assert page.eval_on_selector_all(".explorer :not(svg *), form.guess *, #class-guesses *", right) <= 390


def test_the_page_stays_light(site):
    text = (site / SECTION).read_text()
    own = list((ROOT / "book" / "_static").glob("*.js"))
    assert len(own) == 12
    assert sum(path.stat().st_size for path in own) <= 54_000
    assert max(path.stat().st_size for path in own) < 13_000
    assert len(text) < 3e6
    assert text.count('src="../_static/explorer.js') == 1
    assert not re.search(r"import |fetch\(|type=\"module\"", "".join(path.read_text() for path in own))
