"""Do the tests bite? Change a module in one place, and see whether its own tests fail.

    python -m tests.mutants --seed 0 --n 20 lib/measures/intervals.py lib/measures/paths.py

A mutant differs from its module in one operator, comparison, constant, name or order of arguments. It is run in a
temporary copy of the repository, against the test files that bear the module's name and import it, and is killed if
they fail (or do not end in time). For each module this prints how many of ``n`` random mutants were killed, and each
survivor: it is a hole in the tests, or equivalent to the original. Settings (default values, and constants of the module)
are counted apart: of a number of draws, any near it is as right. By hand and nightly; not part of the test suite.
"""

import argparse
import ast
import importlib
import io
import itertools
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
COPIED = ("lib", "tests", "benchmarks", "notebooks", "book", "data", "pyproject.toml")

COMPARISONS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "is not": "is", "is": "is not"}
COMPARISONS |= {"not in": "in", "in": "not in"}
ARITHMETIC = {"+": "-", "-": "+", "*": "/", "/": "*", "//": "*", "**": "*", "%": "*", "&": "|", "|": "&", "@": "*"}
LOGIC = {"and": "or", "or": "and"}
PAIRS = ("min max", "amin amax", "argmin argmax", "any all", "sum mean", "ceil floor", "sin cos", "zeros ones")
COMMUTATIVE = {"min", "max", "logaddexp", "transpose", "addcmul_"}  # the order of their arguments does not matter
NAMES = {name: other for pair in map(str.split, PAIRS) for name, other in (pair, pair[::-1])}


class Mutant(NamedTuple):
    """A module with one place changed."""

    start: int
    """byte at which the change begins"""
    end: int
    new: str
    setting: bool = False
    """whether it is a default value, or a constant of the module: often any number near it is as right"""

    def applied(self, source: bytes) -> bytes:
        """The text of the mutant."""
        return source[: self.start] + self.new.encode() + source[self.end :]

    def described(self, source: bytes) -> str:
        """The line before and after."""
        line = source.count(b"\n", 0, self.start)
        before, after = (text.decode().splitlines()[line].strip() for text in (source, self.applied(source)))
        return f"{line + 1}: {before}\n    -> {after}"


def mutants(source: bytes) -> list[Mutant]:
    """All mutants of a module, in the order of its text."""
    return sorted(set(_Mutations(source)))


class _Mutations:
    """Walks the code, but for what does nothing: annotations, docstrings, messages, and ``strict`` of equal lengths."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.lines = [0]
        for line in source.splitlines(keepends=True):
            self.lines.append(self.lines[-1] + len(line))
        self.tree = tree = ast.parse(source)
        arguments = [node.args for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        defaults = [value for given in arguments for value in (*given.defaults, *given.kw_defaults) if value]
        fields = [
            node.value
            for each in ast.walk(tree)
            if isinstance(each, ast.ClassDef)
            for node in each.body
            if isinstance(node, ast.AnnAssign) and node.value
        ]
        constants = [node.value for node in tree.body if isinstance(node, ast.Assign)]
        self.settings = {child for value in (*defaults, *fields, *constants) for child in ast.walk(value)}

    def __iter__(self) -> Iterator[Mutant]:
        return self._walk(self.tree)

    def _walk(self, node: ast.AST) -> Iterator[Mutant]:
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.keyword) and node.arg == "strict"):
            return
        yield from (mutant._replace(setting=node in self.settings) for mutant in self._mutated(node))
        for field, value in ast.iter_fields(node):
            if field not in ("annotation", "returns", "decorator_list"):
                for child in value if isinstance(value, list) else [value]:
                    if isinstance(child, ast.AST):
                        yield from self._walk(child)

    def _mutated(self, node: ast.AST) -> Iterator[Mutant]:
        match node:
            case ast.Compare():
                operands = [node.left, *node.comparators]
                for left, right in itertools.pairwise(operands):
                    yield from self._between(left, right, COMPARISONS)
            case ast.BinOp():
                yield from self._between(node.left, node.right, ARITHMETIC)
            case ast.AugAssign():
                yield from self._between(node.target, node.value, {f"{a}=": f"{b}=" for a, b in ARITHMETIC.items()})
            case ast.BoolOp():
                for left, right in itertools.pairwise(node.values):
                    yield from self._between(left, right, LOGIC)
            case ast.UnaryOp():
                start = self._span(node)[0]
                yield Mutant(start, start + (3 if isinstance(node.op, ast.Not) else 1), "")
            case ast.Constant(value=bool()):
                yield Mutant(*self._span(node), str(not node.value))
            case ast.Constant(value=int()):
                yield from (Mutant(*self._span(node), str(node.value + step)) for step in (-1, 1))
            case ast.Constant(value=float()):
                yield from (Mutant(*self._span(node), str(node.value * factor or 1.0)) for factor in (0.5, 2))
            case ast.Call():
                yield from self._call(node)

    def _call(self, node: ast.Call) -> Iterator[Mutant]:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
        if name in NAMES:
            end = self._span(node.func)[1]
            yield Mutant(end - len(name), end, NAMES[name])
        if len(node.args) > 1 and name not in COMMUTATIVE and not isinstance(node.args[0], ast.Starred):
            (a, b), (c, d) = map(self._span, node.args[:2])
            first, between, second = self.source[a:b], self.source[b:c], self.source[c:d]
            if first != second:
                yield Mutant(a, d, (second + between + first).decode())

    def _between(self, left: ast.AST, right: ast.AST, swaps: dict[str, str]) -> Iterator[Mutant]:
        start, end = self._span(left)[1], self._span(right)[0]
        operator = self.source[start:end].decode().strip("() \n")
        if operator in swaps:
            at = start + self.source[start:end].index(operator.encode())
            yield Mutant(at, at + len(operator), swaps[operator])

    def _span(self, node: ast.AST) -> tuple[int, int]:
        return (
            self.lines[node.lineno - 1] + node.col_offset,
            self.lines[node.end_lineno - 1] + node.end_col_offset,
        )


def own_tests(module: Path) -> list[Path]:
    """The test files that bear a module's name and import it."""
    package, name = ".".join(module.parts[:-1]), module.stem
    uses = re.compile(rf"{package}\.{name}\b|from {package} import [^\n]*\b{name}\b")
    files = [path for path in sorted(Path("tests").rglob(f"test_{name}*.py")) if uses.search(path.read_text())]
    if not files:
        raise SystemExit(f"{module} has no tests: expected a file tests/test_{name}*.py that imports it")
    return files


