"""Editions: what a release keeps of the book, how a page is cited, and where the pages of an old edition stay.

An edition is the pages of one commit, the recorded results and the licence in one archive, with each file's digest. Its
pages are not rendered again: they get a note, and where they cite themselves the edition is named before its commit.
A published site has the newest pages at its root, and those of each edition under ``editions/VERSION/``.
"""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

import yaml

from lib.models import store
from lib.models.data import ROOT
from lib.study import processes, provenance, recorded, tables
from lib.study.parameters import Refused

NAME = "learn-or-memorise"
VERSION = re.compile(r"[0-9]{4}\.[1-9][0-9]*")
STAMP = "made_from.json"
"""among the pages: the commit that they were made from, and the address at which the newest are published"""
TOP = '<div class="bd-container">'
"""where a page of the theme begins, after the link that skips navigation"""
CITATION = re.compile(r'<details class="cite">.*?</details>', re.DOTALL)
"""what ``book/_templates/cite.html`` makes"""
NOTE = '<p class="edition-note" role="note">This is edition {} of {}; the newest pages are at <a href="{}">{}</a>.</p>'


class Edition(NamedTuple):
    """An entry of ``book/editions.yml``."""

    version: str
    date: str
    doi: str | None
    commit: str
    sha256: str
    """of the archive"""


def listed() -> list[Edition]:
    """The editions that the book lists."""
    return [Edition(**entry) for entry in yaml.safe_load((ROOT / "book" / "editions.yml").read_text())]


def archive(version: str) -> Path:
    """Where the archive of an edition is.

    It is a zip: Zenodo shows the list of a zip's files but not of a tar's, and each system opens it without a tool.
    """
    return ROOT / "_build" / "editions" / f"{NAME}-{version}.zip"


def make(version: str, html: Path) -> Edition:
    """Make the archive of an edition from the pages in ``html``, and return its entry of ``book/editions.yml``.

    The same commit and the same pages give the same bytes.

    Raises:
        Refused: no version, an edition that exists, a checkout with changes, no pages, or pages of another commit.
    """
    if not VERSION.fullmatch(version):
        raise Refused(f"version {version!r} is impossible; accepted: YEAR.NUMBER such as 2026.1")
    path = archive(version)
    with processes.locked(path):
        if os.path.lexists(path) or version in [edition.version for edition in listed()]:
            raise Refused(f"edition {version} exists; accepted: one not in _build/editions or book/editions.yml")
        commit, site = _made(html)
        edition = Edition(version, _day(commit), None, commit, "")
        kept = _git("ls-files", "-z", "recorded", "CITATION.cff", "LICENSE").rstrip("\0").split("\0")
        files = {name: (ROOT / name).read_bytes() for name in kept}
        for file in html.rglob("*"):
            if file.is_file():
                name, own = f"html/{file.relative_to(html).as_posix()}", file.read_bytes()
                files[name] = _of_edition(own.decode(), edition, site).encode() if file.suffix == ".html" else own
        content = _zipped(files, path.stem, edition.date)
        store.write_atomically(path, content)
    return edition._replace(sha256=hashlib.sha256(content).hexdigest())


def publish(html: Path, site: Path) -> Path:
    """Make ``site``, which is replaced when it is complete: the newest pages, and those of each listed edition.

    Raises:
        Refused: an archive is not there, or is not the one that is listed.
    """
    _page(html)
    with processes.locked(site), processes.scratch(site.parent) as own:
        shutil.copytree(html, own / "site")
        for edition in listed():
            path = archive(edition.version)
            found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
            if found != edition.sha256:
                raise Refused(f"{path} is {found}; accepted: the archive of SHA-256 {edition.sha256}")
            with zipfile.ZipFile(path) as content:
                content.extractall(own)
            shutil.copytree(own / path.stem / "html", own / "site" / "editions" / edition.version)
        if site.exists():
            site.rename(own / "old")
        (own / "site").rename(site)
    return site


