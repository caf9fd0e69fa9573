import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import Future, ThreadPoolExecutor

import nbformat
import pytest

from lib.study import parameters, processes, runs
from lib.study.runs import Job

VALUES = """
import json, pathlib
content = {"values": {"x": {"value": x, "low": x, "high": x, "n": 0, "missing": 0}}, "dataset": None, "device": "cpu", "peak_memory_bytes": 1}
pathlib.Path(results, "00_tiny.items.npz").write_bytes(b"items")
pathlib.Path(results, "00_tiny.values.json").write_text(json.dumps(content))
"""


def tiny(folder, body="", x=1.0):
    """A job of a notebook that takes no time."""
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )

    def cell(source, **options):
        return nbformat.v4.new_code_cell(source, id=f"c{len(source)}", **options)

    notebook.cells = [
        cell('dataset: str = "mnist"\nresults: str = "."\nx: float = 0.0', metadata={"tags": ["parameters"]}),
        cell(body),
        cell(VALUES),
    ]
    path = folder / "00_tiny.ipynb"
    nbformat.write(notebook, path)
    return Job(path, {"dataset": "mnist", "x": x}, folder / "runs", timeout=60)


def test_a_run_writes_its_numbers_with_their_provenance(tmp_path):
    job = tiny(tmp_path, x=2.5)
    record = runs.execute(job)
    sealed = json.loads(job.record.read_text())
    assert set(sealed) - set(record) == {"sha256"}
    assert record == {name: value for name, value in sealed.items() if name != "sha256"}
    assert record["machine"]["threads"] == runs.threads()
    assert record["values"]["x"]["value"] == 2.5
    assert record["parameters"] == {"dataset": "mnist", "x": 2.5}
    assert {"commit", "versions", "device", "seconds", "peak_memory_bytes", "key", "notebook_sha256"} <= set(record)
    assert {path.name for path in job.folder.rglob("*")} == {
        "00_tiny.ipynb",
        "00_tiny.items.npz",
        "00_tiny.json",
        "partial",
        ".00_tiny.lock",
    }
    tags = [cell.metadata.get("tags", []) for cell in nbformat.read(job.output, 4).cells]
    assert ["injected-parameters", "hide-input"] in tags


def test_an_unchanged_run_is_used_again_and_a_changed_one_is_not(tmp_path):
    runs.execute(tiny(tmp_path))
    assert runs.execute(tiny(tmp_path)).get("reused")
    assert not runs.execute(tiny(tmp_path, x=3.0)).get("reused")
    assert runs.execute(tiny(tmp_path, body="# a comment", x=3.0)).get("reused")
    assert not runs.execute(tiny(tmp_path, body="y = 1", x=3.0)).get("reused")


def test_a_run_whose_notebook_was_altered_is_not_trusted(tmp_path):
    job = tiny(tmp_path)
    runs.execute(job)
    job.output.write_text(job.output.read_text() + " ")
    with pytest.warns(UserWarning, match=r"00_tiny\.json or what belongs to it is damaged: it does not count"):
        assert runs.load(job) is None


def test_no_bit_of_a_record_can_change_unnoticed(tmp_path):
    job = tiny(tmp_path)
    record = runs.execute(job)
    content = job.record.read_bytes()
    rng = random.Random(0)
    for _ in range(300):
        flipped = bytearray(content)
        flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        job.record.write_bytes(flipped)
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            assert runs.load(job) in (None, record)  # a flipped space of the layout changes nothing
    edited = json.loads(content)
    edited["values"]["x"]["value"] = 777.0
    job.record.write_text(json.dumps(edited))
    with pytest.warns(UserWarning, match="is damaged"):
        assert runs.load(job) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text("null"),
        lambda path: path.write_text("[" * 100_000),
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: path.write_text(json.dumps({"sha256": 1, "key": None})),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), path.mkdir(), (path / "kept").touch()),
        lambda path: (path.unlink(), os.mkfifo(path)),
    ],
    ids=["null", "deep", "bytes", "other", "directory", "full directory", "pipe"],
)
def test_a_damaged_record_is_reported_and_made_again_once(tmp_path, damage):
    job = tiny(tmp_path)
    record = runs.execute(job)
    damage(job.record)
    with pytest.warns(UserWarning, match=r"00_tiny\.json or what belongs to it is damaged: it does not count"):
        again = runs.execute(job)
    assert again["values"] == record["values"]
    assert runs.execute(job).get("reused")


def test_a_change_during_a_run_is_noticed_and_nothing_is_kept(tmp_path):
    slow = "import time; [time.sleep(0.1) for _ in range(30)]"
    job = tiny(tmp_path, body=f"import pathlib; pathlib.Path(r'{tmp_path}/begun').touch(); {slow}")
    with ThreadPoolExecutor(1) as executor:
        running = executor.submit(runs.execute, job)
        wait_for((tmp_path / "begun").exists)
        tiny(tmp_path, body="y = 2")
        with pytest.raises(runs.Failed, match="changed while it ran, so nothing of this run is kept"):
            running.result()
    assert not job.record.exists()
    assert not runs.execute(job).get("reused")


