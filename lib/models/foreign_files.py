"""Models made elsewhere: what an address means, and what opening it trusts.

``FILE.py:NAME`` and ``package.module:NAME`` run the user's own code, as ``python FILE.py`` would; a note says so. NAME
may be an attribute, such as ``vae.decode``.

A ``.pt2`` file (``torch.export.save``) is an archive of weights and a graph in JSON. ``torch.export.load`` of torch
2.13 nevertheless runs whatever a forged one holds: it unpickles example inputs that are not plain tensors, unpickles
constants of other kinds, and evaluates the expressions of sizes (``sympy.sympify``). Each of these is looked at first,
and what is more than tensors, operators and arithmetic is refused (:mod:`lib.models.programs`).

TorchScript (``torch.jit.save``) is read by torch's own reader, which knows no Python class: an archive that asks for
one ends in an error. Its program can still call every operator of torch, some of which read and write files. ONNX is a
description of operators, without code. None of this makes a file of unknown origin safe; it keeps pickles closed.
"""

import ast
import functools
import importlib
import importlib.util
import logging
import sys
import traceback
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch

from lib.models import programs
from lib.models.programs import ForeignError

FILES = (".pt2", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin", ".joblib", ".safetensors", ".onnx")
"""Suffixes of files that are models, or are taken for one."""

OPSET = 18
"""ONNX operators are rewritten to this version: onnx2torch 1.5.15 knows none of later ones"""

ACCEPTED = (
    "FILE.py:NAME or package.module:NAME (your own code), FILE.pt2 (torch.export.save), FILE.pt (torch.jit.save), "
    "FILE.onnx"
)


class Loaded(NamedTuple):
    """A model as it was found."""

    model: Callable
    """what is called"""
    kind: str
    """``python``, ``torch.export``, ``TorchScript`` or ``ONNX``"""
    notes: tuple[str, ...]


def load(address: str) -> Loaded:
    """The model at an address, in evaluation mode where its file says so, otherwise as it is.

    Raises:
        ForeignError: with what was given, what is accepted, and what to do.
    """
    source, _, name = address.rpartition(":")
    if source.endswith(".py"):
        return _from_file(_path(source), name)
    if address.endswith(".py"):
        raise ForeignError(f"{address} is a file of code; give it as {address}:NAME{_defined(Path(address))}")
    file = _path(address)
    if file.suffix.lower() in FILES or file.is_file():
        return _opened(file)
    if source and all(part.isidentifier() for part in [*source.split("."), *name.split(".")]):
        return _from_module(source, name)
    raise ForeignError(f"{address!r} is no model; accepted: {ACCEPTED}")


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # a user whom this machine does not know
        raise ForeignError(f"{text}: {error}; accepted: {ACCEPTED}") from None


def _from_file(file: Path, name: str) -> Loaded:
    if not file.is_file():
        raise ForeignError(f"{file} is not there; accepted: {ACCEPTED}")
    status = file.stat()
    module = _module(file, status.st_mtime_ns, status.st_size)
    return Loaded(_named(module, name, str(file)), "python", (f"runs the code of {file}",))


@functools.cache  # a decoder and an encoder of one file are of one model: the file runs once, until it changes
def _module(file: Path, *_: int) -> ModuleType:
    name = f"audited_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    folder = str(file.resolve().parent)
    sys.path.insert(0, folder)  # first while the file runs, as for ``python FILE.py``
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ForeignError(
            f"{file} ended with {what(error)}{_line(error, file)}; it must run by itself first"
        ) from error
    finally:
        sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)  # last afterwards, for what its functions import later
    return module


def _from_module(source: str, name: str) -> Loaded:
    try:
        module = importlib.import_module(source)
    except (Exception, SystemExit) as error:
        raise ForeignError(f"{source} cannot be imported ({what(error)}); accepted: {ACCEPTED}") from error
    return Loaded(_named(module, name, source), "python", (f"runs the code of the module {source}",))


def _named(module: ModuleType, name: str, source: str) -> Callable:
    found = functools.reduce(lambda part, step: getattr(part, step, None), name.split("."), module)
    if found is None:
        names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ForeignError(
            f"{source} has no {name or 'NAME'}; what can be called there: {', '.join(names) or 'nothing'}"
        )
    if isinstance(found, type):
        raise ForeignError(
            f"{name} of {source} is a class; give an object of it: add the line 'model = {name}(...)' with its weights "
            f"and 'model.eval()', and give {source}:model"
        )
    if not callable(found):
        raise ForeignError(
            f"{name} of {source} is {type(found).__name__}, which cannot be called; give a function or module"
        )
    return found


