import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import nbformat
import pytest

from lib.study import runs
from lib.study.runs import Job

VALUES = """
import json, pathlib
content = {"values": {"x": {"value": x, "low": x, "high": x, "n": 0, "missing": 0}}, "dataset": None, "device": "cpu", "peak_memory_bytes": 1}
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
    assert record == json.loads(job.record.read_text())
    assert record["values"]["x"]["value"] == 2.5
    assert record["parameters"] == {"dataset": "mnist", "x": 2.5}
    assert {"commit", "versions", "device", "seconds", "peak_memory_bytes", "key", "notebook_sha256"} <= set(record)
    assert not [path for path in job.folder.rglob("*") if path.name not in ("00_tiny.ipynb", "00_tiny.json", "partial")]
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
    assert runs.load(job) is None


def test_a_failing_cell_gives_its_traceback_and_keeps_the_notebook(tmp_path):
    job = tiny(tmp_path)
    runs.execute(job)
    job = tiny(tmp_path, body="1 / 0")
    with pytest.raises(runs.Failed, match=r"ZeroDivisionError[\s\S]*00_tiny failed; .*00_tiny\.failed\.ipynb"):
        runs.execute(job)
    assert (job.folder / "00_tiny.failed.ipynb").exists()
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
    odd = runs.job(notebook, "quick", {"dataset": "folder:/"}).folder
    assert odd.parent == runs.RUNS / "quick"
    assert "/" not in odd.name
