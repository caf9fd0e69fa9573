"""Where independent work runs: in threads of this machine, or on the workers of a Dask cluster.

Workers need this project installed (``pip install -e .``) and the data that the work names. Dask moves functions and
results by pickle, so an address is to be trusted like a shell on one's own machine.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch

from lib.models import closure
from lib.models.closure import ROOT
from lib.study.parameters import Refused

PATIENCE = 10
"""seconds to wait for a scheduler"""


@contextmanager
def executor(scheduler: str = "", device: str = "cpu") -> Iterator[Executor]:
    """An executor for independent work: a Dask cluster's, or without an address threads of this machine.

    What is computed does not depend on where. A worker that dies has its work done again by another.

    Args:
        scheduler: ``tcp://HOST:PORT`` of a Dask scheduler, or nothing.
        device: of the work. An accelerator does one piece at a time, the processor as many as it has cores for.

    Raises:
        Refused: no scheduler answers there, or it has no worker.
    """
    if not scheduler:
        idle = (os.cpu_count() or 1) // torch.get_num_threads() if torch.device(device).type == "cpu" else 1
        with ThreadPoolExecutor(max(1, idle)) as pool:
            yield pool
        return
    import distributed  # takes a second, and is needed here alone

    try:
        client = distributed.Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise Refused(
            f"no Dask scheduler answers at {scheduler!r} ({error}); start one with `dask scheduler`, and workers with "
            "`dask worker tcp://HOST:8786`"
        ) from None
    with client:
        if not client.scheduler_info()["workers"]:
            raise Refused(f"the Dask scheduler at {scheduler} has no worker; start one with `dask worker {scheduler}`")
        with client.get_executor(pure=False) as pool:
            yield _Alike(pool)


class _Alike(Executor):
    """Work goes out with what must be alike on all machines: the code, torch, and the number of threads."""

    def __init__(self, pool: Executor) -> None:
        self.pool = pool

    def submit(self, function: Callable, /, *args: object, **kwargs: object) -> Future:
        return self.pool.submit(_run, _version(), torch.get_num_threads(), function, *args, **kwargs)


def _version() -> tuple[str, str]:
    return closure.digest(sorted((ROOT / "lib").rglob("*.py"))), torch.__version__


def _run(version: tuple[str, str], threads: int, function: Callable, *args: object, **kwargs: object) -> object:
    if _version() != version:
        raise RuntimeError(f"a worker has other code or another torch: it has {_version()}, needed is {version}")
    torch.set_num_threads(threads)
    return function(*args, **kwargs)
