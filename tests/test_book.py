"""The built pages, in a real browser."""

import dataclasses
import functools
import http.server
import math
import os
import re
import shutil
import threading

import nbformat
import pytest
from playwright.sync_api import sync_playwright

from lib.study import claims, pages, parameters

DPI = 200  # of lib.study.figures.style

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium():
    for name in (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"):
        if name and shutil.which(name):
            return shutil.which(name)
    if os.environ.get("CI"):
        pytest.fail("CI needs Chromium: see .ci/run")
    return pytest.skip("no Chromium: install it (apt-get install chromium), or name it in CHROMIUM")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site(smoke_book):
    """The address of the built book, served on this machine."""
    handler = functools.partial(Quiet, directory=str(smoke_book))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    path = find_chromium()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, site):
    """Open a page; at the end, nothing may have left the machine and nothing may have gone wrong."""
    opened, trouble = [], []

    def open_page(name, **options):
        page = browser.new_page(**options)
        opened.append(page)
        page.on(
            "request", lambda request: None if request.url.startswith((site, "data:")) else trouble.append(request.url)
        )
        page.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on(
            "response",
            lambda response: trouble.append(f"{response.status} {response.url}") if response.status >= 400 else None,
        )
        page.goto(f"{site}/{name}", wait_until="networkidle")
        return page

    yield open_page
    for page in opened:
        page.close()
    assert trouble == []


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.html") if "_static" not in path.parts)


def test_every_page_opens_cleanly_with_its_figures_and_formulas(visit, smoke_book):
    found = names(smoke_book)
    assert len([name for name in found if name.startswith("notebooks/")]) == len(parameters.notebooks())
    formulas = figures = 0
    for name in found:
        page = visit(name)
        images = page.eval_on_selector_all("main img", "all => all.map(i => [i.src, i.complete && i.naturalWidth > 0])")
        assert [src for src, loaded in images if not loaded] == [], name
        figures += page.locator("main figure").count()
        wanted = page.locator("main .math").count()
        assert page.locator("main .math mjx-container").count() >= wanted, name
        assert page.locator("main mjx-merror").count() == 0, name
        formulas += wanted
    assert figures >= 20
    assert formulas >= 60


SMALLEST = 9  # pixels
MEASURE = "all => all.map(i => [i.alt, i.getBoundingClientRect().width / i.naturalWidth])"


@pytest.mark.parametrize("width", [1280, 390])
def test_no_text_of_a_figure_is_too_small_to_read(visit, smoke_runs, width):
    smallest = math.inf
    for job, _ in smoke_runs:
        notes = figure_notes(job)
        page = visit(f"notebooks/{job.notebook.stem}.html", viewport={"width": width, "height": 844})
        shown = dict(page.eval_on_selector_all("main figure img", MEASURE))
        assert set(shown) == set(notes)
        for alt, scale in shown.items():
            pixels = notes[alt]["points"] / 72 * DPI * scale
            smallest = min(smallest, pixels)
            assert pixels >= SMALLEST, (job.notebook.stem, alt, pixels)
    print(f"the smallest text of a figure at {width}: {smallest:.1f} pixels")


def figure_notes(job):
    """What a run has noted of its figures, by alternative text."""
    outputs = [output for cell in nbformat.read(job.output, 4).cells for output in cell.get("outputs", [])]
    notes = [output.metadata["image/png"] for output in outputs if "image/png" in output.get("metadata", {})]
    return {note["alt"]: note for note in notes if "alt" in note}


def test_a_figure_has_at_most_four_panels_and_a_text_of_its_own(smoke_runs):
    for job, _ in smoke_runs:
        outputs = [output for cell in nbformat.read(job.output, 4).cells for output in cell.get("outputs", [])]
        drawn = [output for output in outputs if "image/png" in output.get("data", {})]
        notes = figure_notes(job)
        assert len(drawn) == len(notes), job.notebook.stem
        assert [alt for alt, note in notes.items() if note["panels"] > 4 or len(alt) < 20] == [], job.notebook.stem


def test_tables_are_tables_for_screen_readers_too(visit):
    page = visit("book/scorecard.html")
    displays = page.eval_on_selector_all("main table", "all => all.map(t => getComputedStyle(t).display)")
    assert set(displays) == {"table"}


