"""Run notebooks: one notebook, one parameter set, one output folder, with where the numbers came from beside them."""

import hashlib
import json
import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import nbformat
from traitlets.config import Config

from lib.models import machine, store
from lib.models.data import ROOT
from lib.study import keys, parameters, processes, provenance
from lib.study.processes import Failed

RUNS = ROOT / "_build" / "runs"
SIDE_BY_SIDE = 4
"""notebooks that run at the same time by default, where there are as many cores"""


@dataclass(frozen=True)
class Job:
    """One run to make."""

    notebook: Path
    parameters: Mapping[str, object]
    folder: Path
    timeout: int
    """seconds a cell may take"""

    @property
    def output(self) -> Path:
        """The executed notebook."""
        return self.folder / self.notebook.name

    @property
    def items(self) -> Path:
        """The single numbers behind the intervals, see :mod:`lib.study.items`."""
        return self.folder / f"{self.notebook.stem}.items.npz"

    @property
    def record(self) -> Path:
        """The numbers and their provenance."""
        return self.folder / f"{self.notebook.stem}.json"


def job(notebook: Path, preset: str, given: Mapping[str, str]) -> Job:
    """A checked job. What differs from the preset names a folder of its own, so the book's runs stay."""
    values = parameters.for_run(notebook, preset, given)
    usual = parameters.budgeted(notebook.stem, parameters.settable(notebook), preset) if given else {}
    own = {name: text for name, text in given.items() if values[name] != usual[name]}
    folder = RUNS / preset / label(notebook.stem, own) if own else RUNS / preset
    return Job(notebook, values, folder, parameters.preset(preset)["timeout"])


def label(name: str, given: Mapping[str, str]) -> str:
    """What is given as the name of a folder: in words, or by a digest where they are long or no part of a path."""
    words = "+".join([name, *(f"{parameter}={text}" for parameter, text in sorted(given.items()))])
    plain = len(words) <= 100 and not re.search(r"[^\w.,=+\[\]-]", words)
    return words if plain else f"{name[:80]}+{hashlib.sha256(words.encode()).hexdigest()[:12]}"


def jobs(preset: str, given: Mapping[str, str]) -> list[Job]:
    """The book's runs, the longest first. What is given goes to every notebook that has such a parameter.

    It does not name a folder of its own here: the book is the preset's. A notebook whose data are not on this machine,
    or that the preset leaves to its recording, is left out; :func:`waiting` says which.
    """
    book = parameters.preset(preset)["notebooks"]
    made = []
    for path in [path for path in parameters.notebooks() if not book[path.stem].get("recorded")]:
        known = {name: text for name, text in given.items() if name in parameters.declared(path)}
        with suppress(parameters.NoData):
            values = parameters.for_run(path, preset, known)
            made.append(Job(path, values, RUNS / preset, parameters.preset(preset)["timeout"]))
    return sorted(made, key=lambda job: -(book[job.notebook.stem]["minutes"] or 0))


def waiting(preset: str) -> dict[str, str]:
    """The notebooks that a book of this preset does not run, and why: data that are missing, or a recording instead."""
    book, missing = parameters.preset(preset)["notebooks"], {}
    for path in parameters.notebooks():
        if book[path.stem].get("recorded"):
            missing[path.stem] = f"shown as it was recorded; python -m lib run {path.stem} runs it"
            continue
        try:
            parameters.for_run(path, preset, {})
        except parameters.NoData as error:
            missing[path.stem] = str(error)
    return missing


def execute_all(todo: list[Job], executor: Executor, cluster: Executor | None = None) -> Iterator[tuple[Job, dict]]:
    """Execute jobs on any executor and yield each with its record as it ends. ``cluster``: see :func:`execute`.

    Raises:
        Failed: from the first job that failed; those not begun are cancelled.
    """
    futures = {executor.submit(execute, job, cluster=cluster): job for job in todo}
    try:
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        for future in futures:
            future.cancel()


def execute(job: Job, *, progress: bool = False, cluster: Executor | None = None) -> dict:
    """Execute a job unless its finished run is there already, and return its record.

    Another process that executes the same job at the same time is waited for, and what it made is used.

    Args:
        job: to execute.
        progress: show a bar over the cells.
        cluster: where to run it, if not here. A notebook with a parameter ``scheduler`` runs here all the same: it
            sends its own parts there, and would hold a worker that they wait for.

    Raises:
        Failed: a cell raised, or code or data changed meanwhile. The notebook with the error is kept under another
            name, which no book is made from.
    """
    with processes.locked(job.folder / job.notebook.stem):
        finished = load(job)
        if finished:
            return {**finished, "reused": True}
        for stale in (job.record, job.output, job.items):
            store.remove_or_move(stale)
        return _executed(job, progress, cluster)


def _executed(job: Job, progress: bool, cluster: Executor | None) -> dict:
    key, started = _key(job), time.monotonic()
    try:
        if cluster is None or "scheduler" in job.parameters:
            content, items, values = _perform(job, threads(), progress=progress)
        else:
            source = (job.notebook.name, job.notebook.read_bytes())
            told = (*source, dict(job.parameters), job.timeout, threads())
            content, items, values = processes.awaited(cluster.submit(_elsewhere, *told))
    except Failed as failure:
        said = f"{job.notebook.stem} failed, {failure}"
        if failure.notebook:
            kept = job.folder / f"{job.notebook.stem}.failed.ipynb"
            store.write_atomically(kept, failure.notebook)
            said = f"{said}; the notebook with its error: {kept}"
        raise Failed(said) from None
    if _key(job) != key:
        what = "its code, its data or what it imports changed while it ran"
        raise Failed(f"{job.notebook.stem}: {what}, so nothing of this run is kept; the same command runs it again")
    record = {
        **values,
        "notebook": job.notebook.stem,
        "parameters": dict(job.parameters),
        "seconds": round(time.monotonic() - started, 1),
        "commit": provenance.commit(),
        "machine": machine.arithmetic(threads()),
        "versions": provenance.versions(),
        "key": key,
    }
    return write(job, record, content, items)


