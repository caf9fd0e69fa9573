"""The single numbers behind a section's intervals: kept beside its record, so that anybody can compute them again.

An estimate says how it was made, see :mod:`lib.measures.recipes`. That becomes a file of arrays, and text that names
the functions to call; only functions of the measures, the protocols and the data sets, and a few of numpy's, can be
named.
"""

import functools
import importlib
import io
import json
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib.measures.intervals import Estimate
from lib.measures.recipes import GIVEN, Recipe
from lib.models.data import ROOT

DAMAGED = (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error)
"""what numpy raises where a file is not what it seems"""
HOME = ("lib.measures.", "lib.protocols.", "lib.models.data")
"""packages whose functions a recipe may name"""
NUMPY = ("exp", "mean", "median")
"""functions of numpy that it may name"""
RECIPES = "recipes"
"""what the recipes are called in the file; arrays are called by their number"""


class Again(NamedTuple):
    """Numbers computed once more."""

    made: dict[str, Estimate]
    given: list[str]
    """names of those that have no interval, so that there is nothing to compute"""


def pack(values: Mapping[str, Estimate]) -> bytes:
    """How each number was made and from what, as a compressed ``.npz`` without pickle.

    Raises:
        ValueError: the name of a number with an interval whose recipe cannot be written down.
    """
    arrays: list[np.ndarray] = []
    packed = {}
    for name, value in values.items():
        if value.n:
            try:
                packed[name] = _packed(value, arrays)
            except TypeError as error:
                raise ValueError(f"{name}: {error}") from None
            if "call" not in packed[name]:
                raise ValueError(f"{name}: nobody can compute it again; mark what makes it with recipes.remembered")
    text = np.frombuffer(json.dumps(packed).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{RECIPES: text}, **{str(place): array for place, array in enumerate(arrays)})
    return buffer.getvalue()


def call(value: Callable) -> object:
    """A function with its arguments, as JSON has it.

    Raises:
        TypeError: it cannot be named, or has an array among its arguments.
    """
    arrays: list[np.ndarray] = []
    packed = _packed(value, arrays)
    if arrays:
        raise TypeError("a call that is text has no arrays")
    return packed


def called(packed: object) -> object:
    """What the function that :func:`call` has packed gives."""
    return _made(packed, [])()


def again(content: bytes, values: Mapping[str, Estimate]) -> Again:
    """Every number that has an interval, computed again from its items.

    Args:
        content: what :func:`pack` made.
        values: the numbers of the record.

    Raises:
        ValueError: the file is not what :func:`pack` makes, or has no recipe for one of the numbers.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            packed = json.loads(file[RECIPES].tobytes())
            arrays = [file[str(place)] for place in range(len(file.files) - 1)]
        wanted = [name for name, value in values.items() if value.n]
        made = {name: _made(packed[name], arrays) for name in wanted}
    except (*DAMAGED, KeyError, IndexError, TypeError, AttributeError, ImportError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    return Again(made, [name for name in values if name not in made])


def arrays(content: bytes) -> dict[str, list[np.ndarray]]:
    """The arrays that each number with an interval is made of, in the order in which its recipe names them."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        packed = json.loads(file[RECIPES].tobytes())
        return {name: [file[str(place)] for place in _places(recipe)] for name, recipe in packed.items()}


def _places(packed: object) -> Iterator[int]:
    match packed:
        case {"array": int(place)} | {"tensor": int(place)}:
            yield place
        case dict() | list():
            parts = packed.values() if isinstance(packed, dict) else packed
            yield from (place for part in parts for place in _places(part))


def _packed(value: object, arrays: list[np.ndarray]) -> object:
    """A value as JSON has it; of an estimate that has a recipe, the recipe. Arrays go to ``arrays``."""
    inner = functools.partial(_packed, arrays=arrays)
    recipe = getattr(value, "recipe", GIVEN)
    if recipe.function is not None:
        options = {name: inner(part) for name, part in recipe.options.items()}
        return {"call": _name(recipe.function), "with": [inner(part) for part in recipe.arguments], "and": options}
    if isinstance(value, Tensor):
        return {"tensor": _kept(value.detach().cpu().numpy(), arrays)}
    if isinstance(value, np.ndarray):
        return {"array": _kept(value, arrays)}
    if isinstance(value, np.generic):
        return inner(value.item())
    if isinstance(value, Path):
        return {"path": str(value.relative_to(ROOT) if value.is_relative_to(ROOT) else value)}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if isinstance(value, bool | int | float | str | None):
        return value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        parts = [inner(part) for part in value if not isinstance(part, Recipe)]
        return {"tuple": _name(type(value)), "with": parts}
    if isinstance(value, Sequence):
        return [inner(part) for part in value]
    return _packed_function(value, inner)


def _packed_function(value: object, inner: Callable) -> dict:
    if isinstance(value, functools.partial):
        options = {name: inner(part) for name, part in value.keywords.items()}
        return {"partial": _name(value.func), "with": [inner(part) for part in value.args], "and": options}
    if not callable(value):
        raise TypeError(f"a recipe cannot hold a {type(value).__name__}")
    owner = getattr(value, "__self__", None)
    if isinstance(owner, tuple):
        return {"method": value.__name__, "of": inner(owner)}
    return {"name": _name(value)}


def _made(packed: object, arrays: Sequence[np.ndarray]) -> object:
    """What :func:`_packed` has packed, made again."""
    if isinstance(packed, list):
        return [_made(part, arrays) for part in packed]
    if not isinstance(packed, dict):
        return packed
    inner = [_made(part, arrays) for part in packed.get("with", ())]
    options = {name: _made(part, arrays) for name, part in packed.get("and", {}).items()}
    match next(iter(packed)):
        case "call":
            return _found(packed["call"])(*inner, **options)
        case "tensor":
            return torch.from_numpy(arrays[packed["tensor"]])
        case "array":
            return arrays[packed["array"]]
        case "float":
            return float(packed["float"])
        case "tuple":
            return _found(packed["tuple"])(*inner)
        case "partial":
            return functools.partial(_found(packed["partial"]), *inner, **options)
        case "path":
            return ROOT / packed["path"]
        case "method":
            return getattr(_made(packed["of"], arrays), packed["method"])
        case _:
            return _found(packed["name"])


def _kept(array: np.ndarray, arrays: list[np.ndarray]) -> int:
    """The place of an array; one that is there already is not kept twice."""
    for place, other in enumerate(arrays):
        if other.dtype == array.dtype and np.array_equal(other, array, equal_nan=array.dtype.kind == "f"):
            return place
    arrays.append(np.array(array))
    return len(arrays) - 1


def _name(function: Callable) -> str:
    known = {getattr(np, name): f"numpy:{name}" for name in NUMPY}
    name = known.get(function) or f"{function.__module__}:{function.__qualname__}"
    if _found(name) is not function:
        raise TypeError(f"{name} is not what its name says, so a recipe cannot hold it")
    return name


def _found(name: str) -> Callable:
    module, _, path = name.partition(":")
    if module == "numpy" and path in NUMPY:
        return getattr(np, path)
    if module.startswith(HOME) and "<" not in path:
        found = functools.reduce(getattr, path.split("."), importlib.import_module(module))
        if getattr(found, "__module__", None) == module:
            return found
    raise TypeError(f"a recipe cannot name {name}: only what is defined under a name in lib.measures or lib.protocols")
