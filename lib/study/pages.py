"""Render executed notebooks and prose as a Jupyter Book. Nothing is computed here; a failed run is never rendered."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import nbformat
import yaml

from lib.models.data import ROOT
from lib.study import claims, parameters
from lib.study.runs import Job

HTML = ROOT / "_build" / "html"


class BuildFailed(RuntimeError):
    """Jupyter Book refused; the message ends with what it said."""


def render(runs: Sequence[tuple[Job, dict]], output: Path = HTML) -> Path:
    """The whole book as HTML in ``output``, which is replaced only when the new pages are complete."""
    return _build(runs, yaml.safe_load((ROOT / "_toc.yml").read_text()), output, strict=True)


def render_one(run: tuple[Job, dict], output: Path) -> Path:
    """One run as a page, with the notation and the references that it points to."""
    toc = {
        "format": "jb-book",
        "root": f"notebooks/{run[0].notebook.stem}",
        "chapters": [{"file": "book/notation"}, {"file": "book/references"}],
    }
    index = _build([run], toc, output, strict=False)  # references to the other chapters lead nowhere here
    return index.with_name("notebooks") / f"{run[0].notebook.stem}.html"


def scorecard(records: Mapping[str, dict]) -> str:
    """The scorecard as Markdown: every claim of every chapter that ran, decided by its run."""
    lines = []
    counts = dict.fromkeys(claims.VERDICTS, 0)
    for chapter in dict.fromkeys(claim.chapter for claim in claims.claims()):
        values = claims.estimates(records.get(chapter, {}))
        rows = []
        for claim in claims.claims():
            if claim.chapter == chapter:
                rows.append(claims.row(claim, values))
                counts[claims.verdict(claim, values.get(claim.value))] += 1
        title = chapter[3:].replace("_", " ").capitalize()
        lines += [f"## {title}", f"Chapter: {{doc}}`../notebooks/{chapter}`", "", *claims.HEADER, *rows, ""]
    total = ", ".join(f"{count} {claims.VERDICTS[name]}" for name, count in counts.items() if count)
    intro = (ROOT / "book" / "scorecard.md").read_text()
    return f"{intro}\n**In this build:** {total}.\n\n" + "\n".join(lines)


def execution(runs: Sequence[tuple[Job, dict]]) -> str:
    """What each chapter took, on what, from which commit, as Markdown."""
    lines = ["| chapter | seconds | peak memory | device | commit | data |", "|---|---|---|---|---|---|"]
    for job, record in sorted(runs, key=lambda run: run[0].notebook.stem):
        data = (
            f"{record['dataset']['name'].split('/')[-1]} `{record['dataset']['sha256'][:12]}`"
            if record["dataset"]
            else "–"
        )
        memory = f"{record['peak_memory_bytes'] / 2**30:.2f} GiB"
        lines.append(
            f"| {{doc}}`../notebooks/{job.notebook.stem}` | {record['seconds']:.0f} | {memory} | {record['device']} "
            f"| `{record['commit']}` | {data} |"
        )
    versions = runs[0][1]["versions"]
    lines += [
        "",
        "| software | version |",
        "|---|---|",
        *(f"| {name} | {version} |" for name, version in versions.items()),
    ]
    return f"{(ROOT / 'book' / 'execution.md').read_text()}\n" + "\n".join(lines) + "\n"


NOT_RUN = """```{{admonition}} Not run in this build
:class: warning
Its data are not shipped with the project, so this page shows the code without results, and the scorecard says
"not run". With the data on your machine, `python -m lib run {name} -p data_dir PATH` makes the page.
```"""


def _chapters(toc: dict) -> set[str]:
    entries = [toc.get("root", ""), *(chapter["file"] for part in toc.get("parts", []) for chapter in part["chapters"])]
    return {entry.removeprefix("notebooks/") for entry in entries if entry.startswith("notebooks/")}


def _stage_source(notebook: Path, folder: Path) -> None:
    """A notebook without outputs, which says so."""
    content = nbformat.read(notebook, as_version=4)
    note = nbformat.v4.new_markdown_cell(NOT_RUN.format(name=notebook.stem[3:]), id="not-run")
    content.cells.insert(1, note)
    nbformat.write(content, folder / notebook.name)


def _build(runs: Sequence[tuple[Job, dict]], toc: dict, output: Path, *, strict: bool) -> Path:
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".pages-") as scratch:
        sources = Path(scratch) / "sources"
        _stage(runs, toc, sources)
        command = [
            str(Path(sys.executable).with_name("jupyter-book")),
            "build",
            str(sources),
            "--path-output",
            scratch,
            "--all",
        ]
        strictness = ["-W", "--keep-going", "-n"] if strict else []
        run = subprocess.run(
            [*command, *strictness], capture_output=True, text=True, env=os.environ | {"NO_COLOR": "1"}
        )
        if run.returncode:
            raise BuildFailed(_complaints(run.stdout + run.stderr))
        old = Path(scratch) / "old"
        if output.exists():
            output.rename(old)
        (Path(scratch) / "_build" / "html").rename(output)
    return output / "index.html"


def _complaints(output: str) -> str:
    """What Sphinx complained of: its warnings and errors, or the end of what it said where there is none."""
    lines = re.sub(r"\x1b\[[\d;]*m", "", output).splitlines()
    found = [line for line in lines if re.search(r"WARNING|ERROR|Error", line)]
    return "the book was not rendered:\n" + "\n".join(found or lines[-20:])


def _stage(runs: Sequence[tuple[Job, dict]], toc: dict, sources: Path) -> None:
    """Sources at the paths that they have in the repository, so that the buttons of a page point at them."""
    shutil.copytree(ROOT / "book", sources / "book")
    (sources / "notebooks").mkdir()
    for job, _ in runs:
        shutil.copy(job.output, sources / "notebooks" / job.notebook.name)
    for name in _chapters(toc) - {job.notebook.stem for job, _ in runs}:
        _stage_source(parameters.find(name), sources / "notebooks")
    records = {job.notebook.stem: record for job, record in runs}
    (sources / "book" / "scorecard.md").write_text(scorecard(records))
    (sources / "book" / "execution.md").write_text(execution(runs))
    (sources / "book" / "results.json").write_text(json.dumps(records, indent=1))
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    if "GITHUB_REPOSITORY" in os.environ:  # a fork's pages point at the fork
        options = config["sphinx"]["config"]["html_theme_options"]
        options["repository_url"] = f"https://github.com/{os.environ['GITHUB_REPOSITORY']}"
    (sources / "_config.yml").write_text(yaml.safe_dump(config))
    (sources / "_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False))
