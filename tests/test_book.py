"""The built pages, in a real browser."""

import csv
import dataclasses
import functools
import json
import math
import re

import nbformat
import pytest
from chromium import AT_ONCE, in_turn, names, served, watch

from lib.measures.intervals import number
from lib.study import claims, editions, pages, parameters, recorded, scorecard

DPI = 200  # of lib.study.figures.style


@pytest.fixture(scope="module")
def site(smoke_book):
    """The address of the built book."""
    with served(smoke_book) as address:
        yield address


@pytest.fixture(scope="module")
def read_site(read_book):
    """The address of the book that is made of recorded results."""
    with served(read_book) as address:
        yield address


@pytest.fixture(scope="module")
def browser(chromium):
    return chromium.new_context()  # one context, so that scripts and styles are fetched once


def opened(browser, site, name, trouble, until="networkidle"):
    """An open page; what leaves the machine or goes wrong is added to trouble."""
    page = browser.new_page()
    watch(page, trouble, (site, "data:"))
    page.on(
        "response",
        lambda response: trouble.append(f"{response.status} {response.url}") if response.status >= 400 else None,
    )
    page.goto(f"{site}/{name}", wait_until=until)
    return page


@pytest.fixture
def visit(browser, site):
    """Open a page; at the end, nothing may have left the machine and nothing may have gone wrong."""
    visited, trouble = [], []

    def visit_page(name):
        visited.append(opened(browser, site, name, trouble))
        return visited[-1]

    yield visit_page
    for page in visited:
        page.close()
    assert trouble == []


LOOK = """() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  return {
    scrollWidth: document.documentElement.scrollWidth,
    background: getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number),
    broken: all("main img").filter(i => !i.complete || i.naturalWidth === 0).map(i => i.src),
    figures: all("main figure img").map(i => ({
      alt: i.alt,
      scale: i.getBoundingClientRect().width / i.naturalWidth,
      pixels: i.classList.contains("pixels"),
      filter: getComputedStyle(i).filter,
    })),
    formulas: all("main .math").length,
    typeset: all("main .math mjx-container").length,
    errors: all("main mjx-merror").length,
    displays: all("main table").map(t => getComputedStyle(t).display),
  };
}"""
SETTLED = "([width, scheme]) => innerWidth === width && document.documentElement.dataset.theme === scheme"
LOOKS = {(width, scheme) for width in (1280, 390) for scheme in ("light", "dark")}


@pytest.fixture(scope="module")
def looks(browser, site, smoke_book):
    """What each page shows at each width and in each scheme: one visit a page, since visits are what takes time."""
    seen, trouble = {}, []
    begin = functools.partial(opened, browser, site, trouble=trouble, until="commit")
    for name, page in in_turn(names(smoke_book), begin):
        page.add_style_tag(content=AT_ONCE)
        page.evaluate("[...document.images].forEach(image => image.loading = 'eager')")
        page.wait_for_function("[...document.images].every(image => image.complete)")
        for width, scheme in sorted(LOOKS):
            page.set_viewport_size({"width": width, "height": 844})
            page.emulate_media(color_scheme=scheme)
            page.wait_for_function(SETTLED, arg=[width, scheme])
            seen[name, width, scheme] = page.evaluate(LOOK)
    assert trouble == []
    return seen


def test_every_page_opens_cleanly_with_its_figures_and_formulas(looks):
    wide = {name: look for (name, width, scheme), look in looks.items() if (width, scheme) == (1280, "light")}
    assert len([name for name in wide if name.startswith("notebooks/")]) == len(parameters.notebooks())
    assert {name: look["broken"] for name, look in wide.items() if look["broken"]} == {}
    assert [name for name, look in wide.items() if look["typeset"] < look["formulas"] or look["errors"]] == []
    assert sum(len(look["figures"]) for look in wide.values()) >= 20
    assert sum(look["formulas"] for look in wide.values()) >= 60


