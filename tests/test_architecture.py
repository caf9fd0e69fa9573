"""The rules of the house that a newcomer can see."""

import ast
import re
import textwrap
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "lib").rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
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
        "dataclasses",
    )
    allowed += ("lib.measures",)
    assert [name for name in imports(path) if not name.startswith(allowed)] == []


FLOORS = ("lib.measures", "lib.models", "lib.protocols", "lib.study")
"""Upwards: a room may use those below it, and none above."""
FORMATS = ("matplotlib", "papermill", "nbformat", "IPython", "yaml", "json", "safetensors")


@pytest.mark.parametrize("path", [p for p in MODULES if dotted(p).startswith(FLOORS)], ids=dotted)
def test_no_import_leads_upwards(path):
    floor = next(index for index, name in enumerate(FLOORS) if dotted(path).startswith(name))
    assert [name for name in imports(path) if name.startswith(FLOORS[floor + 1 :])] == []


@pytest.mark.parametrize("path", [p for p in MODULES if p.parent.name == "protocols"], ids=dotted)
def test_protocols_know_no_file_format_and_draw_nothing(path):
    assert [name for name in imports(path) if name.startswith(FORMATS)] == []


@pytest.mark.parametrize("path", [p for p in MODULES if p.parent.name == "study"], ids=dotted)
def test_study_knows_nothing_of_a_work(path):
    assert [name for name in imports(path) if name.startswith("lib.protocols")] == []


def test_there_are_no_import_cycles():
    names = {dotted(path): path for path in MODULES}
    graph = {
        name: {other for other in imports(path) if other in names and other != name} for name, path in names.items()
    }
    while leaves := {name for name, needs in graph.items() if not needs & graph.keys()}:
        graph = {name: needs for name, needs in graph.items() if name not in leaves}
    assert graph == {}


CODE = {
    "on the day on which the sections were made": 7_365,
    "input that is refused, evidence held to account, a scorecard, intervals over models and doses, stability": 917,
    "the score by the number of images": 184,
    "the recorded edition: items, record, read, verify": 570,
    "editions, a site that keeps them, citations": 122,
    "measures of copying and of membership": 253,
    "planted copies": 400,
    "samplers whose truth is known": 372,
    "lessons, plans, quizzes, editions for a class": 291,
    "exercises that check themselves": 178,
    "the book on paper": 91,
    "two latents to be moved by hand": 138,
    "a reader's own model and images": 938,
    "the audit": 1_255,
    "flows": 612,
    "what is copied or influential, how measures agree, canaries": 600,
    "numbers to take away, cards, the steps of a lesson": 132,
    "a path to be walked by hand": 40,
    "noise on its way through two flows, to be moved by hand": 59,
    "cards for claims, steps for every lesson": 66,
    "features, identity, near-duplicates, means and walks": 790,
    "every measure on flows": 417,
    "networks that grow, cycles between two domains": 403,
    "digits enlarged by a network that grew": 12,
    "recovery of colour images": 63,
    "faces that grow, their eyes and mouths; code is named alike by every Python": 133,
    "the audit resumed, of decoders with planted images, of several models, beside real images": 462,
    "why a claim is open, and why its verdict changes with the sizes; an audit that knows no places": 61,
    "flows of whole digits": 125,
}
"""lines of lib and notebooks, by what they came for"""
BOOKS = {
    "on the day on which the sections were made": 2_700,
    "bars and adverse rows": 40,
    "intervals over models, power, doses": 230,
    "the score by the number of images": 119,
    "planted copies": 150,
    "samplers whose truth is known": 121,
    "two latents and a path to be moved by hand": 104,
    "flows": 134,
    "noise on its way through two flows, to be moved by hand": 27,
    "answers and canaries": 310,
    "features, identity, near-duplicates, means and walks": 519,
    "every measure on flows": 138,
    "a U-Net in the place of the perceptron": 3,
    "networks that grow, cycles between two domains": 169,
    "digits enlarged by a network that grew": 12,
    "recovery of colour images": 63,
    "faces that grow, their eyes and mouths": 79,
    "one correlation and not three, distances where the fits are": 3,
    "flows of whole digits": 99,
    "the audit resumed, of decoders with planted images, of several models, beside real images": 78,
}
"""of these, lines of notebooks"""


def test_the_house_stays_thin(capsys):
    lib = {dotted(path): code_lines(path.read_text()) for path in MODULES}
    books = {path.stem: sum(map(code_lines, code_cells(path))) for path in NOTEBOOKS}
    longest = {path.stem: max(map(code_lines, code_cells(path))) for path in NOTEBOOKS}
    with capsys.disabled():
        print(
            f"\nlines of code: lib {sum(lib.values())} in {len(lib)} modules, notebooks {sum(books.values())} in "
            f"{len(books)}; longest module {max(lib.values())}, notebook {max(books.values())}, cell {max(longest.values())}"
        )
    assert {name: count for name, count in books.items() if count > 250} == {}
    assert {name: count for name, count in longest.items() if count > 25} == {}
    assert sum(books.values()) <= sum(BOOKS.values())
    assert sum(lib.values()) + sum(books.values()) <= sum(CODE.values())
    assert [dotted(path) for path in MODULES if len(path.read_text().splitlines()) > 300] == []


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_functions_are_short(path):
    assert [name for name, length in functions(path.read_text()) if length > 40] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_function_in_a_cell_is_the_lesson_and_short(path):
    assert [name for cell in code_cells(path) for name, length in functions(cell) if length > 8] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_line_of_a_cell_is_wider_than_the_page(path):
    assert [line for cell in code_cells(path) for line in cell.splitlines() if len(line) > 100] == []


def code_cells(path):
    """The code cells of a notebook but for parameters, without what only Jupyter understands."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    chosen = [cell for cell in cells if not {"parameters", "remove-cell"} & set(cell.metadata.get("tags", []))]
    return [cell.source for cell in chosen]


def functions(text):
    """Every function with its lines of code, those of functions inside it not counted twice."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            yield node.name, code_lines("\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno]))


def code_lines(text):
    """Lines that are neither blank nor comment nor docstring nor import."""
    tree = ast.parse(textwrap.dedent(text))
    skipped = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str))
    ]
    passed = {line for node in skipped for line in range(node.lineno, node.end_lineno + 1)}
    lines = enumerate(textwrap.dedent(text).splitlines(), 1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and i not in passed for i, line in lines)


@pytest.mark.parametrize(
    "path", [p for p in MODULES if p.parent.name in ("measures", "models", "protocols")], ids=dotted
)
def test_no_device_is_named_below_study(path):
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
    pins = dict(
        line.lower().replace("_", "-").split("==") for line in (ROOT / "requirements.txt").read_text().splitlines()
    )
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    for requirement in wanted:
        name, relation, bound = re.match(r"([\w-]+)([=>]=)(.+)", requirement).groups()
        pinned = pins[name.lower().replace("_", "-")]
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
    assert described == {"help", "read", "book", "pdf", "edition", "test", "lint", "format", "clean"}
