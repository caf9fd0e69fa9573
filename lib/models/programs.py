"""Programs of ``torch.export``, looked at before they are loaded: tensors, operators and arithmetic, or refused.

What ``torch.export.load`` of torch 2.13 would run from a file, and what is asked of each here:

- example inputs: it falls back to ``torch.load(weights_only=False)``; they must load with ``weights_only=True``;
- weights and constants marked as pickles, custom and opaque objects: refused;
- compiled libraries (AOTInductor): refused;
- expressions of sizes, which sympy evaluates as Python: calls of its own arithmetic with numbers and symbols alone;
- the graph's targets, looked up by name from ``torch`` on: operators and arithmetic alone.
"""

import ast
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch

SYMBOL = re.compile(r"(s|u|zf|zuf)\d+")
TARGET = re.compile(
    r"torch\.ops\.\w+\.\w+(\.\w+)?|torch\.sym_\w+|math\.\w+"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|pow|neg|eq|ne|lt|le|gt|ge|and_|or_)"
)
ARITHMETIC = {
    *("Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Mod", "Eq", "Ne", "Equality"),
    *("FloorDiv", "ModularIndexing", "PythonMod", "CeilDiv", "CleanDiv", "IntTrueDiv", "FloatTrueDiv", "Identity"),
    *("Unequality", "LessThan", "StrictLessThan", "GreaterThan", "StrictGreaterThan", "And", "Or", "Not"),
    *("true", "false"),
    *("floor", "ceiling", "oo", "int_oo", "positive", "integer", "nonnegative"),
}
NODES = (ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant, ast.keyword, ast.UnaryOp, ast.BinOp, ast.Compare)
KINDS = (*NODES, ast.operator, ast.unaryop, ast.cmpop)


class ForeignError(ValueError):
    """A model of somebody's own that cannot be used: what was given, what is accepted, and what to do."""


def vet(file: Path) -> None:
    """Look at everything in a ``.pt2`` file that loading it would run.

    Raises:
        ForeignError: it holds more than tensors, operators and arithmetic (named), or cannot be read.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            found = next(_suspicious(archive), None)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ForeignError(f"{file} is damaged ({error}); save it again with torch.export.save") from None
    if found:
        raise ForeignError(
            f"{file} holds {found}, which loading it would run, and is not opened; save the model again with "
            "torch.export.save and plain tensors as example inputs, or give it as FILE.py:NAME"
        )


def _suspicious(archive: zipfile.ZipFile) -> Iterator[str]:
    names = [name.lower() for name in archive.namelist()]  # as torch's reader finds them
    if len(set(names)) < len(names):
        yield "two entries of one name"
    for name, lower in zip(archive.namelist(), names, strict=True):
        inner = lower.partition("/")[2]
        if inner.startswith("data/aotinductor/"):
            yield f"compiled code ({inner})"
        elif inner.startswith("data/sample_inputs/") and not _plain(archive.read(name)):
            yield f"a pickle that is more than tensors ({inner})"
        elif re.fullmatch(r"data/(weights|constants)/.*\.pt", inner):
            yield f"a pickle ({inner})"
        elif re.fullmatch(r"data/(weights|constants)/.*\.json", inner):
            yield from _payloads(json.loads(archive.read(name)))
        elif inner.startswith("models/"):
            yield from _program(json.loads(archive.read(name)))


def _plain(content: bytes) -> bool:
    """Whether torch's restricted reader takes it: that of tensors, which knows no other class."""
    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except Exception:  # whatever it says, the other reader is not asked
        return not content
    return True


def _payloads(config: dict) -> Iterator[str]:
    for key, entry in config["config"].items():
        if entry["use_pickle"] or not re.match(r"(weight|tensor)_\d+$", entry["path_name"]):
            yield f"an object other than a tensor ({key})"


def _program(part: object, key: str = "") -> Iterator[str]:
    if isinstance(part, dict):
        for name, value in part.items():
            yield from _program(value, name)
    elif isinstance(part, list):
        for value in part:
            yield from _program(value, key)
    elif isinstance(part, str):
        if key == "target" and not TARGET.fullmatch(part):
            yield f"a call of {part[:60]}"
        if key in ("expr_str", "guards_code") and not _arithmetic(part):
            yield f"an expression that is not arithmetic ({part[:60]})"


def _arithmetic(text: str) -> bool:
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError):
        return False
    return all(isinstance(node, KINDS) and _number_or_symbol(node) for node in nodes)


def _number_or_symbol(node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return node.id in ARITHMETIC or bool(SYMBOL.fullmatch(node.id))
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return bool(SYMBOL.fullmatch(node.value))
    return not (isinstance(node, ast.Call) and not isinstance(node.func, ast.Name))
