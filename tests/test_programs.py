"""A program of torch.export is loaded only if it is tensors, operators and arithmetic."""

import io
import json
import logging
import zipfile

import pytest
import torch
from torch import nn

from lib.models import programs
from lib.models.programs import ForeignError
from tests.forged import Touch, rewritten


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A small network with a rectifier, for any number of latents."""
    path = tmp_path_factory.mktemp("program") / "net.pt2"
    model, z = nn.Sequential(nn.Linear(2, 3), nn.ReLU()).double().eval(), torch.zeros(3, 2, dtype=torch.float64)
    torch.export.save(torch.export.export(model, (z,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},)), path)
    return path


def test_an_honest_program_passes(program):
    programs.vet(program)


def forged(kind, source, target, trace):
    """A program that executes something when torch alone loads it."""
    evil = io.BytesIO()
    torch.save(Touch(trace), evil)
    if kind == "inputs":
        return rewritten(source, target, lambda name, c: evil.getvalue() if "sample_inputs" in name else c)
    if kind == "expression":
        # A symbol's name differs from export to export.
        def change(name, content):
            start = content.find(b"Symbol('")
            end = content.find(b"integer=True)", start) + len(b"integer=True)")
            return (
                content.replace(content[start:end], f"__import__('os').mkdir('{trace}')".encode())
                if start > 0
                else content
            )

        return rewritten(source, target, change)
    return rewritten(source, target, lambda _, c: c.replace(b"torch.ops.aten.relu.default", b"torch.os.mkdir"))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("inputs", r"holds a pickle that is more than tensors \(data/sample_inputs/model.pt\)"),
        ("expression", r"holds an expression that is not arithmetic \(__import__\('os'\).mkdir"),
        ("target", "holds a call of torch.os.mkdir"),
    ],
)
def test_a_forged_program_is_refused_and_executes_nothing(program, tmp_path, kind, said):
    path = forged(kind, program, tmp_path / "forged.pt2", tmp_path / "executed")
    with pytest.raises(ForeignError, match=said):
        programs.vet(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("kind", ["inputs", "expression"])
def test_torch_alone_would_execute_it(program, tmp_path, kind):
    """Without this, the test above could not fail."""
    path = forged(kind, program, tmp_path / "forged.pt2", tmp_path / "executed")
    logging.disable(logging.CRITICAL)
    with pytest.raises((AssertionError, AttributeError)):
        torch.export.load(path)
    logging.disable(logging.NOTSET)
    assert (tmp_path / "executed").exists()


def edited(program, target, ending, change):
    """The same program with one of its JSON files changed."""

    def rewrite(name, content):
        if not name.endswith(ending):
            return content
        described = json.loads(content)
        change(described)
        return json.dumps(described).encode()

    return rewritten(program, target, rewrite)


def pickled(described):
    next(iter(described["config"].values()))["use_pickle"] = True


def opaque(described):
    described["config"]["x"] = {"path_name": "opaque_obj_0", "use_pickle": False}


def guarded(described):
    described["guards_code"] = ["open('x')"]


@pytest.mark.parametrize(
    ("ending", "change", "said"),
    [
        ("weights_config.json", pickled, r"holds an object other than a tensor \(0.weight\)"),
        ("constants_config.json", opaque, r"holds an object other than a tensor \(x\)"),
        ("model.json", guarded, r"holds an expression that is not arithmetic \(open\('x'\)\)"),
    ],
)
def test_whatever_is_unpickled_or_evaluated_is_seen(program, tmp_path, ending, change, said):
    with pytest.raises(ForeignError, match=said):
        programs.vet(edited(program, tmp_path / "x.pt2", ending, change))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("data/aotinductor/model/x.so", r"compiled code \(data/aotinductor/model/x.so\)"),
        ("data/weights/model.pt", r"a pickle \(data/weights/model.pt\)"),
        ("data/constants/model.pt", r"a pickle \(data/constants/model.pt\)"),
        ("Data/Weights/Model.PT", r"a pickle \(data/weights/model.pt\)"),
    ],
)
def test_a_part_that_would_be_run_is_seen(program, tmp_path, name, said):
    path = rewritten(program, tmp_path / "x.pt2", lambda _, content: content)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"net/{name}", b"anything")
    with pytest.raises(ForeignError, match=said):
        programs.vet(path)


def test_a_name_that_torch_cannot_tell_from_another_is_seen(program, tmp_path):
    path = rewritten(program, tmp_path / "x.pt2", lambda _, content: content)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(archive.namelist()[0].upper(), b"anything")
    with pytest.raises(ForeignError, match="two entries of one name"):
        programs.vet(path)


@pytest.mark.parametrize(
    "text", ["Symbol('s68', positive=True, integer=True)", "4*s0 + 1", "Mul(Integer(4), Symbol('u0'))"]
)
def test_arithmetic_of_sizes_is_let_through(text):
    assert programs._arithmetic(text)


@pytest.mark.parametrize(
    "text", ["exec('1')", "s0.x()", "Eq('open(1)', 1)", "__import__('os')", "[x for x in s0]", "lambda: 1", "(", "eval"]
)
def test_whatever_else_is_evaluated_is_not(text):
    assert not programs._arithmetic(text)
