"""Results of a long computation, kept part by part as they are finished, so that a second call goes on.

A part is made of named tuples, lists, dictionaries, numbers, texts and tensors. It is a file of
:mod:`lib.models.store`: its structure is JSON, as a tensor of bytes. Nothing is unpickled.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from lib.measures.intervals import Estimate
from lib.models.store import Tensors, Work, fetch

Part = TypeVar("Part")
STRUCTURE = "structure"


class Keeper:
    """Makes parts, or reads those that an earlier call has finished."""

    def __init__(self, folder: Path, identity: Mapping[str, object], kinds: Sequence[type]) -> None:
        """Keep parts in a folder.

        Args:
            folder: where.
            identity: all that decides the parts, in values that JSON has.
            kinds: the classes of named tuples that parts are made of.
        """
        self.folder, self.identity, self.kinds = folder, identity, {kind.__name__: kind for kind in kinds}
        self.read: list[str] = []
        """names of the parts that were there already"""
        self.made: list[str] = []

    def __call__(self, name: str, make: Callable[[], Part]) -> Part:
        """The part of that name; what ``make`` raises is raised, and then nothing is kept."""
        built = []

        def build(_: Path) -> Tensors:
            built.append(name)
            return pack(make())

        (tensors,) = fetch([Work({**self.identity, "part": name}, build)], folder=self.folder)
        (self.made if built else self.read).append(name)
        return unpack(tensors, self.kinds)


def pack(part: object) -> Tensors:
    """A part as tensors, one of which is its structure."""
    tensors: Tensors = {}

    def plain(value: object) -> object:
        if isinstance(value, Tensor):
            tensors[str(len(tensors))] = value.clone()
            return {"tensor": str(len(tensors) - 1)}
        if isinstance(value, tuple):
            given = value[:-1] if isinstance(value, Estimate) else value  # how it was made is not kept
            return {type(value).__name__: [plain(each) for each in given]}
        if isinstance(value, dict):
            return {"dict": [[key, plain(each)] for key, each in value.items()]}
        return [plain(each) for each in value] if isinstance(value, list) else value

    text = json.dumps(plain(part)).encode()
    return {**tensors, STRUCTURE: torch.frombuffer(bytearray(text), dtype=torch.uint8)}


def unpack(tensors: Tensors, kinds: Mapping[str, type]) -> object:
    """What :func:`pack` was given.

    Args:
        tensors: what it gave.
        kinds: the classes of tuples, by name.

    Example:
        >>> unpack(pack((1.5, [torch.ones(2)], {"a": None})), {})
        (1.5, [tensor([1., 1.])], {'a': None})
    """

    def whole(value: object) -> object:
        if isinstance(value, list):
            return [whole(each) for each in value]
        if not isinstance(value, dict):
            return value
        ((name, inner),) = value.items()
        if name == "tensor":
            return tensors[inner]
        if name == "dict":
            return {key: whole(each) for key, each in inner}
        parts = [whole(each) for each in inner]
        return tuple(parts) if name == "tuple" else kinds[name](*parts)

    return whole(json.loads(bytes(tensors[STRUCTURE].tolist())))
