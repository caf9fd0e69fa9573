"""A content-addressed cache of tensors: the same description gives the same file.

A file counts only if the SHA-256 written beside it (in the format of ``sha256sum``, and after it) agrees. So a run that
is killed leaves nothing that a later run would trust, and a damaged file is recomputed. Nothing is unpickled.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

Tensors = dict[str, Tensor]


class Work(NamedTuple):
    """Tensors that are wanted, and how to make them."""

    description: Mapping[str, object]
    """everything that decides them, in values that JSON has"""
    build: Callable[[Path], Tensors]
    """from a path for checkpoints (see :func:`write`, :func:`read`) to the tensors"""


def fetch(wanted: Sequence[Work], *, folder: Path, executor: Executor | None = None) -> list[Tensors]:
    """The tensors, built where they are missing.

    Processes that want the same at the same time share the work: each builds what no other is building, then waits for
    the rest.

    Args:
        wanted: the descriptions and builders.
        folder: the folder of the cache.
        executor: where to build all that is missing at once; by default here, one after the other. What it finishes is
            kept as it comes, also if another build fails.
    """
    works = {key(work.description): work for work in wanted}
    folder.mkdir(parents=True, exist_ok=True)
    made = _one_by_one(works, folder) if executor is None else _at_once(works, folder, executor)
    return [made[key(work.description)] for work in wanted]


def key(description: Mapping[str, object]) -> str:
    """The name of a file: 20 hexadecimal digits of a SHA-256."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:20]


def read(path: Path) -> Tensors | None:
    """The tensors of a file, or None if it is absent, unfinished or damaged (damage is warned of)."""
    try:
        expected = _digest_file(path).read_text().split()[0]
        content = path.read_bytes()
    except (FileNotFoundError, IndexError):
        return None
    found = hashlib.sha256(content).hexdigest()
    if found == expected:
        try:
            return load(content)
        except SafetensorError:
            found = "an unreadable header"
    warnings.warn(f"{path} is damaged (expected SHA-256 {expected}, found {found}): it is computed again", stacklevel=2)
    return None


def write(path: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> None:
    """Write tensors, then the digest that makes them count."""
    content = save({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, metadata)
    write_atomically(path, content)
    write_atomically(_digest_file(path), f"{hashlib.sha256(content).hexdigest()}  {path.name}\n".encode())


def remove(path: Path) -> None:
    """Delete a file of tensors and its digest, if they are there."""
    for file in (_digest_file(path), path):
        file.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write under a temporary name and rename, so that a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _one_by_one(works: Mapping[str, Work], folder: Path) -> dict[str, Tensors]:
    made: dict[str, Tensors] = {}
    for wait in (0.0, -1.0):  # first what nobody else is building, then whatever is left
        for name in [name for name in works if name not in made]:
            with suppress(Timeout):
                made[name] = _locked(works[name], folder / f"{name}.safetensors", wait)
    return made


def _at_once(works: Mapping[str, Work], folder: Path, executor: Executor) -> dict[str, Tensors]:
    def locked(name: str, work: Work) -> Tensors:
        there = Work(work.description, lambda checkpoint: executor.submit(work.build, checkpoint).result())
        return _locked(there, folder / f"{name}.safetensors", -1.0)

    with ThreadPoolExecutor(max(1, len(works))) as waiting:  # these only hold the locks and write
        return dict(zip(works, waiting.map(locked, works, works.values()), strict=True))


def _locked(work: Work, path: Path, wait: float) -> Tensors:
    with FileLock(path.with_suffix(".lock"), timeout=wait):
        return read(path) or _build(work, path)


def _build(work: Work, path: Path) -> Tensors:
    checkpoint = path.with_suffix(".checkpoint")
    write(path, work.build(checkpoint), {"spec": json.dumps(work.description, sort_keys=True)})
    remove(checkpoint)
    tensors = read(path)
    if tensors is None:  # the disk did not keep what was written a moment ago
        raise OSError(f"{path} cannot be read back")
    return tensors


def _digest_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
