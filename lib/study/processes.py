"""What processes owe each other: one of them makes a thing, and none lives with what a killed one has left."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lib.models import store

PREFIX = ".learn-or-memorise-"


class Failed(RuntimeError):
    """A notebook that raised; the message names the cell, the error and the notebook, which has the traceback."""

    def __init__(self, message: str, notebook: bytes = b"") -> None:
        super().__init__(message, notebook)
        self.notebook = notebook

    def __str__(self) -> str:
        return self.args[0]


def awaited(future: Future) -> tuple[bytes, bytes, dict]:
    """What a worker made; a cluster that fails, such as by a worker with other code, fails the run."""
    try:
        return future.result()
    except (Failed, OSError):
        raise
    except Exception as error:  # clusters fail in many ways
        raise Failed(f"on the cluster: {type(error).__name__}: {error}") from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold what is made under this name for this process; another that wants it says so, and waits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        print(f"{path.name}: another process makes it; waiting", flush=True)
        held = lock.acquire()
    with held:
        yield


@contextmanager
def scratch(where: Path | None = None) -> Iterator[Path]:
    """A folder that is deleted at the end, in the folder of temporary files unless told where.

    A process that is killed leaves its own behind; the next one that needs any deletes them.
    """
    where = where or Path(tempfile.gettempdir())
    where.mkdir(parents=True, exist_ok=True)
    _sweep(where)
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", dir=where) as path:
        yield Path(path)


def _sweep(where: Path) -> None:
    for left in where.glob(f"{PREFIX}*"):
        process = left.name.removeprefix(PREFIX).partition("-")[0]
        if process.isdecimal() and not store.alive(int(process)):
            shutil.rmtree(left, ignore_errors=True)