def write(job: Job, record: Mapping[str, object], notebook: bytes, items: bytes) -> dict:
    """Write what a run made; the record, which has the digests of all, comes last and makes the run count."""
    digests = {"notebook_sha256": notebook, "items_sha256": items}
    sealed = {**record, **{name: hashlib.sha256(content).hexdigest() for name, content in digests.items()}}
    store.write_atomically(job.output, notebook)
    store.write_atomically(job.items, items)
    text = json.dumps({**sealed, "sha256": _digest(sealed)}, indent=1, ensure_ascii=False)
    store.write_atomically(job.record, text.encode())
    return sealed


def load(job: Job) -> dict | None:
    """The record of a finished run of exactly this job, or None. What is damaged is warned of, and does not count."""
    record = read(job)
    return record if record and record["key"] == _key(job) else None


def read(job: Job) -> dict | None:
    """The record of whatever run is there, with whatever code it was made. What is damaged is warned of, and None."""
    if not all(map(os.path.lexists, (job.record, job.output, job.items))):
        return None
    try:
        record = json.loads(store.read_regular(job.record))
        found = record.pop("sha256"), record["notebook_sha256"], record["items_sha256"]
        files = (hashlib.sha256(store.read_regular(path)).hexdigest() for path in (job.output, job.items))
        intact = found == (_digest(record), *files) and "key" in record
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        intact = False
    if not intact:
        warnings.warn(f"{job.record} or what belongs to it is damaged: it does not count", stacklevel=2)
        return None
    return record


def _digest(record: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _key(job: Job) -> str:
    return keys.key(job.notebook, job.parameters, threads())


def threads() -> int:
    """Threads of each notebook: the machine's cores over the notebooks that run side by side by default.

    It depends neither on how many really do nor on how many there are, so that results do not either.
    """
    cores = os.cpu_count() or 1
    return cores // min(cores, SIDE_BY_SIDE)


def _perform(job: Job, threads: int, *, progress: bool = False) -> tuple[bytes, bytes, dict]:
    """The executed notebook as a page shows it, the items and the numbers that it wrote."""
    partial = job.folder / "partial" / job.notebook.name
    partial.parent.mkdir(parents=True, exist_ok=True)
    values_path = job.folder / f"{job.notebook.stem}.values.json"
    values_path.unlink(missing_ok=True)
    _papermill(job, partial, threads, progress=progress)
    done = _page(partial), store.read_regular(job.items), json.loads(values_path.read_text())
    for spent in (values_path, partial, job.items):
        spent.unlink()
    return done


def _elsewhere(name: str, source: bytes, values: dict, timeout: int, threads: int) -> tuple[bytes, bytes, dict]:
    """The same on a worker, which knows nothing of the folders of the machine that asks."""
    with processes.scratch() as folder:
        notebook = folder / name
        notebook.write_bytes(source)
        return _perform(Job(notebook, values, folder / "run", timeout), threads)


def _papermill(job: Job, partial: Path, threads: int, *, progress: bool) -> None:
    import papermill
    from papermill.exceptions import PapermillExecutionError

    # Kernels inherit the environment of this process; every run sets the same values.
    os.environ.update({**machine.environment(threads), "TQDM_DISABLE": "1"})
    injected = {
        **job.parameters,
        "results": str(job.folder.relative_to(ROOT) if job.folder.is_relative_to(ROOT) else job.folder),
    }
    # Sockets in a folder of their own: no port that two kernels could both be given, nothing that others can read.
    with processes.scratch() as own:
        connection = {"transport": "ipc", "ip": f"{own}/s", "connection_file": f"{own}/connection.json"}
        config = Config({"KernelManager": connection})
        try:
            papermill.execute_notebook(
                job.notebook,
                partial,
                parameters=injected,
                kernel_name="python3",
                cwd=ROOT,
                progress_bar=progress,
                execution_timeout=job.timeout,
                config=config,
                # The end of a kernel begins with an interrupt, which it would report as an error.
                extra_arguments=["--log-level=CRITICAL"],
            )
        except PapermillExecutionError as error:
            raise _failure(partial, f"in cell {error.cell_index + 1}: {error.ename}: {error.evalue}") from None
        except (RuntimeError, TimeoutError) as error:  # the kernel died, or a cell took longer than the preset allows
            raise _failure(partial, f"{type(error).__name__}: {error}") from error


def _failure(partial: Path, message: str) -> Failed:
    notebook = partial.read_bytes() if partial.exists() else b""
    partial.unlink(missing_ok=True)
    return Failed(" ".join(message.split()), notebook)


def _page(executed: Path) -> bytes:
    """The executed notebook as a page shows it: the parameters folded away, without papermill's own times and paths."""
    notebook = nbformat.read(executed, as_version=4)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.metadata["tags"].append("hide-input")
            cell.metadata["mystnb"] = {"code_prompt_show": "Parameters used for this run", "code_prompt_hide": "Hide"}
            cell.source = "\n".join(line for line in cell.source.splitlines() if line != "# Parameters")
    return nbformat.writes(notebook).encode()
