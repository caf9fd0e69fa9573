"""What code depends on: the files of this repository that it imports, and a digest that ignores comments.

A result is kept under a key with the digest of the code that made it. The key of a fit holds the module of its family
and all that this imports; so a new module, or a change elsewhere, discards nothing.
"""

import ast
import functools
import hashlib
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The repository: data, notebooks and pages are found from here, whatever the working directory."""
PARSING = threading.Lock()
"""Python's parser counts its depth for all threads together: SystemError is raised where two of them parse at once."""


def sources(code: Path | str, *, root: Path = ROOT) -> list[Path]:
    """The files under ``root`` that code imports, directly or not, also inside functions; sorted.

    Args:
        code: a file, which is then one of the sources; or the text of a program, such as the cells of a notebook.
        root: the folder that holds the packages.
    """
    reached = {code} if isinstance(code, Path) else set()
    waiting = [code]
    while waiting:
        fresh = set(_imports(waiting.pop(), root)) - reached
        reached |= fresh
        waiting += fresh
    return sorted(reached)


def digest(code: Iterable[Path | str], *, root: Path = ROOT) -> str:
    """SHA-256 of files (by their path under ``root``) and texts: of what they do, not of comments, docs and layout."""
    parts = [[_name(part, root), normal(_text(part))] for part in code]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def foreign(code: Iterable[Path | str], *, root: Path = ROOT) -> set[str]:
    """The packages that files and texts import from elsewhere, by the first part of their names."""
    names = {name[0] for part in code for name in _imported(_text(part), ())}
    return {name for name in names if not (root / name).is_dir()}


def families(*, root: Path = ROOT) -> list[Path]:
    """All that the fits of all families are made with."""
    folder = root / "lib" / "models"
    used = [set(sources(path, root=root)) for path in folder.glob("*.py")]
    made = [paths for paths in used if folder / "family.py" in paths and folder / "data.py" not in paths]
    return sorted(set().union(*made))


@functools.cache
def normal(text: str) -> str:
    """The syntax tree of a program, without positions and without strings that stand alone, as docstrings do."""
    tree = _parsed(text)
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [statement for statement in body if not _is_string(statement)]
    return _written(tree)


def _imports(code: Path | str, root: Path) -> Iterator[Path]:
    package = code.relative_to(root).parts[:-1] if isinstance(code, Path) and code.is_relative_to(root) else ()
    for name in _imported(_text(code), package):
        yield from _files(name, root)


@functools.cache
def _imported(text: str, package: tuple[str, ...]) -> list[list[str]]:
    """The dotted names that a program in a package imports, from a module also what it may have as a module."""
    names = []
    for node in ast.walk(_parsed(text)):
        if isinstance(node, ast.Import):
            names += [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) + 1 - node.level]] if node.level else []
            base += node.module.split(".") if node.module else []
            names += [[*base, alias.name] for alias in node.names]
    return names


def _files(name: list[str], root: Path) -> Iterator[Path]:
    """The files of a dotted name: the packages on the way, and the module if it is one."""
    for end in range(1, len(name) + 1):
        path = root.joinpath(*name[:end])
        yield from (file for file in (path / "__init__.py", path.with_name(f"{path.name}.py")) if file.is_file())


def _parsed(text: str) -> ast.Module:
    with PARSING:
        return ast.parse(text)


def _written(node: object) -> str:
    """A syntax tree as Python 3.11 dumps it: later ones add a field or leave out what is empty, in every digest."""
    if isinstance(node, list):
        return f"[{', '.join(map(_written, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [(name, getattr(node, name, None)) for name in node._fields]
    optional = [(name, None) for name in node._fields if getattr(type(node), name, ...) is None]
    unsaid = [*optional, ("type_params", [])]
    said = [f"{name}={_written(value)}" for name, value in fields if (name, value) not in unsaid]
    return f"{type(node).__name__}({', '.join(said)})"


def _is_string(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _text(code: Path | str) -> str:
    return code.read_text(encoding="utf-8") if isinstance(code, Path) else code


def _name(code: Path | str, root: Path) -> str:
    if isinstance(code, str):
        return ""
    return code.relative_to(root).as_posix() if code.is_relative_to(root) else code.name


if __name__ == "__main__":  # what the workflow keeps fits under
    print(digest(families()))
