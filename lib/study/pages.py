"""Render executed notebooks and prose as a Jupyter Book. Nothing is computed here; a failed run is never rendered."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import nbformat
import yaml

from lib.models import closure
from lib.models.data import ROOT
from lib.study import (
    audiences,
    cards,
    claims,
    downloads,
    editions,
    execution,
    front,
    parameters,
    plans,
    processes,
    scorecard,
    stability,
    tables,
    verification,
)
from lib.study.provenance import commit
from lib.study.recorded import Section
from lib.study.runs import Job, waiting

HTML = ROOT / "_build" / "html"


class BuildFailed(RuntimeError):
    """Jupyter Book refused; the message ends with what it said."""


Sections = Mapping[str, Section]
"""recorded sections by name"""


def render(
    runs: Sequence[tuple[Job, dict]], recorded: Sections, output: Path = HTML, audience: str = "readers"
) -> Path:
    """The whole book as HTML in ``output``, which is replaced only when the new pages are complete.

    Args:
        runs: what was run; of other sections, the page has what was recorded.
        recorded: the recorded sections.
        output: the folder of the pages.
        audience: ``readers``, ``students`` or ``instructors``.
    """
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    shown = {job.notebook.stem for job, _ in runs} | {name for name, section in recorded.items() if not section.changed}
    # A page without its figures leaves references to them that lead nowhere; any other warning is an error.
    whole = {path.stem for path in parameters.notebooks()} <= shown | waiting("quick").keys()
    return _build(runs, recorded, toc, output, strict=whole, audience=audience)


def render_one(run: tuple[Job, dict], output: Path) -> Path:
    """One run as a page, with the notation and the references that it points to."""
    toc = {
        "format": "jb-book",
        "root": f"notebooks/{run[0].notebook.stem}",
        "chapters": [{"file": f"book/{name}"} for name in ("notation", "prerequisites", "references")],
    }
    index = _build([run], {}, toc, output, strict=False)  # references to the other chapters lead nowhere here
    return index.with_name("notebooks") / f"{run[0].notebook.stem}.html"


CHANGED_CELL = "*This cell was changed after the recording, so what it showed then is left out.*"
RECORDED = """```{{admonition}} Recorded
:class: note
What this page shows was not computed in this build but recorded: {section}.{changed}
```"""
ANSWER = ":::{admonition} Answer\n:class: dropdown\n"
DEFAULTS = "*At the default sizes, as the command has them; the tables above are of larger ones.*\n"
CHANGED = " It was recorded with other code than today's: {parts} differ."


def page(job: Job, record: Mapping, recorded: Section | None = None) -> nbformat.NotebookNode:
    """The notebook as a page shows it: today's prose, captions and verdicts around the outputs of its run.

    Outputs are matched by cell; a cell that is not what was run shows none.

    Args:
        job: the run.
        record: its record.
        recorded: what was recorded of the same section, shown in the table of claims.
    """
    source, executed = (nbformat.read(path, as_version=4) for path in (job.notebook, job.output))
    ran = {cell.id: cell for cell in executed.cells if cell.cell_type == "code"}
    cells = []
    for cell in source.cells:
        cells.append(cell)
        if cell.cell_type == "code":
            cell.outputs = _outputs(cell, ran.get(cell.id))
            _describe(cell)
        if _tagged(cell, "claims"):
            cell.outputs = [_markdown(_decided(job.notebook.stem, record, recorded))]
            cell.metadata.tags += ["full-width"] if recorded else []
        if _tagged(cell, "parameters"):
            cells += [cell for cell in executed.cells if _tagged(cell, "injected-parameters")]
    source.cells = cells
    return source


def page_of(section: Section) -> nbformat.NotebookNode:
    """A recorded section as a page, which says that it is one, how it was made, and what has changed since."""
    shown = page(section.job, section.record)
    parts = ", ".join(f"`{part}`" for part in section.changed)
    text = RECORDED.format(section=section, changed=CHANGED.format(parts=parts) if parts else "")
    shown.cells.insert(1, nbformat.v4.new_markdown_cell(text, id="recorded"))
    for cell in shown.cells:
        if section.sizes and cell.cell_type == "markdown":
            cell.source = cell.source.replace(ANSWER, f"{ANSWER}\n{DEFAULTS}\n")
    return shown


def _decided(name: str, record: Mapping, recorded: Section | None) -> str:
    """The table of claims: of this run, with a column for the recorded one where there is one."""
    found = claims.estimates(record)
    if recorded is None:
        return tables.show(claims.frame(name, found)).data
    both = claims.beside(name, found, claims.estimates(recorded.record))
    changed = " That was with other code than today's." if recorded.changed else ""
    return tables.show(both, after=f"Recorded: {recorded}.{changed}").data


def _outputs(cell: nbformat.NotebookNode, ran: nbformat.NotebookNode | None) -> list[nbformat.NotebookNode]:
    if _tagged(cell, "remove-cell"):
        return []
    if ran is None or closure.normal(ran.source) != closure.normal(cell.source):
        return [_markdown(CHANGED_CELL)]
    return ran.outputs


def _markdown(text: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_output("display_data", {"text/markdown": text})


def _tagged(cell: nbformat.NotebookNode, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])


def _describe(cell: nbformat.NotebookNode) -> None:
    """Move the alternative text that a run gave its figure to where the page takes it from."""
    for output in cell.outputs:
        for kind, notes in output.get("metadata", {}).items():
            if kind.startswith("image/") and "alt" in notes:
                cell.metadata.setdefault("mystnb", {}).setdefault("image", {})["alt"] = notes["alt"]


NOT_RUN = """```{{admonition}} Not run in this build
:class: warning
Its data are not shipped with the project, so this page shows the code without results, and the scorecard says
"not run". With the data on your machine, `python -m lib run {name} -p data_dir PATH` makes the page.
```"""


def _chapters(toc: dict) -> set[str]:
    entries = [toc.get("root", ""), *(chapter["file"] for part in toc.get("parts", []) for chapter in part["chapters"])]
    return {entry.removeprefix("notebooks/") for entry in entries if entry.startswith("notebooks/")}


def _source(notebook: Path) -> nbformat.NotebookNode:
    """A notebook without outputs, which says so."""
    content = nbformat.read(notebook, as_version=4)
    note = nbformat.v4.new_markdown_cell(NOT_RUN.format(name=notebook.stem), id="not-run")
    content.cells.insert(1, note)
    return content


def contents(runs: Sequence[tuple[Job, dict]], recorded: Sections) -> dict[str, nbformat.NotebookNode]:
    """The pages of what was run or recorded, by section."""
    made = {job.notebook.stem: page(job, record, recorded.get(job.notebook.stem)) for job, record in runs}
    return made | {name: page_of(section) for name, section in recorded.items() if name not in made}


def _build(
    runs: Sequence[tuple[Job, dict]],
    recorded: Sections,
    toc: dict,
    output: Path,
    *,
    strict: bool,
    audience: str = "readers",
) -> Path:
    with processes.locked(output), processes.scratch(output.parent) as own:
        sources = own / "sources"
        _stage(runs, recorded, toc, sources, audience)
        program = str(Path(sys.executable).with_name("jupyter-book"))
        command = [program, "build", str(sources), "--path-output", str(own), "--all"]
        strictness = ["-W", "--keep-going", "-n"] if strict else []
        environment = os.environ | {"NO_COLOR": "1", "DOCUTILSCONFIG": str(ROOT / "book" / "docutils.conf")}
        run = subprocess.run([*command, *strictness], capture_output=True, text=True, env=environment)
        if run.returncode:
            raise BuildFailed(_complaints(run.stdout + run.stderr))
        references = own / "_build" / "html" / "book" / "references.html"  # a list of what docutils does not call items
        references.write_text(references.read_text().replace('role="doc-biblioentry"', 'role="listitem"'))
        if output.exists():
            output.rename(own / "old")
        (own / "_build" / "html").rename(output)
    return output / "index.html"


def _complaints(output: str) -> str:
    """What Sphinx complained of: its warnings and errors, or the end of what it said where there is none."""
    lines = re.sub(r"\x1b\[[\d;]*m", "", output).splitlines()
    found = [line for line in lines if re.search(r"WARNING|ERROR|Error", line)]
    return "the book was not rendered:\n" + "\n".join(found or lines[-20:])


def _stage(
    runs: Sequence[tuple[Job, dict]], recorded: Sections, toc: dict, sources: Path, audience: str = "readers"
) -> None:
    """Sources at the paths that they have in the repository, so that the buttons of a page point at them."""
    shutil.copytree(ROOT / "book", sources / "book")
    (sources / "notebooks").mkdir()
    records = {job.notebook.stem: record for job, record in runs}
    long = {name: section for name, section in recorded.items() if name in _chapters(toc)}
    kept = {name: section.record for name, section in long.items()}
    made = contents(runs, long)
    without = {name: _source(parameters.find(name)) for name in _chapters(toc) - made.keys()}
    items = {name: one.job.items for name, one in long.items()} | {job.notebook.stem: job.items for job, _ in runs}
    shown = {name: audiences.page(one, name, audience, records, kept) for name, one in {**made, **without}.items()}
    decided = scorecard.rows(records, kept)
    _stage_sections(shown, {name: path.read_bytes() for name, path in items.items()}, decided, sources)
    index, content = front.with_picture((ROOT / "book" / "index.md").read_text(), made)
    (sources / "book" / "index.md").write_text(front.numbers(index, kept | records))
    if content:
        (sources / "book" / "front.png").write_bytes(content)
    scorecard.table(decided).to_csv(sources / "book" / "results.csv", index=False)
    (sources / "book" / "execution.md").write_text(execution.page(runs, long))
    filled = {
        "scorecard": lambda text: scorecard.page(text, decided),
        "teaching": lambda text: plans.page(text, records, kept, mistakes=audience != "students"),
        "stability": lambda text: stability.with_tables(text, ROOT / "recorded" / "stability"),
        "verification": verification.with_lines,
    }
    for name, fill in filled.items():
        path = sources / "book" / f"{name}.md"
        path.write_text(fill(path.read_text()))
    (sources / "book" / "results.json").write_text(json.dumps({"this build": records, "recorded": kept}, indent=1))
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    if "parts" not in toc:  # one section, without the scorecard
        for path in sources.glob("notebooks/*.ipynb"):
            path.write_text(claims.unlinked(path.read_text()))
    _address(sources, config["sphinx"]["config"]["html_theme_options"])
    editions.stage(sources, config["sphinx"]["config"])
    (sources / "_config.yml").write_text(yaml.safe_dump(config))
    (sources / "_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False))


def _stage_sections(
    sections: Mapping[str, nbformat.NotebookNode],
    items: Mapping[str, bytes],
    decided: Sequence[scorecard.Row],
    sources: Path,
) -> None:
    """Sections with what can be taken away from them, with links to the glossary, and with what cards say."""
    glossary, notation = ((ROOT / "book" / f"{name}.md").read_text() for name in ("glossary", "notation"))
    terms = [term for term, _ in cards.terms(glossary)]
    for name, shown in sections.items():
        downloads.with_files(shown, name, items.get(name), sources / "notebooks")
        cards.linked(shown, terms)
        nbformat.write(shown, sources / "notebooks" / f"{name}.ipynb")
    texts = (cell.source for shown in sections.values() for cell in shown.cells if cell.cell_type == "markdown")
    (sources / "book" / "_static" / "cards-said.js").write_text(cards.script(glossary, notation, texts, decided))


def revision(branch: str) -> str:
    """What launch buttons and printed commands check out: the commit that is checked out as the pages are made.

    It is not the commit of a run's record. A page is the words of this commit around the numbers of a run, and a record
    is used only if its key is what the code here makes of it, so this commit has the words and gives the numbers; and
    one build has one address. Where files differ from the commit, or none is known, no commit makes such a page: then
    it is the branch.
    """
    found = commit(digits=40)
    return branch if found == "unknown" or found.endswith("+") else found


def _address(sources: Path, options: dict[str, str]) -> None:
    """Let the buttons that run a page and the commands that fetch the project name the repository and the revision.

    A fork's pages point at the fork. Edit buttons have a template of their own, and stay on the branch.
    """
    fork, branch = os.environ.get("GITHUB_REPOSITORY"), options["repository_branch"]
    url, found = f"https://github.com/{fork}" if fork else options["repository_url"], revision(branch)
    for path in (sources / "book" / "using.md", *sources.glob("notebooks/*.ipynb")):
        text = path.read_text().replace(options["repository_url"], url)
        path.write_text(text.replace(f"git checkout -q {branch}", f"git checkout -q {found}"))
    options.update(repository_url=url, repository_branch=found)