def _opened(file: Path) -> Loaded:
    if not file.is_file():
        raise ForeignError(f"{file} is not there, or is not a regular file; accepted: {ACCEPTED}")
    if file.suffix.lower() == ".onnx":
        return _onnx(file)
    inside = _inside(file)
    if "archive_format" in inside:
        programs.vet(file)
        return _read(file, "torch.export", _program)
    if "constants.pkl" in inside and any(name.startswith("code/") for name in inside):
        return _read(file, "TorchScript", _script)
    if file.suffix.lower() not in FILES:
        raise ForeignError(f"{file} is no model; accepted: {ACCEPTED}")
    raise _refusal(file)


def _refusal(file: Path) -> ForeignError:
    """What to do with weights: four lines of code, in which the pickle is read as tensors alone."""
    if file.suffix.lower() == ".safetensors":
        what, package, read = "weights without a network", "safetensors.torch", "safetensors.torch.load_file({})"
    else:
        what, package, read = "a pickle, which can run any code", "torch", "torch.load({}, weights_only=True)"
    return ForeignError(
        f"{file} is {what}, and is not opened; write these four lines into my_model.py, with your own network: "
        f"import {package}, my_code; model = my_code.Net(); model.load_state_dict({read.format(repr(str(file)))}); "
        "decoder = model.eval(); and give my_model.py:decoder"
    )


def _inside(file: Path) -> set[str]:
    """What a zip archive holds, without the folder that torch puts around it; nothing if it is none."""
    try:
        with zipfile.ZipFile(file) as archive:
            return {name.partition("/")[2] for name in archive.namelist()}
    except zipfile.BadZipFile:
        return set()


def _read(file: Path, kind: str, read: Callable[[Path], Callable]) -> Loaded:
    try:
        return Loaded(read(file), kind, ())
    except Exception as error:  # readers fail in many ways
        raise ForeignError(
            f"{file} cannot be read by torch {torch.__version__} ({what(error)}); save it again"
        ) from error


def _program(file: Path) -> Callable:
    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it logs what is raised
    try:
        return torch.export.load(file).module()
    finally:
        logger.setLevel(level)


def _script(file: Path) -> Callable:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript as such is deprecated
        return torch.jit.load(file)


def _onnx(file: Path) -> Loaded:
    if importlib.util.find_spec("onnx2torch") is None:
        raise ForeignError(
            f"{file}: ONNX models are converted by onnx2torch, which is not installed: pip install onnx2torch"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = _converted(file)
    except Exception as error:  # an operator that it does not know, among others
        raise ForeignError(
            f"{file} cannot be converted by onnx2torch ({what(error)}); so it has no gradients: "
            "make images with it and give them as samples only, or save the model with torch.export.save"
        ) from error
    return Loaded(model, "ONNX", ("ONNX converted by onnx2torch",))


def _converted(file: Path) -> Callable:
    """The network of an ONNX file, written in the operators that the converter knows."""
    import onnx
    from onnx import numpy_helper, version_converter
    from onnx2torch import convert

    description = onnx.load(str(file))
    if any(part.domain in ("", "ai.onnx") and part.version > OPSET for part in description.opset_import):
        description = version_converter.convert_version(description, OPSET)
    shapes = {part.name: numpy_helper.to_array(part) for part in description.graph.initializer}
    for node in description.graph.node:
        if node.op_type == "Reshape" and node.input[1] in shapes and (shapes[node.input[1]] != 0).all():
            # A shape without a zero means the same with ``allowzero``, which the converter does not know.
            for attribute in [one for one in node.attribute if one.name == "allowzero"]:
                node.attribute.remove(attribute)
    return convert(description).eval()


def _defined(file: Path) -> str:
    """The names that a file defines, read without running it."""
    try:
        body = ast.parse(file.read_text(encoding="utf-8")).body
    except (OSError, ValueError, SyntaxError):
        return ""
    names = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    names += [
        target.id
        for node in body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    return f"; it defines {', '.join(names)}" if names else ""


def what(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _line(error: BaseException, file: Path) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f" in line {lines[-1]}" if lines else ""
