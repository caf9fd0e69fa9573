"""The examples in the docstrings of the measures, as a reader would run them: in float32."""

import doctest
import importlib
import inspect
from pathlib import Path

import pytest
import torch

MODULES = sorted(path.stem for path in Path(importlib.import_module("lib.measures").__path__[0]).glob("[!_]*.py"))


def examples(name):
    """The doctests of a module, by the name of the object."""
    module = importlib.import_module(f"lib.measures.{name}")
    return module, {test.name.rpartition(".")[2]: test for test in doctest.DocTestFinder().find(module)}


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name):
    torch.set_default_dtype(torch.float32)
    runner = doctest.DocTestRunner(verbose=False)
    report = []
    for test in examples(name)[1].values():
        runner.run(test, out=report.append)
    assert not runner.summarize(verbose=False).failed, "".join(report)


@pytest.mark.parametrize("name", MODULES)
def test_every_public_function_has_an_example(name):
    module, tests = examples(name)
    public = [
        function
        for function, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not function.startswith("_")
    ]
    assert [function for function in public if function not in tests or not tests[function].examples] == []
