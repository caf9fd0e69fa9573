"""A reader runs a cell twice: the set-up must not mind."""

import subprocess
import sys

from lib.models.data import ROOT

PROGRAM = """
import functools

import matplotlib
import nbformat
from lib.models import data
from lib.study import runs

matplotlib.use("agg")
data.load = functools.cache(data.load)


def twice(job):
    cells = [cell for cell in nbformat.read(job.notebook, as_version=4).cells if cell.cell_type == "code"]
    index = next(i for i, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", []))
    names = {"__name__": "__main__"}
    exec(cells[index].source, names)
    given = {**job.parameters, "results": "_build"}
    names |= given
    for _ in range(2):
        exec(cells[index + 1].source, names)
    return [name for name, value in given.items() if names[name] is not value]


for job in runs.jobs("smoke", {}):
    changed = twice(job)
    assert not changed, f"{job.notebook.stem} changes its parameters {changed}"
    print(job.notebook.stem)
"""


def test_the_set_up_of_every_notebook_runs_twice_and_leaves_its_parameters_alone(smoke_runs):
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr[-2000:]
    assert sorted(run.stdout.split()) == sorted(job.notebook.stem for job, _ in smoke_runs)
