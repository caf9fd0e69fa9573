"""Editions and citations: what a release keeps, that anybody can check it, and that old pages stay."""

import io
import json
import os
import re
import runpy
import shutil
import subprocess
import zipfile

import jinja2
import pytest
import yaml
from pybtex.database import parse_string

from lib.models.data import ROOT
from lib.study import editions, pages
from lib.study.parameters import Refused

SITE = "https://learn-or-memorise.github.io/learn-or-memorise/"


def git(where, *arguments):
    identity = ["-c", "user.name=A B", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    run = subprocess.run(["git", *identity, *arguments], cwd=where, check=True, capture_output=True, text=True)
    return run.stdout.strip()


def entry(edition):
    """What the command prints for ``book/editions.yml``: JSON, which YAML reads."""
    return json.dumps(edition._asdict())


def foot(title, name, **cite):
    """The citation at the foot of a page, from the book's own template."""
    loader = jinja2.FileSystemLoader(ROOT / "book" / "_templates")
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined)
    return environment.get_template("cite.html").render(title=title, pagename=name, sourcename="x", cite=cite)


def cited(revision):
    return editions.cited(revision) | {"site": SITE, "key": editions.NAME}


def bibtex(page):
    """The one entry that a page shows, as its copy button takes it."""
    (text,) = re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)
    ((key, entry),) = parse_string(text.replace("&#34;", '"').replace("&amp;", "&"), "bibtex").entries.items()
    return key, entry


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A small project with a commit, and its pages."""
    for name in ("book/_extra", "recorded/quick", "_build"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("CITATION.cff", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "book" / "editions.yml").write_text("[]\n")
    (tmp_path / "book" / "using.md").write_text("# Use it\n\n<!-- editions -->\n")
    (tmp_path / "recorded" / "quick" / "results of a run.csv").write_text("value\n1\n")
    git(tmp_path, "init", "-q", "-b", "main")
    commit(tmp_path, monkeypatch)
    monkeypatch.setattr(editions, "ROOT", tmp_path)
    render(tmp_path)
    return tmp_path


def commit(house, monkeypatch, day="2026-11-25T23:30:00-05:00"):
    monkeypatch.setenv("GIT_COMMITTER_DATE", day)
    git(house, "add", "-A")
    git(house, "commit", "-q", "-m", "x")


def render(house):
    """Pages as pages.render leaves them, of what is checked out."""
    html = house / "_build" / "html"
    shutil.rmtree(html, ignore_errors=True)
    for folder in ("book", "_static"):
        (html / folder).mkdir(parents=True)
    config = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["config"]
    config["html_theme_options"]["repository_branch"] = git(house, "rev-parse", "HEAD")
    sources = house / "_build" / "sources"
    shutil.copytree(house / "book", sources / "book", dirs_exist_ok=True)
    editions.stage(sources, config)
    shutil.copy(sources / "book" / "_extra" / editions.STAMP, html)
    (html / "index.html").write_text('<meta http-equiv="Refresh" content="0; url=book/index.html" />')
    (html / "_static" / "book.css").write_text("p {}")
    text = "The commit é, and " + SITE
    page = f"<body>\n{editions.TOP}\n<h1>{text}</h1>\n{foot(text, 'book/index', **config['html_context']['cite'])}\n</body>"
    (html / "book" / "index.html").write_text(page)
    return html


def make(house):
    return editions.make("2026.1", house / "_build" / "html")


def unpacked(house, where):
    with zipfile.ZipFile(house / "_build" / "editions" / "learn-or-memorise-2026.1.zip") as content:
        content.extractall(where)
    return where / "learn-or-memorise-2026.1"


def test_an_edition_has_pages_results_and_licence_and_anybody_can_check_them(house, tmp_path_factory):
    made = make(house)
    folder = unpacked(house, tmp_path_factory.mktemp("anywhere"))
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    pages_of_it = {"html/index.html", "html/book/index.html", "html/_static/book.css", "html/made_from.json"}
    assert found == pages_of_it | {"recorded/quick/results of a run.csv", "CITATION.cff", "LICENSE", "SHA256SUMS"}
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    run = subprocess.run(check, cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count(": OK\n") == len(found) - 1
    (folder / "LICENSE").write_text("another")
    run = subprocess.run(check, cwd=folder, capture_output=True, text=True)
    assert run.returncode == 1
    assert "LICENSE: FAILED" in run.stdout
    whole = subprocess.run(["sha256sum", editions.archive("2026.1")], capture_output=True, text=True, check=True)
    assert whole.stdout.startswith(made.sha256)
    assert sorted(path.name for path in (house / "_build" / "editions").iterdir() if path.suffix != ".lock") == [
        "learn-or-memorise-2026.1.zip"
    ]


def test_the_same_pages_give_the_same_bytes(house):
    first = make(house)
    content = editions.archive("2026.1").read_bytes()
    editions.archive("2026.1").unlink()
    for path in (house / "_build" / "html").rglob("*"):
        os.utime(path, (1e9, 1e9))
        path.chmod(0o700)
    again = shutil.move(house / "_build" / "html", house / "_build" / "elsewhere")
    assert editions.make("2026.1", house / "_build" / "elsewhere") == first
    assert editions.archive("2026.1").read_bytes() == content
    with zipfile.ZipFile(io.BytesIO(content)) as made:
        entries = made.infolist()
    assert {entry.date_time for entry in entries} == {(2026, 11, 26, 0, 0, 0)}  # the commit's day in UTC
    assert {(entry.create_system, oct(entry.external_attr >> 16), entry.extra) for entry in entries} == {
        (3, "0o100644", b"")
    }
    assert again


@pytest.mark.parametrize(
    "version", ["", "2026", "26.1", "2026.0", "2026.01", "2026.1.1", "v2026.1", "2026.1\n", "../1.1", "２０２６.1"]
)
def test_a_version_is_year_and_number(house, version):
    with pytest.raises(Refused, match=r"is impossible; accepted: YEAR.NUMBER such as 2026.1"):
        editions.make(version, house / "_build" / "html")


def no_pages(house, _):
    shutil.rmtree(house / "_build" / "html")


def changed(house, _):
    (house / "LICENSE").write_text("another")
    (house / "new").write_text("")


def unknown_file(house, _):
    (house / "book" / "new.md").write_text("")


def another_commit(house, monkeypatch):
    (house / "LICENSE").write_text("another")
    commit(house, monkeypatch)


def changed_then(house, _):
    """Pages with a file that no commit has, which is gone since."""
    (house / "book" / "new.md").write_text("")
    render(house)
    (house / "book" / "new.md").unlink()


def made_already(house, _):
    make(house)


def listed_already(house, monkeypatch):
    (house / "book" / "editions.yml").write_text(f"- {entry(make(house))}\n")
    editions.archive("2026.1").unlink()
    commit(house, monkeypatch)
    render(house)


def no_repository(house, _):
    shutil.rmtree(house / ".git")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_pages, "there are no pages in .*html, or an older project made them; accepted: what `make book` makes"),
        (changed, r"files differ from the commit \(LICENSE, 2 in all\); accepted: a checkout without changes"),
        (unknown_file, r"files differ from the commit \(book/new.md, 1 in all\); accepted"),
        (another_commit, "the pages in .*html are of [0-9a-f]{40}; accepted: of [0-9a-f]{40}, as `make book` makes"),
        (changed_then, "the pages in .*html are of [0-9a-f]{40}[+]; accepted: of [0-9a-f]{40}, as"),
        (made_already, "edition 2026.1 exists; accepted: one not in _build/editions or book/editions.yml"),
        (listed_already, "edition 2026.1 exists; accepted: one not in _build/editions or book/editions.yml"),
        (no_repository, "is no git repository with a commit; accepted: a clone of the project"),
    ],
)
def test_what_would_be_no_edition_is_refused_and_nothing_is_written(house, monkeypatch, spoil, message):
    spoil(house, monkeypatch)
    before = {path: path.read_bytes() for path in house.glob("_build/editions/*.zip")}
    with pytest.raises(Refused, match=message) as refusal:
        make(house)
    assert "\n" not in str(refusal.value)
    assert {path: path.read_bytes() for path in house.glob("_build/editions/*") if path.suffix != ".lock"} == before


def test_a_page_of_an_edition_says_so_and_cites_itself_as_that(house, tmp_path_factory):
    made = make(house)
    html = unpacked(house, tmp_path_factory.mktemp("anywhere")) / "html"
    page, newest = ((folder / "book" / "index.html").read_text() for folder in (html, house / "_build" / "html"))
    note = f'This is edition 2026.1 of 2026-11-26; the newest pages are at <a href="{SITE}">{SITE}</a>.'
    assert page.count(note) == 1
    assert page.index(note) < page.index(editions.TOP)
    assert f"<h1>The commit é, and {SITE}</h1>" in page  # words of the page stay
    assert "edition" not in newest
    for text, where, of in ((page, f"{SITE}editions/2026.1/", "edition 2026.1, "), (newest, SITE, "")):
        fields = bibtex(text)[1].fields
        assert fields["url"] == f"{where}book/index.html"
        assert fields["howpublished"].endswith(f", {of}commit {made.commit}")
        assert re.search(rf"</cite>, {of}commit {made.commit}, 2026-11-26. {re.escape(where)}book/index.html</p>", text)
    assert (html / "index.html").read_text() == (house / "_build" / "html" / "index.html").read_text()


def test_a_site_has_the_newest_pages_and_those_of_each_listed_edition(house, monkeypatch):
    site, html = house / "_build" / "site", house / "_build" / "html"
    assert editions.publish(html, site) == site
    names = {path.relative_to(html) for path in html.rglob("*")}
    assert {path.relative_to(site) for path in site.rglob("*")} == names
    made = make(house)
    (house / "book" / "editions.yml").write_text(f"- {entry(made)}\n")
    assert editions.listed() == [made]
    commit(house, monkeypatch)
    render(house)
    editions.publish(html, site)
    old = site / "editions" / "2026.1"
    assert {path.relative_to(old) for path in old.rglob("*")} == names
    assert "This is edition 2026.1" in (old / "book" / "index.html").read_text()
    assert "This is edition" not in (site / "book" / "index.html").read_text()
    assert json.loads((old / "made_from.json").read_text())["commit"] == made.commit
    assert json.loads((site / "made_from.json").read_text())["commit"] == git(house, "rev-parse", "HEAD")


@pytest.mark.parametrize(("content", "found"), [(None, "no file"), (b"another", "[0-9a-f]{64}")])
def test_an_archive_that_is_not_the_listed_one_is_not_published(house, content, found):
    site, html = house / "_build" / "site", house / "_build" / "html"
    editions.publish(html, site)
    (house / "book" / "editions.yml").write_text(f"- {entry(make(house))}\n")
    editions.archive("2026.1").unlink()
    if content:
        editions.archive("2026.1").write_bytes(content)
    with pytest.raises(Refused, match=rf"2026.1.zip is {found}; accepted: the archive of SHA-256"):
        editions.publish(html, site)
    assert (site / "book" / "index.html").is_file()  # the old site stays
    assert not (site / "editions").exists()


def test_a_site_needs_pages(house):
    shutil.rmtree(house / "_build" / "html")
    with pytest.raises(Refused, match="there are no pages in"):
        editions.publish(house / "_build" / "html", house / "_build" / "site")


def test_the_book_lists_its_editions(house):
    using = house / "_build" / "sources" / "book" / "using.md"
    assert "No edition has been made yet." in using.read_text()
    made = make(house)._replace(doi="10.5281/zenodo.1")
    (house / "book" / "editions.yml").write_text(f"- {entry(made)}\n- {entry(made._replace(version='2026.10'))}\n")
    render(house)
    lines = using.read_text().splitlines()
    versions = [re.findall(rf"\[([\d.]+)\]\({SITE}editions/\1/\)", line) for line in lines if "zenodo" in line]
    assert versions == [["2026.10"], ["2026.1"]]  # the newest first, and 2026.10 is no number
    assert [text.strip() for text in lines[-1].strip("|").split("|")][1:] == list(made[1:])


def test_the_list_of_editions_can_be_read(capsys):
    versions = [edition.version for edition in editions.listed()]
    assert [version for version in versions if not isinstance(version, str)] == []  # 2026.10 unquoted is 2026.1
    assert versions == sorted(set(versions), key=lambda version: [int(n) for n in version.split(".")])
    runpy.run_path(editions.__file__, run_name="__main__")
    assert capsys.readouterr().out.split() == versions


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Decay", "Decay"),
        ('How far to trust <span class="math">log p(x)</span> &amp; more', r"How far to trust log p(x) \& more"),
        ("50 % of #1 costs $2: a_b, “Fréchet”", r"50 \% of \#1 costs \$2: a\_b, “Fréchet”"),
    ],
)
def test_a_page_gives_a_reference_that_bibtex_reads(title, expected):
    head = git(ROOT, "rev-parse", "HEAD")
    key, entry = bibtex(foot(title, "notebooks/memorisation_score", **cited(head)))
    assert (key, entry.type) == ("learn-or-memorise:memorisation_score", "misc")
    reference = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert entry.fields["title"] == f"{{{expected}}}"
    assert entry.fields["howpublished"] == f"In: {reference['title']}, commit {head}"
    assert entry.fields["url"] == f"{SITE}notebooks/memorisation_score.html"
    assert re.fullmatch(r"20\d\d", entry.fields["year"])
    assert [str(person) for person in entry.persons["author"]] == [f"{{{one['name']}}}" for one in reference["authors"]]


def test_people_are_authors_too(house):
    reference = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    people = [{"family-names": "Burg", "given-names": "Gerrit J.", "name-particle": "van den"}, {"name": "Ink & Sons"}]
    (house / "CITATION.cff").write_text(yaml.safe_dump(reference | {"authors": people}))
    made = cited("main")
    page = foot("T", "book/index", **made)
    assert "van den Burg, Gerrit J.; Ink &amp; Sons (" in page
    first, second = bibtex(page)[1].persons["author"]
    assert (first.first_names, first.middle_names, first.prelast_names, first.last_names) == (
        ["Gerrit"], ["J."], ["van", "den"], ["Burg"],
    )  # fmt: skip
    assert second.last_names == [r"{Ink \& Sons}"]


def test_pages_of_no_commit_say_so():
    made = cited("main")
    assert made["commit"] == "an uncommitted draft"
    assert made["date"] == str(yaml.safe_load((ROOT / "CITATION.cff").read_text())["date-released"])


def test_pages_without_a_source_have_no_citation():
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(ROOT / "book" / "_templates"))
    assert (
        environment.get_template("cite.html").render(title="Search", pagename="search", cite=cited("main")).strip()
        == ""
    )


def test_pages_are_staged_with_what_they_were_made_from(house, monkeypatch):
    monkeypatch.setenv("GITHUB_REPOSITORY", "Some/fork")
    head = git(house, "rev-parse", "HEAD")
    monkeypatch.setattr(pages, "commit", lambda digits: head)
    sources = house / "_build" / "other"
    for name in ("book/_extra", "notebooks"):
        (sources / name).mkdir(parents=True)
    shutil.copy(ROOT / "book" / "using.md", sources / "book")
    config = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["config"]
    pages._address(sources, config["html_theme_options"])
    editions.stage(sources, config)
    stamp = json.loads((sources / "book" / "_extra" / editions.STAMP).read_text())
    assert config["html_context"]["cite"]["commit"] == f"commit {head}"
    assert stamp == {"commit": head, "site": "https://some.github.io/fork/"}
    assert config["html_context"]["cite"]["site"] == stamp["site"]
    assert config["html_theme_options"]["article_footer_items"] == ["cite.html"]
    assert "No edition has been made yet." in (sources / "book" / "using.md").read_text()
    assert "book/_extra" in config["html_extra_path"]


def test_zenodo_and_the_citation_file_agree():
    zenodo = json.loads((ROOT / ".zenodo.json").read_text())
    reference = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert zenodo["title"] == reference["title"]
    assert zenodo["creators"] == [
        {"name": one.get("name") or f"{one['family-names']}, {one['given-names']}"} for one in reference["authors"]
    ]
    assert (zenodo["license"], zenodo["upload_type"]) == (reference["license"], reference["type"])
    related = [(one["relation"], one["identifier"]) for one in zenodo["related_identifiers"]]
    assert related == [("cites", work["url"]) for work in reference["references"]]
    assert {"cff-version", "message", "title", "authors"} <= set(reference)  # what the format requires
    assert set(zenodo) == {"title", "description", "upload_type", "creators", "license", "related_identifiers"}


def test_the_workflow_publishes_the_site_with_archives_by_the_name_that_they_have():
    text = (ROOT / ".github" / "workflows" / "book.yml").read_text()
    steps = yaml.safe_load(text)["jobs"]["build"]["steps"]
    (uploaded,) = [step["with"]["path"] for step in steps if "upload-pages-artifact" in step.get("uses", "")]
    assert uploaded == "_build/site"
    (script,) = [step["run"] for step in steps if "lib site" in step.get("run", "")]
    assert f'"{editions.archive("$version").name}"' in script
    assert str(editions.archive("x").parent.relative_to(ROOT)) in script
