import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lib.models import closure
from lib.models.closure import ROOT, digest, families, normal, sources
from lib.models.fit import family_code

FAMILIES = {"convolutional", "cycle", "flows", "generative", "kfold", "progressive", "stochastic"}


@pytest.fixture
def tree(tmp_path):
    """A copy of the sources."""
    shutil.copytree(ROOT / "lib", tmp_path / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def names(code, root):
    return {path.relative_to(root).as_posix() for path in sources(code, root=root)}


def package(root, **modules):
    for name, text in {"__init__": "", **modules}.items():
        (root / "pack").mkdir(exist_ok=True)
        (root / "pack" / f"{name}.py").write_text(text)
    return root


def test_sources_are_what_is_imported_in_any_way_and_what_that_imports(tmp_path):
    package(
        tmp_path,
        a="import torch\nfrom pack import b\ndef f():\n    import pack.c as c\n",
        b="from .d import name\nfrom . import a\n",
        c="",
        d="",
        e="from pack.a import f",
    )
    reached = {f"pack/{name}.py" for name in ("__init__", "a", "b", "c", "d")}
    assert names(tmp_path / "pack" / "a.py", tmp_path) == reached
    assert names("if True:\n    from pack import b", tmp_path) == reached
    assert names("import torch, pathlib", tmp_path) == set()


def test_a_package_brings_what_its_init_imports(tmp_path):
    package(tmp_path, __init__="from pack import a", a="", b="")
    assert names("import pack.b", tmp_path) == {"pack/__init__.py", "pack/a.py", "pack/b.py"}


@pytest.mark.parametrize(
    "same",
    [
        "# why\nx = 1\ndef f(y):\n    return y + x\n",
        '"""What it is."""\nx = 1\n"""what x is"""\n\n\ndef f(y):\n    """Add."""\n    return (\n        y + x\n    )\n',
    ],
)
def test_comments_docs_and_layout_do_not_count(same):
    assert normal(same) == normal("x = 1\ndef f(y):\n    return y + x")


@pytest.mark.parametrize("other", ["x = 2", "x = '1'", "x = 1.0", "y = 1", "x: int = 1", "x = 1\nx"])
def test_code_counts(other):
    assert normal(other) != normal("x = 1")


def test_a_string_that_is_a_value_counts():
    assert normal("def f():\n    return 'a'") != normal("def f():\n    return 'b'")


PROGRAM = """
class Box(list):
    width: int = 1

    def area(self, *sides: float, scale=1.0) -> str:
        for side in [side for side in sides if side]:
            scale *= side
        return f"{scale:.2f} {self.width!r}"


async def later(x):
    match x:
        case {"a": [1, *rest]}:
            return lambda y=None: (yield y)
"""


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="later versions dump trees in another way")
@pytest.mark.parametrize("path", [PROGRAM, *sorted((ROOT / "lib").rglob("*.py"))], ids=str)
def test_a_tree_is_written_as_python_3_11_dumps_it(path):
    tree = ast.parse(path if path == PROGRAM else path.read_text())
    assert closure._written(tree) == ast.dump(tree)


def test_a_digest_is_the_same_whatever_the_version_of_python(monkeypatch):
    """Python 3.12 gave functions and classes a field, and the first recordings made with it had other digests."""
    known = "48b5fe58cf11066f4404d37fcaf8bd0f4d546f4e636d5569b97b1594359603c4"
    assert digest([PROGRAM]) == known
    for kind in (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef):
        monkeypatch.setattr(kind, "_fields", (*dict.fromkeys((*kind._fields, "type_params")),))
        monkeypatch.setattr(kind, "type_params", [], raising=False)
    assert "type_params" not in normal(f"{PROGRAM}\n")
    assert digest([f"{PROGRAM}\n"]) == known


def test_the_digest_sees_names_and_content_but_not_the_place(tmp_path):
    digests = set()
    for place in (tmp_path / "one", tmp_path / "two"):
        place.mkdir()
        digests.add(digest([package(place, a="x = 1") / "pack" / "a.py"], root=place))
    assert len(digests) == 1
    (tmp_path / "one" / "pack" / "b.py").write_text("x = 1")
    (tmp_path / "one" / "pack" / "c.py").write_text("x = 2")
    more = {digest([tmp_path / "one" / "pack" / f"{name}.py"], root=tmp_path / "one") for name in "abc"}
    assert len(more | digests) == 3


def codes(root):
    return {name: family_code(root / "lib" / "models" / f"{name}.py", root=root) for name in FAMILIES}


def changed(tree, path, edit):
    """The families whose code is another after an edit of a file."""
    before, file = codes(tree), tree / "lib" / path
    file.write_text(edit(file.read_text() if file.exists() else ""))
    after = codes(tree)
    return {name for name in FAMILIES if after[name] != before[name]}


@pytest.mark.parametrize(
    ("path", "edit"),
    [
        ("models/sources.py", lambda text: f"# a comment\n{text}"),
        ("models/sources.py", lambda text: f"{text}\nx = 1\n"),
        ("models/data.py", lambda text: f"{text}\nx = 1\n"),
        ("models/fit.py", lambda text: f"{text}\nx = 1\n"),
        ("models/kfold.py", lambda text: text.replace('"""', '"""Another word. ', 1)),
        ("models/another_family.py", lambda text: "from lib.models import draws, family, loop\n"),
        ("models/streams.py", lambda text: f"{text}\nclass AnotherStream(IntEnum):\n    WEIGHTS = 1\n"),
        ("measures/geodesic.py", lambda text: f"{text}\nx = 1\n"),
        ("study/runs.py", lambda text: f"{text}\nx = 1\n"),
    ],
    ids=["a comment", "a reader", "data", "the cache", "a docstring", "a family", "its stream", "a measure", "study"],
)
def test_what_does_not_make_a_fit_leaves_it_alone(tree, path, edit):
    assert changed(tree, path, edit) == set()


@pytest.mark.parametrize(
    ("path", "families"),
    [
        ("models/convolutional.py", {"convolutional"}),
        ("models/kfold.py", {"kfold"}),
        ("models/autoencoders.py", {"kfold"}),
        ("models/pyramid.py", {"cycle", "generative", "progressive"}),
        ("models/generative.py", {"generative", "progressive"}),
        ("models/stochastic.py", {"stochastic"}),
        ("models/ensemble.py", {"kfold", "stochastic"}),
        ("models/networks.py", {"convolutional", "kfold", "stochastic"}),
        ("models/draws.py", FAMILIES),
        ("models/loop.py", FAMILIES),
        ("measures/likelihood.py", {"kfold"}),
        ("measures/density.py", {"kfold"}),
    ],
)
def test_a_changed_line_makes_the_fits_anew_that_it_can_change(tree, path, families):
    assert changed(tree, path, lambda text: f"{text}\nx = 1\n") == families


def test_the_sources_of_a_family_do_not_read_data():
    for name in FAMILIES:
        reached = {path.stem for path in closure.sources(ROOT / "lib" / "models" / f"{name}.py")}
        assert not reached & {"data", "sources", "fit", "runs"}, name
        assert {"draws", "family", "loop", "store"} <= reached
    assert Path(__file__) in sources(Path(__file__))


def test_the_key_of_the_workflow_follows_the_families_and_nothing_else(tree):
    key = subprocess.run([sys.executable, "-m", "lib.models.closure"], capture_output=True, text=True, check=True)
    assert key.stdout.strip() == digest(families(root=tree), root=tree)
    names = {path.stem for path in families()}
    assert FAMILIES | {"density", "draws", "loop"} <= names
    assert not names & {"data", "sources", "fit", "runs", "geodesic"}
