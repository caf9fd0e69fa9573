"""A real scheduler and real worker processes, on this machine."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
import torch
from test_kfold import SPEC, fit_repeats, same
from test_runs import tiny

from lib.models import machine
from lib.study import cluster, runs
from lib.study.parameters import Refused

# Connections that a killed process leaves behind are closed by the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
LOCAL = ("--host", "127.0.0.1", "--no-dashboard")


@contextmanager
def dask(*arguments):
    """A Dask process with its output in a pipe; killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | machine.environment(1) | {"PYTHONUNBUFFERED": "1", "TQDM_DISABLE": "1"},
    ) as process:
        yield process
        process.kill()


@contextmanager
def scheduler():
    with dask("scheduler", *LOCAL, "--port", "0") as process:
        address = next(found.group() for line in process.stdout if (found := re.search(r"tcp://[\d.]+:\d+", line)))
        drain(process)
        yield address


def drain(process):
    """Read what it says, so that its pipe never fills."""
    threading.Thread(target=lambda: [None for _ in process.stdout], daemon=True).start()


@pytest.fixture(scope="module")
def workers():
    """The address of a scheduler, and its two workers."""
    with ExitStack() as stack:
        address = stack.enter_context(scheduler())
        started = [
            stack.enter_context(dask("worker", address, *LOCAL, "--no-nanny", "--nthreads", "1")) for _ in range(2)
        ]
        for process in started:
            while "Registered to" not in process.stdout.readline():
                assert process.poll() is None
            drain(process)
        yield address, started


@pytest.fixture(autouse=True)
def one_thread_in_single_precision():
    torch.set_default_dtype(torch.float32)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_workers_have_the_same_code_and_threads(workers, monkeypatch):
    with cluster.executor(workers[0]) as pool:
        assert pool.submit(torch.get_num_threads).result() == 1
        monkeypatch.setattr(cluster.closure, "digest", lambda code: "other code")
        with pytest.raises(RuntimeError, match="a worker has other code or another torch"):
            pool.submit(torch.get_num_threads).result()


def test_notebooks_run_on_workers_as_they_run_here(workers, tmp_path):
    job = tiny(tmp_path, x=2.5)
    with cluster.executor(workers[0]) as pool:
        [(_, there)] = runs.execute_all([job], ThreadPoolExecutor(1), pool)
        assert runs.load(job) == there
        job.output.unlink()
        here = runs.execute(job)
        assert {**there, "seconds": 0, "notebook_sha256": ""} == {**here, "seconds": 0, "notebook_sha256": ""}
        failing = tiny(tmp_path, body="1 / 0")
        with pytest.raises(runs.Failed, match=r"00_tiny failed, .*ZeroDivisionError.*00_tiny\.failed\.ipynb"):
            runs.execute(failing, cluster=pool)
        assert b"ZeroDivisionError" in (failing.folder / "00_tiny.failed.ipynb").read_bytes()


def test_two_workers_fit_what_this_machine_fits_also_when_one_is_killed(workers, grey, tmp_path):
    address, (first, _) = workers
    spec = replace(SPEC, epochs=60, score_every=60)
    (here,) = fit_repeats([spec], 6, grey, tmp_path / "here")
    at_the_kill = []

    def kill_after_the_first_repeat():
        while not at_the_kill:
            finished = len(list((tmp_path / "there").glob("*.safetensors")))
            if finished:
                at_the_kill.append(finished)
                first.send_signal(signal.SIGKILL)
            time.sleep(0.01)

    with cluster.executor(address) as pool:
        threading.Thread(target=kill_after_the_first_repeat).start()
        (there,) = fit_repeats([spec], 6, grey, tmp_path / "there", executor=pool)
        assert first.wait(10) == -signal.SIGKILL
        assert at_the_kill[0] < 5
        assert same(here, there)


def test_no_scheduler_is_a_clear_error(monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    for address in ("tcp://127.0.0.1:1", "tcp://nowhere.invalid:1"):
        with pytest.raises(Refused, match=f"no Dask scheduler answers at '{address}'.*start one with `dask scheduler`"):
            cluster.executor(address).__enter__()


def test_a_scheduler_without_workers_is_a_clear_error():
    with (
        scheduler() as address,
        pytest.raises(Refused, match=f"has no worker; start one with `dask worker {address}`"),
        cluster.executor(address),
    ):
        pass


def test_without_an_address_the_cores_of_this_machine_work():
    with cluster.executor() as pool:
        assert isinstance(pool, ThreadPoolExecutor)
        assert list(pool.map(abs, [-1, 2])) == [1, 2]
        assert pool._max_workers == os.cpu_count()
    with cluster.executor(device="cuda") as pool:
        assert pool._max_workers == 1