def test_two_processes_make_a_run_once(tmp_path):
    body = (
        f"import pathlib, time; pathlib.Path(r'{tmp_path}').joinpath(f'made-{{time.time_ns()}}').touch(); time.sleep(1)"
    )
    job = tiny(tmp_path, body=body)
    script = (
        "import sys\nfrom pathlib import Path\nfrom lib.study.runs import Job, execute\n"
        "execute(Job(Path(sys.argv[1]), {'dataset': 'mnist', 'x': 1.0}, Path(sys.argv[2]), 60))\n"
    )
    command = [sys.executable, "-c", script, str(job.notebook), str(job.folder)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert len(list(tmp_path.glob("made-*"))) == 1
    assert sorted(said)[1] == "00_tiny: another process makes it; waiting\n"


def test_threads_are_those_of_the_run_whatever_the_shell_says(tmp_path, monkeypatch):
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    body = "import torch, os; x = torch.get_num_threads() + sum(v == '7' for v in os.environ.values())"
    assert runs.execute(tiny(tmp_path, body=body))["values"]["x"]["value"] == runs.threads()


def test_a_failing_cell_gives_one_line_and_keeps_the_notebook_with_its_traceback(tmp_path):
    job = tiny(tmp_path)
    runs.execute(job)
    job = tiny(tmp_path, body="1 / 0")
    with pytest.raises(runs.Failed, match=r"^00_tiny failed, in cell 3: ZeroDivisionError: .*00_tiny\.failed\.ipynb$"):
        runs.execute(job)
    assert "Traceback" in (job.folder / "00_tiny.failed.ipynb").read_text()
    assert not job.output.exists()
    assert runs.load(job) is None


def test_a_cell_that_takes_too_long_is_stopped(tmp_path):
    job = tiny(tmp_path, body="import time; time.sleep(60)")
    with pytest.raises(runs.Failed, match="00_tiny failed"):
        runs.execute(Job(job.notebook, job.parameters, job.folder, timeout=1))


def test_many_run_side_by_side(tmp_path):
    todo = []
    for i in range(3):
        (tmp_path / str(i)).mkdir()
        todo.append(tiny(tmp_path / str(i), x=float(i)))
    with ThreadPoolExecutor(3) as executor:
        found = {
            job.parameters["x"]: record["values"]["x"]["value"] for job, record in runs.execute_all(todo, executor)
        }
    assert found == {0.0: 0.0, 1.0: 1.0, 2.0: 2.0}


def test_a_kill_in_the_middle_leaves_nothing_that_is_trusted_and_no_kernel(tmp_path):
    job = tiny(
        tmp_path,
        body=f"import os, pathlib, time; pathlib.Path(r'{tmp_path}/pid').write_text(str(os.getpid())); time.sleep(60)",
    )
    script = (
        "import sys\nfrom pathlib import Path\nfrom lib.study.runs import Job, execute\n"
        "execute(Job(Path(sys.argv[1]), {'dataset': 'mnist', 'x': 1.0}, Path(sys.argv[2]), 60))\n"
    )
    pid = tmp_path / "pid"
    with subprocess.Popen([sys.executable, "-c", script, str(job.notebook), str(job.folder)]) as process:
        wait_for(lambda: pid.exists() and pid.read_text())
        process.send_signal(signal.SIGKILL)
    assert runs.load(job) is None
    assert not job.output.exists()
    wait_for(lambda: not alive(int(pid.read_text())))


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout


def wait_for(condition, seconds=40):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def test_runs_with_parameters_of_their_own_have_a_folder_of_their_own():
    notebook = runs.parameters.find("line_densities")
    assert runs.job(notebook, "quick", {}).folder == runs.RUNS / "quick"
    assert runs.job(notebook, "quick", {"rank": "10"}).folder == runs.RUNS / "quick" / "line_densities+rank=10"
    assert runs.job(notebook, "quick", {"rank": "14"}) == runs.job(notebook, "quick", {})  # the preset's own
    odd = runs.job(notebook, "quick", {"dataset": "folder:/"}).folder
    assert odd.parent == runs.RUNS / "quick"
    assert "/" not in odd.name


def test_a_section_that_the_preset_leaves_to_its_recording_is_not_run(monkeypatch):
    real = parameters.preset

    def preset(name):
        found = real(name)
        found["notebooks"]["decay"]["recorded"] = True
        return found

    before = {job.notebook.stem for job in runs.jobs("quick", {})}
    monkeypatch.setattr(parameters, "preset", preset)
    assert {job.notebook.stem for job in runs.jobs("quick", {})} == before - {"decay"}
    assert runs.waiting("quick")["decay"] == "shown as it was recorded; python -m lib run decay runs it"
    assert runs.job(parameters.find("decay"), "quick", {}).notebook.stem == "decay"


def test_a_cluster_that_fails_fails_the_run_and_a_run_that_failed_says_so_itself():
    def failed(error):
        future = Future()
        future.set_exception(error)
        return future

    with pytest.raises(runs.Failed, match="on the cluster: RuntimeError: a worker has other code"):
        processes.awaited(failed(RuntimeError("a worker has other code")))
    for error in (runs.Failed("in cell 3"), OSError("no space")):
        with pytest.raises(type(error), match=str(error)):
            processes.awaited(failed(error))
