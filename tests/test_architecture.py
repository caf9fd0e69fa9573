"""The rules of the house that a newcomer can see."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "lib").rglob("*.py"))
MEASURES = [path for path in MODULES if path.parent.name == "measures"]


def imports(path):
    """The modules that a file imports, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def dotted(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", MEASURES, ids=dotted)
def test_measures_import_torch_scipy_and_themselves(path):
    allowed = (
        "torch",
        "scipy",
        "numpy",
        "jaxtyping",
        "tqdm",
        "math",
        "typing",
        "collections",
        "functools",
        "threading",
    )
    allowed += ("lib.measures",)
    assert [name for name in imports(path) if not name.startswith(allowed)] == []


@pytest.mark.parametrize("path", [p for p in MODULES if p.parent.name == "models"], ids=dotted)
def test_models_import_neither_measures_nor_study(path):
    assert [name for name in imports(path) if name.startswith(("lib.measures", "lib.study"))] == []


def test_there_are_no_import_cycles():
    names = {dotted(path): path for path in MODULES}
    graph = {
        name: {other for other in imports(path) if other in names and other != name} for name, path in names.items()
    }
    while leaves := {name for name, needs in graph.items() if not needs & graph.keys()}:
        graph = {name: needs for name, needs in graph.items() if name not in leaves}
    assert graph == {}


def test_lib_stays_thin():
    lengths = {dotted(path): len(path.read_text().splitlines()) for path in MODULES}
    assert max(lengths.values()) <= 300, lengths
    assert sum(map(code_lines, MODULES)) <= 3200


def code_lines(path):
    """Lines that are neither blank nor comment nor docstring."""
    text = path.read_text()
    strings = [
        node.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    documented = {line for node in strings for line in range(node.lineno, node.end_lineno + 1)}
    lines = enumerate(text.splitlines(), 1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and i not in documented for i, line in lines)


@pytest.mark.parametrize("path", [p for p in MODULES if p.parent.name in ("measures", "models")], ids=dotted)
def test_measures_and_models_name_no_device(path):
    assert re.findall(r"""["'](?:cuda|mps|cpu)["':]|\.cuda\(""", path.read_text()) == []


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_public_functions_say_what_they_do(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    public = [
        node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    assert [node.name for node in public if not ast.get_docstring(node)] == []


def test_every_dependency_has_its_reason():
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    dependencies = [line for line in lines if re.match(r'^  "[\w-]+[=>]=', line)]
    assert len(dependencies) > 15
    assert [line for line in dependencies if "  #" not in line and " # " not in line] == []


def test_pins_and_environment_agree_with_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = dict(line.lower().split("==") for line in (ROOT / "requirements.txt").read_text().splitlines())
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    for requirement in wanted:
        name, relation, bound = re.match(r"([\w-]+)([=>]=)(.+)", requirement).groups()
        pinned = pins[name.lower()]
        version, least = (tuple(int(part) for part in re.findall(r"\d+", text)) for text in (pinned, bound))
        assert pinned == bound if relation == "==" else version >= least, requirement
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, _, pip = environment["dependencies"]
    assert python.removeprefix("python=") == project["requires-python"].removeprefix(">=")
    assert pip["pip"] == ["--requirement requirements.txt", "--editable ."]
    assert environment["name"] == project["name"]


def test_pins_are_exact_and_name_no_host():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.!]+", line)] == []


def test_one_address_everywhere():
    url = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["config"]["html_theme_options"]["repository_url"]
    for name in (
        "pyproject.toml",
        "CITATION.cff",
        "book/using.md",
        *(f"notebooks/{p.name}" for p in (ROOT / "notebooks").glob("*.ipynb")),
    ):
        found = set(re.findall(r"https://github\.com/[\w.-]+/[\w-]+", (ROOT / name).read_text()))
        assert found == {url}, name


def test_the_makefile_describes_its_targets():
    text = (ROOT / "Makefile").read_text()
    described = set(re.findall(r"^(\w+):.*## ", text, re.MULTILINE))
    assert described == {"help", "book", "test", "lint", "format", "clean"}