def stage(sources: Path, config: dict) -> None:
    """Let the pages made of ``sources`` cite themselves, list the editions, and say what they were made from.

    ``config`` is Sphinx's, with the address and the revision of the repository that the pages name.
    """
    url, revision = (config["html_theme_options"][f"repository_{name}"] for name in ("url", "branch"))
    owner, project = url.split("/")[-2:]
    site = f"https://{owner.lower()}.github.io/{project}/"  # where .github/workflows publishes
    config["html_context"]["cite"] = {"key": NAME, "site": site, **cited(revision)}
    (sources / "book" / "_extra" / STAMP).write_text(json.dumps({"commit": _state(), "site": site}))
    using = sources / "book" / "using.md"
    using.write_text(using.read_text().replace("<!-- editions -->", _table(site)))


def cited(revision: str) -> dict[str, object]:
    """What every page cites: the book, its authors as ``CITATION.cff`` has them, and the revision if it is a commit."""
    reference = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    known = re.fullmatch(r"[0-9a-f]{40}", revision)
    return {
        "book": reference["title"],
        "authors": reference["authors"],
        "commit": f"commit {revision}" if known else "an uncommitted draft",
        "date": _day(revision) if known else str(reference["date-released"]),
    }


def _table(site: str) -> str:
    """The editions as Markdown."""
    cells = [(f"[{one.version}]({site}editions/{one.version}/)", *one[1:]) for one in reversed(listed())]
    return tables.markdown(tables.rows(Edition._fields, cells)) if cells else "No edition has been made yet."


def _page(html: Path) -> None:
    if not (html / STAMP).is_file():
        raise Refused(f"there are no pages in {html}, or an older project made them; accepted: what `make book` makes")


def _made(html: Path) -> tuple[str, str]:
    """The commit that is checked out, which the pages were made from, and the address of the newest pages."""
    now = _state()
    if now == "unknown":
        raise Refused(f"{ROOT} is no git repository with a commit; accepted: a clone of the project")
    if now.endswith("+"):
        names = [line[3:] for line in _git("status", "--porcelain").splitlines()]
        found = f"files differ from the commit ({names[0]}, {len(names)} in all)"
        raise Refused(f"{found}; accepted: a checkout without changes")
    _page(html)
    made = json.loads((html / STAMP).read_text())
    if made["commit"] != now:
        raise Refused(f"the pages in {html} are of {made['commit']}; accepted: of {now}, as `make book` makes them")
    return now, made["site"]


def _state() -> str:
    """The commit that is checked out, with ``+`` if a file differs from it or is new; ``unknown`` if there is none."""
    try:
        return _git("rev-parse", "HEAD") + ("+" if _git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    return provenance.git(ROOT, *arguments)


def _day(commit: str) -> str:
    """The day of a commit, in UTC."""
    return datetime.fromtimestamp(int(_git("show", "--no-patch", "--format=%ct", commit)), UTC).date().isoformat()


def _of_edition(page: str, edition: Edition, site: str) -> str:
    """A page of an edition: it says which, and cites itself as that. What is no page of the theme stays as it is."""

    def cited(block: re.Match) -> str:
        own = block[0].replace(site, f"{site}editions/{edition.version}/")
        return own.replace(f"commit {edition.commit}", f"edition {edition.version}, commit {edition.commit}")

    note = NOTE.format(edition.version, edition.date, site, site)
    return CITATION.sub(cited, page.replace(TOP, note + TOP, 1))


def _zipped(contents: Mapping[str, bytes], folder: str, day: str) -> bytes:
    """An archive that depends on names and contents alone, with the list of its digests."""
    sums = recorded.digests({name: contents[name] for name in sorted(contents)})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in sorted({**contents, recorded.SUMS: recorded.lines(sums)}.items()):
            entry = zipfile.ZipInfo(f"{folder}/{name}", date.fromisoformat(day).timetuple()[:6])
            entry.create_system, entry.external_attr = 3, 0o100644 << 16  # a plain file, whatever system made it
            made.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


if __name__ == "__main__":  # the versions that the workflow fetches
    print(*(edition.version for edition in listed()), sep="\n")
