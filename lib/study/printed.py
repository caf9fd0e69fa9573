"""The built pages as one document for paper: nothing is folded, links lead inside, the system's Chromium prints it."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urljoin

import yaml
from bs4 import BeautifulSoup, Tag

from lib.models import store
from lib.models.data import ROOT
from lib.study import parameters, processes
from lib.study.pages import BuildFailed
from lib.study.parameters import Refused

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
PRINT = ("--no-pdf-header-footer", "--generate-pdf-document-outline", "--virtual-time-budget=600000")
"""page numbers and bookmarks come from the style and the headings; formulas have all the time they need"""
NOT_PRINTED = "a.headerlink, button, script, .prev-next-footer, .tocsection, form.quiz output"
SECONDS = 480


def pdf(html: Path, section: str | None, output: Path) -> Path:
    """Print the book, or one section of it, and return the file.

    Args:
        html: the folder of the built pages.
        section: the section's name; the whole book by default.
        output: where to write it.

    Raises:
        Refused: no pages, no such section, or no Chromium.
        BuildFailed: Chromium did not print; the message ends with what it said.
    """
    parts = [("", [f"notebooks/{parameters.find(section).stem}"])] if section else contents()
    if missing := [name for _, names in parts for name in names if not (html / f"{name}.html").exists()]:
        raise Refused(f"{html} has no {missing[0]}.html; make book or make read makes the pages")
    output.parent.mkdir(parents=True, exist_ok=True)
    # Beside the pages, since these name their images and styles from there.
    page = html / "book" / f"print-{os.getpid()}.html"
    store.write_atomically(page, document(html, parts).encode())
    try:
        with processes.scratch() as own:
            run(page, own / "printed.pdf", own)
            store.write_atomically(output, (own / "printed.pdf").read_bytes())
    finally:
        page.unlink()
    return output


def run(page: Path, output: Path, profile: Path) -> None:
    """Let Chromium print a page, with a profile of its own."""
    command = [browser(), *FLAGS, *PRINT, f"--user-data-dir={profile}", f"--print-to-pdf={output}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    if done.returncode or not output.exists():
        raise BuildFailed(f"Chromium did not print: {' '.join(done.stderr.split()[-40:])}")


def browser() -> str:
    """The system's Chromium, or what ``CHROMIUM`` names."""
    for name in (os.environ.get("CHROMIUM"), *BROWSERS):
        if name and (found := shutil.which(name)):
            return found
    raise Refused("printing needs Chromium: install it (apt-get install chromium), or name it in CHROMIUM")


def contents() -> list[tuple[str, list[str]]]:
    """The parts of the book with the names of their pages, as ``_toc.yml`` orders them."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    parts = [(part["caption"], [entry["file"] for entry in part["chapters"]]) for part in toc["parts"]]
    return [("", [toc["root"]]), *parts]


def document(html: Path, parts: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Pages as one HTML document, for the folder of the book's prose.

    Args:
        html: the folder of the built pages.
        parts: captions, and the names of their pages. An empty caption has no heading.
    """
    names = [name for _, chapters in parts for name in chapters]
    whole = BeautifulSoup((html / f"{names[0]}.html").read_text(), "html.parser")
    body = whole.new_tag("body")
    for caption, chapters in parts:
        for place, name in enumerate(chapters):
            article = _article(html, name, names)
            if caption and place == 0:
                heading = whole.new_tag("h1", attrs={"class": "part"})
                heading.string = caption
                article.select_one("section").insert(0, heading)
            body.append(article)
    for script in whole.head.select("script:not([src*=mathjax]):not(:-soup-contains('MathJax'))"):
        script.decompose()
    whole.head.append(whole.new_tag("link", rel="stylesheet", href="../_static/print.css"))
    whole.html.attrs |= {"data-theme": "light", "data-mode": "light"}
    whole.body.replace_with(body)
    return str(whole)


def _article(html: Path, name: str, names: Sequence[str]) -> Tag:
    """The article of a page with everything unfolded; its anchors have the page's name before them."""
    soup = BeautifulSoup((html / f"{name}.html").read_text(), "html.parser")
    article = soup.select_one("article.bd-article")
    for element in article.select(NOT_PRINTED):
        element.decompose()
    for folded in article.select("details"):
        folded["open"] = ""
        for prompt in folded.select("summary .expanded"):
            prompt.decompose()  # what folds it again
        for prompt in folded.select("summary .collapsed"):
            prompt.string = re.sub("^Show code cell.*", "Code", prompt.get_text())
    for level in (5, 4, 3, 2, 1):  # a level lower, below the part
        for heading in article.find_all(f"h{level}"):
            heading.name = f"h{level + 1}"
    for image in article.select("img"):
        image.attrs.pop("loading", None)
    for element in article.select("[id]"):
        element["id"] = f"{name}--{element['id']}"
    for link in article.select("a[href]"):
        link["href"] = _inside(link["href"], name, names)
    article["id"] = name
    return article


def _inside(href: str, name: str, names: Sequence[str]) -> str:
    """An address as it is in one document; that of a page which is not printed stays.

    Example:
        >>> names = ["book/using", "notebooks/decay"]
        >>> _inside("decay.html#other-seeds", "notebooks/decay", names), _inside("#a", "book/using", names)
        ('#notebooks/decay--other-seeds', '#book/using--a')
        >>> _inside("../book/using.html", "notebooks/decay", names), _inside("https://x.org", "book/using", names)
        ('#book/using', 'https://x.org')
    """
    if re.match(r"\w+:", href):
        return href
    file, _, anchor = href.partition("#")
    page = urljoin(f"/{name}", file)[1:].removesuffix(".html") if file else name
    if page not in names:
        return href
    return f"#{page}--{anchor}" if anchor else f"#{page}"
