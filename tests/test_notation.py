"""The page of notation names what the code has."""

import ast
import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def sources():
    """The code of ``lib`` and of the notebooks."""
    for path in sorted((ROOT / "lib").rglob("*.py")):
        yield path.read_text()
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "code":
                yield re.sub(r"^(\s*)[!%].*", r"\1pass", "".join(cell["source"]), flags=re.MULTILINE)  # the shell's


def rows():
    """The column "in code" of every row of the table."""
    lines = (ROOT / "book/notation.md").read_text().splitlines()
    return [cells[1] for cells in (line.split(" | ") for line in lines if line.startswith("| ")) if len(cells) == 4][1:]


def names_in_code():
    """Every identifier, the members of classes as ``Class.member``, those of modules as they are used, and the axes."""
    names, axes = set(), set()
    for node in (node for text in sources() for node in ast.walk(ast.parse(text))):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.keyword(arg=name) | ast.FunctionDef(name=name):
                names.add(name)
            case ast.Attribute(attr=name):
                names |= {name, ast.unparse(node)}
            case ast.ClassDef(name=name):
                names |= {name, *(f"{name}.{member}" for member in members(node))}
            case ast.Subscript(slice=ast.Tuple(elts=[_, ast.Constant(value=str() as shape)])):
                axes |= set(shape.split())
    return names, axes


def members(node):
    """What a class defines in its body."""
    for statement in node.body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.FunctionDef(name=name):
                yield name


def identifiers(code):
    """The names in a piece of code; that of a class with its member is one."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node)
        elif isinstance(node, ast.Name) and not re.search(rf"\b{node.id}\.", code):
            yield node.id


def test_every_name_of_the_page_is_one_of_the_code():
    names, axes = names_in_code()
    wrong = []
    for cell in rows():
        for axis, code in re.findall(r"(axis )?`([^`]+)`", cell):
            wrong += [name for name in identifiers(code) if name not in (axes if axis else names)]
    assert wrong == []


def test_the_table_is_read():
    assert len(rows()) > 40
    assert all("`" in cell for cell in rows())
    assert set(identifiers("z + t * step")) == {"z", "t", "step"}
    assert set(identifiers("Curve.s")) == {"Curve.s"}
