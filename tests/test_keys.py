"""Both ways: what must change the key of a run, and what must not."""

import importlib.metadata
import shutil

import nbformat
import pytest

from lib.models.data import ROOT
from lib.study import keys, runs

PROGRAM = "from lib.measures.density import log_density\nfrom lib.study import claims\nvalue = 1.0"


@pytest.fixture
def place(tmp_path):
    """A repository of its own, with a notebook and a data set."""
    shutil.copytree(ROOT / "lib", tmp_path / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    write(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.npy").write_bytes(b"1")
    return tmp_path


def write(place, program=PROGRAM, prose="# Title"):
    cells = [
        nbformat.v4.new_markdown_cell(prose, id="prose"),
        nbformat.v4.new_code_cell("!git clone", id="colab", metadata={"tags": ["remove-cell"]}),
        nbformat.v4.new_code_cell(program, id="code"),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), place / "x.ipynb")


def key(place, threads=1, **given):
    chosen = {"dataset": f"folder:{place / 'images'}", "results": "here", "rank": 3} | given
    return keys.key(place / "x.ipynb", chosen, threads, root=place)


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_wording_is_no_part_of_a_key(place):
    before = key(place)
    write(place, prose="# Another title")
    assert key(place) == before
    write(place, program=f"# a comment\n{PROGRAM}")
    assert key(place) == before
    edit(place / "lib/measures/density.py", "import math\n", "import math  # for pi\n")
    assert key(place) == before


def test_code_that_the_notebook_does_not_use_is_no_part_of_its_key(place):
    before = key(place)
    edit(place / "lib/measures/walks.py", "import torch\n", "import torch\n\nNEW = 1\n")
    edit(place / "lib/study/figures.py", "WIDTH = 7.0", "WIDTH = 8.0")
    (place / "lib/models/another.py").write_text("NEW = 1\n")
    assert key(place) == before


def test_where_a_run_takes_place_is_no_part_of_its_key(place):
    assert key(place, results="there", scheduler="tcp://host:1") == key(place, scheduler="")


def test_what_decides_numbers_is_part_of_the_key(place):
    every = [key(place), key(place, rank=4), key(place, threads=2)]
    write(place, program=PROGRAM.replace("1.0", "2.0"))
    every.append(key(place))
    edit(place / "lib/measures/density.py", "-0.5 *", "-0.25 *")
    every.append(key(place))
    edit(place / "lib/measures/jacobian.py", "3 * 2**20", "4 * 2**20")  # which density imports
    every.append(key(place))
    (place / "images" / "a.npy").write_bytes(b"2")
    every.append(key(place))
    (place / "images" / "b.npy").write_bytes(b"2")
    every.append(key(place))
    assert len(set(every)) == len(every)


def test_versions_of_what_computes_and_the_arithmetic_are_part_of_the_key(place, monkeypatch):
    every = [key(place)]
    monkeypatch.setenv("MKL_DYNAMIC", "FALSE")
    every.append(key(place))
    version = importlib.metadata.version
    for name, same in (("scipy", False), ("numpy", False), ("matplotlib", True), ("kmedoids", True)):
        monkeypatch.setattr(
            importlib.metadata, "version", lambda asked, name=name: "0" if asked == name else version(asked)
        )
        assert (key(place) in every) == same, name
    write(place, program=f"{PROGRAM}\nfrom lib.protocols import clusters")
    assert key(place) not in every  # which import kmedoids


def test_another_notebook_changes_no_threads(monkeypatch):
    before = runs.threads()
    monkeypatch.setattr(runs.parameters, "notebooks", lambda: [ROOT / f"{i}.ipynb" for i in range(99)])
    assert runs.threads() == before
    for cores, expected in ((1, 1), (2, 1), (4, 1), (16, 4)):
        monkeypatch.setattr(runs.os, "cpu_count", lambda cores=cores: cores)
        assert runs.threads() == expected