def test_no_markup_is_left_for_readers(read_book):
    """A quiz is HTML, in which nobody reads the markup of sentences."""
    left = {
        name: re.findall(r"{(?:term|doc|ref|numref|eq)}", (read_book / name).read_text()) for name in names(read_book)
    }
    assert len(left) > 40
    assert {name: found for name, found in left.items() if found} == {}


SMALLEST = 9  # pixels


@pytest.mark.parametrize("width", [1280, 390])
def test_no_text_of_a_figure_is_too_small_to_read(looks, smoke_runs, width):
    smallest = math.inf
    for job, _ in smoke_runs:
        notes = figure_notes(job)
        shown = {f["alt"]: f["scale"] for f in looks[f"notebooks/{job.notebook.stem}.html", width, "light"]["figures"]}
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


def test_tables_are_tables_for_screen_readers_too(looks):
    assert {display for look in looks.values() for display in look["displays"]} == {"table"}


def test_drawings_follow_the_dark_mode_and_images_keep_their_pixels(looks):
    shown = [(scheme, figure) for (_, _, scheme), look in looks.items() for figure in look["figures"]]
    assert {figure["filter"] for scheme, figure in shown if scheme == "light" or figure["pixels"]} == {"none"}
    turned = {figure["filter"] for scheme, figure in shown if scheme == "dark" and not figure["pixels"]}
    assert turned == {"invert(1) hue-rotate(180deg)"}


def test_pages_fit_a_phone_and_follow_the_scheme(looks):
    assert [key for key, look in looks.items() if look["scrollWidth"] > key[1]] == []
    light = {key for key, look in looks.items() if min(look["background"]) > 200}
    assert light == {key for key in looks if key[2] == "light"}


def test_the_front_page_shows_two_models_with_the_numbers_of_the_runs(visit, smoke_runs):
    page = visit("book/index.html")
    assert page.locator("main figure img").get_attribute("alt").startswith("Two strips of digits")
    text = page.locator("main").inner_text()
    assert "[[" not in text
    values = next(record["values"] for job, record in smoke_runs if job.notebook.stem == "line_densities")
    assert number(values["dip_memorised"]["value"]) in text


def test_search_finds_the_dip(visit):
    page = visit("search.html?q=dip")
    page.wait_for_selector("#search-results li")
    assert "Line densities" in page.locator("#search-results").inner_text()


def test_buttons_point_at_the_sources(visit):
    page = visit("notebooks/line_densities.html")
    links = page.eval_on_selector_all("a[href]", "all => all.map(a => a.href)")
    made_by, name = pages.revision("main"), "notebooks/line_densities.ipynb"
    for start, end in (
        ("https://mybinder.org/v2/gh/", f"/{made_by}?urlpath=tree/{name}"),
        ("https://colab.research.google.com/github/", f"/blob/{made_by}/{name}"),
        ("https://github.com/", f"/edit/main/{name}"),
    ):
        assert [url for url in links if url.startswith(start) and re.sub("%2F", "/", url).endswith(end)], end
    assert [url for url in links if url.endswith("_sources/notebooks/line_densities.ipynb")]


def test_solutions_are_folded_away(visit):
    page = visit("notebooks/line_densities.html")
    hidden = page.locator("main").locator("text=The division is one of coordinates")
    assert hidden.count() == 1
    assert not hidden.is_visible()


def test_figures_and_equations_are_numbered_and_captioned(visit):
    page = visit("notebooks/decay.html")
    captions = page.locator("main figcaption").all_inner_texts()
    assert [text for text in captions if not re.match(r"Fig. ", text)] == []
    assert page.locator("main .eqno").all_inner_texts() != []


