"""What a page is made of: today's words around the outputs of a run."""

import re
import shutil

import nbformat
import pytest
import yaml

from lib.models.data import ROOT
from lib.study import claims, execution, pages, parameters, runs, scorecard
from lib.study.runs import Job

CLAIM = {
    "claim": "It holds", "kind": "direction", "where": "section 1", "published": "1", "value": "x", "unit": "nats", "range": [0, None],
    "why": "the sign",
}  # fmt: skip

CELLS = [
    ("markdown", "# A section that was added", {}),
    (
        "code",
        'dataset: str = "mnist"  # data set\ndevice: str = "auto"  # device\nseed: int = 0  # seed\n'
        'results: str = "."  # folder\nx: float = 1.0  # the number | x > 0',
        {"tags": ["parameters"]},
    ),
    (
        "code",
        "import matplotlib.pyplot as plt\nimport torch\nfrom lib.study import claims, figures\nfigures.style()\n"
        "figure, axis = plt.subplots()\naxis.plot([0, x])\nfigures.show(figure, alt=f'A line to {x:g}.')",
        {"mystnb": {"figure": {"name": "fig-line", "caption": "A line."}}},
    ),
    (
        "code",
        'values = {"x": x}\nclaims.conclude(results, "added", values, None, torch.device("cpu"))',
        {"tags": ["claims"]},
    ),
]


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A copy of what the book is made of, with one section more: its notebook, its claims, a line of contents, and an
    entry of each preset.
    """
    for name in ("book", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("_toc.yml", "_config.yml"):
        shutil.copy(ROOT / name, tmp_path)
    make = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    cells = [make[kind](source, metadata=meta) for kind, source, meta in CELLS]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=kernel)
    nbformat.write(notebook, tmp_path / "notebooks" / "added.ipynb")
    (tmp_path / "book" / "claims" / "added.yml").write_text(yaml.safe_dump([CLAIM]))
    contents = (tmp_path / "_toc.yml").read_text()
    line = "      - file: notebooks/decay\n"
    assert line in contents
    (tmp_path / "_toc.yml").write_text(contents.replace(line, line + line.replace("decay", "added")))
    for preset in (tmp_path / "notebooks" / "presets").glob("*.yml"):
        preset.write_text(f"{preset.read_text().rstrip()}\n  added: {{minutes: 0.1, parameters: {{x: 2.0}}}}\n")
    for module, name, path in (
        (parameters, "ROOT", "."),
        (parameters, "NOTEBOOKS", "notebooks"),
        (parameters, "CONTENTS", "_toc.yml"),
        (claims, "CLAIMS", "book/claims"),
        (pages, "ROOT", "."),
    ):
        monkeypatch.setattr(module, name, tmp_path / path)
    shutil.copytree(ROOT / "data", tmp_path / "data")
    return tmp_path


def run(house):
    job = next(job for job in runs.jobs("smoke", {}) if job.notebook.stem == "added")
    job = Job(job.notebook, job.parameters, house / "runs", job.timeout)
    return job, runs.execute(job)


def test_a_section_is_added_by_its_own_files_and_one_line_of_each_list(house):
    order = [path.stem for path in parameters.notebooks()]
    assert order[order.index("decay") + 1] == "added"
    job, record = run(house)
    assert record["values"]["x"]["value"] == 2.0
    card = scorecard.page((house / "book" / "scorecard.md").read_text(), scorecard.rows({"added": record}, {}))
    assert "### {doc}`../notebooks/added`" in card
    assert 'id="claim-added-x"' in card
    assert "{doc}`../notebooks/added`" in execution.page([(job, record)], {})
    pages._stage([(job, record)], {}, yaml.safe_load((house / "_toc.yml").read_text()), house / "sources")
    staged = {path.stem for path in (house / "sources" / "notebooks").glob("*.ipynb")}
    assert staged == set(order)
    text = (house / "sources" / "notebooks" / "added.ipynb").read_text()
    file = re.search(r"A line\. {download}`The numbers of this figure \(CSV\) <([\w.-]+)>`", text)[1]
    drawn = (house / "sources" / "notebooks" / file).read_text().splitlines()
    assert drawn == ["panel,kind,name,x,y,low,high", "1,line,,0,0,,", "1,line,,1,2,,"]
    assert len((house / "sources" / "book" / "results.csv").read_text().splitlines()) == 1 + card.count('class="claim"')


@pytest.mark.parametrize("found", ["1f" * 20, "1f" * 20 + "+", "unknown"])
def test_buttons_and_commands_fetch_the_commit_that_made_the_page_if_there_is_one(tmp_path, monkeypatch, found):
    monkeypatch.setattr(pages, "commit", lambda digits: found)
    monkeypatch.setenv("GITHUB_REPOSITORY", "someone/fork")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "book").mkdir()
    files = [tmp_path / name for name in ("book/using.md", "notebooks/decay.ipynb")]
    for path in files:
        shutil.copy(ROOT / path.relative_to(tmp_path), path)
    options = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["config"]["html_theme_options"]
    pages._address(tmp_path, options)
    wanted = found if found == "1f" * 20 else "main"
    assert (options["repository_url"], options["repository_branch"]) == ("https://github.com/someone/fork", wanted)
    for path in files:
        text = path.read_text()
        assert re.findall(r"git checkout -q (\w+)", text) == [wanted]
        assert set(re.findall(r"https://github.com/([\w/-]+)", text)) == {"someone/fork"}
    nbformat.read(files[1], as_version=4)


def test_words_and_verdicts_are_of_today_and_numbers_of_the_run(house):
    job, record = run(house)
    notebook = nbformat.read(job.notebook, as_version=4)
    notebook.cells[0].source = "# Another title"
    notebook.cells[2].metadata.mystnb.figure.caption = "Another caption."
    nbformat.write(notebook, job.notebook)
    (house / "book" / "claims" / "added.yml").write_text(yaml.safe_dump([CLAIM | {"range": [3, None]}]))
    assert runs.execute(job)["reused"]
    page = pages.page(job, record)
    title, _, injected, figure, table = page.cells
    assert title.source == "# Another title"
    assert "x = 2.0" in injected.source
    assert figure.metadata.mystnb.figure.caption == "Another caption."
    assert figure.metadata.mystnb.image["alt"] == "A line to 2."
    assert [list(output.data) for output in figure.outputs] == [["image/png", "text/plain"]]
    assert "✘ did not reproduce" in table.outputs[0].data["text/markdown"]