def test_drawings_follow_the_dark_mode_and_images_keep_their_pixels(visit, smoke_runs):
    filters = {}
    for job, _ in smoke_runs:
        page = visit(f"notebooks/{job.notebook.stem}.html", color_scheme="dark")
        script = "all => all.map(i => [i.classList.contains('pixels'), getComputedStyle(i).filter])"
        for pixels, applied in page.eval_on_selector_all("main figure img", script):
            filters.setdefault(pixels, set()).add(applied)
    assert filters == {True: {"none"}, False: {"invert(1) hue-rotate(180deg)"}}


def test_search_finds_the_dip(visit):
    page = visit("search.html?q=dip")
    page.wait_for_selector("#search-results li")
    assert "Line densities" in page.locator("#search-results").inner_text()


def test_buttons_point_at_the_sources(visit):
    page = visit("notebooks/line_densities.html")
    links = page.eval_on_selector_all("a[href]", "all => all.map(a => a.href)")
    for part in ("mybinder.org/v2/gh/", "colab.research.google.com/github/", "/edit/main/"):
        assert [url for url in links if part in url and "notebooks/line_densities.ipynb" in re.sub("%2F", "/", url)], (
            part
        )
    assert [url for url in links if url.endswith("_sources/notebooks/line_densities.ipynb")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_a_phone_in_both_schemes(visit, smoke_book, scheme):
    for name in names(smoke_book):
        page = visit(name, viewport={"width": 390, "height": 844}, color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        light = page.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).every(c => c > 200)"
        )
        assert light == (scheme == "light"), name


def test_solutions_are_folded_away(visit):
    page = visit("notebooks/line_densities.html")
    hidden = page.locator("main", has_text="counts the distance between codes as evidence").locator(
        "text=counts the distance"
    )
    assert hidden.count() == 1
    assert not hidden.is_visible()


def test_figures_and_equations_are_numbered_and_captioned(visit):
    page = visit("notebooks/decay.html")
    captions = page.locator("main figcaption").all_inner_texts()
    assert [text for text in captions if not re.match(r"Fig. ", text)] == []
    assert page.locator("main .eqno").all_inner_texts() != []


def test_the_scorecard_has_a_line_for_every_claim(visit, smoke_runs):
    page = visit("book/scorecard.html")
    assert page.locator("main tbody tr").count() == len(every_claim())
    text = page.locator("main").inner_text()
    assert "In this build" in text
    assert page.locator("main tbody tr", has_text="– not run").count() == len(undecided(smoke_runs))


def every_claim():
    return [claim for path in parameters.notebooks() for claim in claims.claims(path.stem)]


def undecided(smoke_runs):
    """Claims that no run decides: their data are not here, or their value needs more than smoke."""
    values = {job.notebook.stem: record["values"] for job, record in smoke_runs}
    return [claim for claim in every_claim() if claim.value not in values.get(claim.notebook, {})]


def test_a_page_that_waits_for_data_says_so_and_shows_its_code(visit):
    page = visit("notebooks/kfold_colour.html")
    assert page.locator("main .admonition", has_text="Not run in this build").count() == 1
    assert page.locator("main div.cell").count() > 5
    assert page.locator("main figure").count() == 0


def test_the_execution_page_has_a_line_for_every_section(visit, smoke_runs):
    rows = visit("book/execution.html").locator("main table").first.locator("tbody tr").all_inner_texts()
    assert len(rows) == len(smoke_runs)
    assert all("GiB" in row for row in rows)


def test_a_section_that_was_not_run_says_so(smoke_runs):
    others = [(job, record) for job, record in smoke_runs if "decay" not in job.notebook.stem]
    text = pages.scorecard({job.notebook.stem: record for job, record in others})
    rows = [line for line in text.splitlines() if line.startswith("|") and "– not run" in line]
    assert len(rows) == len(undecided(others)) > len(undecided(smoke_runs))


def test_a_broken_page_is_an_error_and_keeps_the_old_book(smoke_runs, tmp_path):
    (job, record), *others = smoke_runs
    notebook = nbformat.read(job.notebook, as_version=4)
    notebook.cells[0].source += "\n\nsee {ref}`nowhere`"
    broken = dataclasses.replace(job, notebook=tmp_path / job.notebook.name)
    nbformat.write(notebook, broken.notebook)
    old = tmp_path / "html"
    old.mkdir()
    (old / "index.html").write_text("the old book")
    with pytest.raises(pages.BuildFailed, match="nowhere"):
        pages.render([(broken, record), *others], old)
    assert (old / "index.html").read_text() == "the old book"