@contextmanager
def copied_tree() -> Iterator[None]:
    """Work in a copy of the repository, without its bytecode."""
    with tempfile.TemporaryDirectory() as folder:
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, Path(folder, name), ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, folder)
        os.chdir(folder)
        sys.path[:] = [
            str(Path.cwd()),
            str(Path("tests").resolve()),
            *(path for path in sys.path if Path(path) != ROOT),
        ]
        try:
            yield
        finally:
            os.chdir(ROOT)


def imported_once(files: list[Path]) -> None:
    """Import what the tests need from elsewhere, so that every mutant's process starts with it."""
    for file in (Path("conftest.py"), *files):
        importlib.import_module(file.stem)
    for name, module in list(sys.modules.items()):
        if Path.cwd() in Path(getattr(module, "__file__", None) or "/").resolve().parents:
            del sys.modules[name]


def passes(files: list[Path], seconds: float) -> bool:
    """Whether the tests pass, in a process that starts from this one's imports and is given some time."""
    child = os.fork()
    if not child:
        os.setsid()
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
        import pytest

        options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:faulthandler"]
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # plugins are imported already
        os._exit(int(pytest.main([*options, *map(str, files)])))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


class Count(NamedTuple):
    """Mutants that were tried, and that survived: of what a module does, and of its settings."""

    tried: int
    alive: int
    settings: int
    settings_alive: int


def survivors(module: Path, n: int, seed: int) -> Count:
    """Try some mutants of a module; print each that its tests let live."""
    source, files = module.read_bytes(), own_tests(module)
    imported_once(files)
    start = time.monotonic()
    if not passes(files, 600):
        raise SystemExit(f"the tests of {module} fail without any change: {', '.join(map(str, files))}")
    seconds = 20 + 4 * (time.monotonic() - start)
    everything = mutants(source)
    chosen = sorted(random.Random(f"{seed} {module}").sample(everything, min(n, len(everything))))
    alive = []
    for mutant in chosen:
        module.write_bytes(mutant.applied(source))
        if passes(files, seconds):
            alive.append(mutant)
            kind = "a setting of " if mutant.setting else ""
            print(f"survived {kind}{module}:{mutant.described(source)}", flush=True)
    module.write_bytes(source)
    settings, lost = sum(mutant.setting for mutant in chosen), sum(mutant.setting for mutant in alive)
    count = Count(len(chosen) - settings, len(alive) - lost, settings, lost)
    print(f"{module}: {_said(count)} (of {len(everything)} possible)", flush=True)
    return count


def _said(count: Count) -> str:
    killed = f"{count.tried - count.alive} of {count.tried} killed"
    return f"{killed}, and {count.settings - count.settings_alive} of {count.settings} changed settings"


def main() -> None:
    """Print killed and survived, module by module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="+", type=Path, help="files, such as lib/measures/intervals.py")
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice of mutants (0)")
    parser.add_argument("--n", type=int, default=20, help="mutants of each module (20)")
    given = parser.parse_args()
    modules = [path.resolve().relative_to(ROOT) for path in given.modules]
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
    sys.dont_write_bytecode = True
    with copied_tree():
        counts = [survivors(module, given.n, given.seed) for module in modules]
    total = Count(*map(sum, zip(*counts, strict=True)))
    print(f"{_said(total)}; {1 - total.alive / total.tried:.1%} of what modules do")


if __name__ == "__main__":
    main()