def test_the_scorecard_has_a_line_for_every_claim(visit, smoke_runs):
    page = visit("book/scorecard.html")
    assert page.locator(".claim").count() == len(every_claim())
    assert page.locator(".claim .chip", has_text="– not run").count() == len(undecided(smoke_runs))
    assert page.locator(".totals li").count() == len(claims.KINDS)
    headings = page.locator("main h3").all_inner_texts()
    assert len(headings) == len(parameters.notebooks())
    assert [text for text in headings if "_" in text] == []  # titles and not names of files
    lowest = "all => Math.min(...all.map(e => parseFloat(getComputedStyle(e).fontSize)))"
    assert page.eval_on_selector_all(".claim *, .totals *, .key *, #claim-filter *", lowest) >= 12


def test_the_numbers_of_the_scorecard_can_be_taken_away(visit, smoke_runs):
    page = visit("book/scorecard.html")
    addresses = page.eval_on_selector_all("main a.download", "all => all.map(a => a.href)")
    table, records = (page.request.get(url).text() for url in addresses)
    assert len(list(csv.DictReader(table.splitlines()))) == len(every_claim())
    assert set(json.loads(records)["this build"]) == {job.notebook.stem for job, _ in smoke_runs}


def shown(page):
    return page.locator(".claim:visible").count()


def test_the_filter_of_the_scorecard_needs_no_mouse(visit):
    page = visit("book/scorecard.html")
    press = page.keyboard.press
    page.locator("main a.download").last.focus()
    press("Tab")
    verdict = page.evaluate("document.activeElement.value")
    assert verdict in claims.VERDICTS
    assert page.evaluate("getComputedStyle(document.activeElement.closest('label')).outlineStyle") == "solid"
    press("Space")
    chosen = page.locator(f".claim[data-verdict='{verdict}']").count()
    assert shown(page) == chosen < len(every_claim())
    status = page.locator("#claim-filter output[aria-live=polite]")
    assert status.inner_text() == f"{chosen} of {len(every_claim())} claims shown"
    press("Enter")  # sends no form and leaves the page where it is
    while page.evaluate("document.activeElement.name") != "part":
        press("Tab")
    press("ArrowDown")
    part = page.evaluate("document.activeElement.value")
    assert shown(page) == page.locator(f".claim[data-verdict='{verdict}'][data-part='{part}']").count()
    assert page.locator("main h2:visible").all_inner_texts() == [part] * bool(shown(page))
    press("Tab")
    press("Enter")
    page.wait_for_function("document.querySelectorAll('.claim[hidden]').length === 0")
    assert page.locator("main h2:visible").count() == len(parameters.parts())


def test_the_address_of_a_claim_leads_to_it(visit):
    name = "claim-dips_along_paths-dip_memorised_shortest"
    page = visit(f"book/scorecard.html#{name}")
    plain = page.locator(".claim").first.evaluate("e => getComputedStyle(e).backgroundColor")
    assert stands_in_view(page, name)
    assert page.locator(f"#{name}").evaluate("e => getComputedStyle(e).backgroundColor") != plain
    page.locator("#claim-filter input[value=identity]").check()
    page.locator("#claim-line_densities-dip_memorised a").evaluate(
        "a => location.href = a.href"
    )  # hidden by the filter
    page.wait_for_function("document.querySelectorAll('.claim[hidden]').length === 0")
    assert stands_in_view(page, "claim-line_densities-dip_memorised")
    page.locator(f"#{name} a").focus()
    page.keyboard.press("Enter")
    assert page.url.endswith(f"#{name}")
    assert stands_in_view(page, name)


def stands_in_view(page, name):
    """Whether a claim lies below what sticks to the top of the window, and above the lower end."""
    page.wait_for_timeout(500)  # scrolling takes a while
    box = page.locator(f"#{name}").bounding_box()
    return box["y"] >= 70 and box["y"] + box["height"] <= page.viewport_size["height"]


def test_without_scripts_every_claim_is_shown_and_no_dead_filter(browser, site):
    page = browser.browser.new_context(java_script_enabled=False).new_page()
    page.goto(f"{site}/book/scorecard.html")
    assert shown(page) == len(every_claim())
    assert not page.locator("#claim-filter").is_visible()
    page.context.close()


