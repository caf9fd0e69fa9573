"""The mutator changes what it should, and nothing else."""

import ast
from pathlib import Path

import pytest
from mutants import mutants, own_tests

ROOT = Path(__file__).parents[1]


def changed(source):
    return {mutant.applied(source.encode()).decode() for mutant in mutants(source.encode())}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", {"a <= b"}),
        ("a is not None", {"a is None"}),
        ("a + b * c", {"a - b * c", "a + b / c"}),
        ("a += b", {"a -= b"}),
        ("a and not b", {"a or not b", "a and  b"}),
        ("f(3)", {"f(2)", "f(4)"}),
        ("f(0.5, False)", {"f(False, 0.5)", "f(0.25, False)", "f(1.0, False)", "f(0.5, True)"}),
        ("x.min(y, -z)", {"x.max(y, -z)", "x.min(y, z)"}),
        ("f(a, a)", set()),
        ("zip(a, b, strict=True)", {"zip(b, a, strict=True)"}),
        ('f"{a + 1}"', set()),
        ("def f(x: int | None = 1) -> int | None:\n    'a < b'", None),
        ("é = a * b  # ü\nb == é", {"é = a / b  # ü\nb == é", "é = a * b  # ü\nb != é"}),
    ],
)
def test_mutants_differ_in_one_place(source, expected):
    if expected is None:
        expected = {source.replace("= 1", f"= {k}") for k in (0, 2)}
    assert changed(source) == expected


@pytest.mark.parametrize("module", ["lib/measures/minimise.py", "tests/mutants.py"])
def test_every_mutant_is_code_and_is_described(module):
    source = (ROOT / module).read_bytes()
    for mutant in mutants(source):
        assert ast.dump(ast.parse(mutant.applied(source))) != ast.dump(ast.parse(source))
        assert "\n    -> " in mutant.described(source)


def test_a_module_has_the_tests_that_bear_its_name_and_import_it(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert own_tests(Path("lib/measures/paths.py")) == [Path("tests/test_paths.py")]
    with pytest.raises(SystemExit, match=r"lib/measures/axes.py has no tests: expected a file tests/test_axes\*.py"):
        own_tests(Path("lib/measures/axes.py"))
