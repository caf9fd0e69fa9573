"""A content-addressed cache of tensors: the same description gives the same file.

A file counts only if the SHA-256 written beside it (in the format of ``sha256sum``, and after it) agrees. So a run that
is killed leaves nothing that a later run would trust, and a damaged file is recomputed. Nothing is unpickled.
"""

import glob
import hashlib
import json
import os
import time
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
    return hashlib.sha256(_text(description).encode()).hexdigest()[:20]


def read(path: Path, description: Mapping[str, object] | None = None) -> Tensors | None:
    """The tensors of a file, or None if it is absent, unfinished or damaged (damage is warned of).

    Args:
        path: the file, which has its digest beside it.
        description: what it must have been written with.
    """
    if not (os.path.lexists(path) and os.path.lexists(_digest_file(path))):
        return None
    try:
        expected = read_regular(_digest_file(path)).split()[0].decode("ascii")
        return _loaded(read_regular(path), expected, description)
    except (OSError, ValueError, IndexError, SafetensorError) as error:
        warnings.warn(f"{path} is damaged ({error}): it is computed again", stacklevel=2)
        return None


def write(path: Path, tensors: Tensors, description: Mapping[str, object] | None = None) -> None:
    """Write tensors and what they are, then the digest that makes them count."""
    metadata = None if description is None else {"spec": _text(description)}
    content = save({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, metadata)
    write_atomically(path, content)
    write_atomically(_digest_file(path), f"{hashlib.sha256(content).hexdigest()}  {path.name}\n".encode())


def remove(path: Path) -> None:
    """Take a file of tensors and its digest away, if they are there."""
    for file in (_digest_file(path), path):
        remove_or_move(file)


def remove_or_move(path: Path) -> None:
    """Delete a file. A directory of that name is somebody's: it is kept under another name."""
    if path.is_dir() and not path.is_symlink():
        path.rename(path.with_name(f"{path.name}.{time.time_ns()}"))
    path.unlink(missing_ok=True)


def read_regular(path: Path) -> bytes:
    """The content of a regular file; anything else, such as a pipe that would never end, is refused.

    Raises:
        OSError: it is no regular file, or cannot be read.
    """
    if not path.is_file():
        raise OSError(f"{path} is not a regular file")
    return path.read_bytes()


def write_atomically(path: Path, content: bytes) -> None:
    """Write under a temporary name and rename, so that a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Delete what processes that were killed have left of earlier attempts to write a file."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if left.suffix[1:].isdecimal() and not alive(int(left.suffix[1:])):
            left.unlink(missing_ok=True)


def alive(process: int) -> bool:
    """Whether a process of this number runs on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


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
        return read(path, work.description) or _build(work, path)


def _build(work: Work, path: Path) -> Tensors:
    checkpoint = path.with_suffix(".checkpoint")
    tensors = work.build(checkpoint)
    remove(path)
    write(path, tensors, work.description)
    remove(checkpoint)
    tensors = read(path)
    if tensors is None:  # the disk did not keep what was written a moment ago
        raise OSError(f"{path} cannot be read back")
    return tensors


def _loaded(content: bytes, expected: str, description: Mapping[str, object] | None) -> Tensors:
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ValueError(f"expected SHA-256 {expected[:64]}, found {found}")
    tensors = load(content)
    if description is not None and _described(content) != _text(description):
        raise ValueError("it holds something else than its name says")
    return tensors


def _text(description: Mapping[str, object]) -> str:
    return json.dumps(description, sort_keys=True)


def _described(content: bytes) -> str | None:
    """What a file of tensors says that it is: its header is JSON after eight bytes that hold its length."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return header.get("__metadata__", {}).get("spec")


def _digest_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