def test_claims_are_as_wide_as_the_phone(visit):
    page = visit("book/scorecard.html")
    page.set_viewport_size({"width": 390, "height": 844})
    right = "all => Math.max(...all.map(e => e.getBoundingClientRect().right))"
    assert page.eval_on_selector_all(".claim *, .totals *, .key *, #claim-filter *", right) <= 390


def every_claim():
    return [claim for path in parameters.notebooks() for claim in claims.claims(path.stem)]


def undecided(smoke_runs):
    """Claims that no run decides: their data are not here, or their value needs more than smoke."""
    values = {job.notebook.stem: record["values"] for job, record in smoke_runs}
    return [claim for claim in every_claim() if claim.value not in values.get(claim.notebook, {})]


@pytest.mark.parametrize("name", ["kfold_colour", "recovery_in_colour"])
def test_a_page_that_waits_for_data_says_so_and_shows_its_code(visit, name):
    page = visit(f"notebooks/{name}.html")
    assert page.locator("main .admonition", has_text="Not run in this build").count() == 1
    assert page.locator("main div.cell").count() > 5
    assert page.locator("main figure").count() == 0


def test_the_execution_page_has_a_line_for_every_section(visit, smoke_runs):
    rows = visit("book/execution.html").locator("main table").first.locator("tbody tr").all_inner_texts()
    assert len(rows) == len(smoke_runs)
    assert all("GiB" in row for row in rows)


def test_a_section_that_was_not_run_says_so(smoke_runs):
    others = [(job, record) for job, record in smoke_runs if "decay" not in job.notebook.stem]
    rows = scorecard.rows({job.notebook.stem: record for job, record in others}, {})
    assert [row.verdict for row in rows].count("not run") == len(undecided(others)) > len(undecided(smoke_runs))


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
        pages.render([(broken, record), *others], {}, old)
    assert (old / "index.html").read_text() == "the old book"


def test_each_page_can_be_cited_once_and_can_say_of_which_edition_it_is(smoke_book):
    cited = {name: (smoke_book / name).read_text() for name in names(smoke_book) if "/" in name}
    assert {name for name, text in cited.items() if len(editions.CITATION.findall(text)) != 1} == set()
    assert {name for name, text in cited.items() if text.count(editions.TOP) != 1} == set()
    keys = [re.search("@misc{(.+),", text)[1] for text in cited.values()]
    assert len(set(keys)) == len(keys) > len(parameters.notebooks())
    assert set(json.loads((smoke_book / editions.STAMP).read_text())) == {"commit", "site"}


def test_the_recorded_book_shows_what_was_recorded_and_how(browser, read_site):
    trouble, section = [], recorded.sections()["metric_and_maps"]
    page = opened(browser, read_site, "notebooks/metric_and_maps.html", trouble)
    note = page.locator("main .admonition", has_text="not computed in this build but recorded")
    assert section.record["commit"] in note.inner_text()
    assert page.locator("main figure img").count() >= 2
    assert page.locator("main .cell_output table").last.locator("tbody tr").count() == len(
        claims.claims("metric_and_maps")
    )
    card = opened(browser, read_site, "book/scorecard.html", trouble)
    assert card.locator(".totals").count() == 1
    assert card.locator("main", has_text="In this build").count() == 0
    line = card.locator("#claim-metric_and_maps-" + claims.claims("metric_and_maps")[0].value)
    assert line.locator("dt").first.inner_text() == "recorded"
    took = opened(browser, read_site, "book/execution.html", trouble)
    assert took.locator("main article h2").all_inner_texts() == ["Recorded"]
    assert trouble == []


def test_the_page_on_verification_has_the_last_check(visit):
    page = visit("book/verification.html")
    assert page.locator("main h2", has_text="What was found last").count() == 1
