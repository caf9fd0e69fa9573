"""A reader runs a cell twice: the set-up must not mind."""

import subprocess
import sys

import pytest

from lib.models.data import ROOT
from lib.study import parameters, runs

PROGRAM = """
import sys, warnings
import matplotlib
import nbformat
from lib.study import parameters, runs

matplotlib.use("agg")
job = next(job for job in runs.jobs("smoke", {}) if job.notebook.stem == sys.argv[1])
cells = [cell for cell in nbformat.read(job.notebook, as_version=4).cells if cell.cell_type == "code"]
index = next(i for i, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", []))
names = {"__name__": "__main__"}
exec(cells[index].source, names)
names |= {**job.parameters, "results": "_build"}
for _ in range(2):
    exec(cells[index + 1].source, names)
kept = {name: names[name] for name in job.parameters}
assert kept == dict(job.parameters), {name for name in kept if kept[name] != job.parameters[name]}
"""


@pytest.mark.usefixtures("smoke_runs")  # which has made the fits
def test_the_set_up_of_every_notebook_runs_twice_and_leaves_its_parameters_alone():
    names = [path.stem for path in parameters.notebooks() if path.stem not in runs.waiting("smoke")]
    wrong = {}
    for name in names:
        run = subprocess.run([sys.executable, "-c", PROGRAM, name], capture_output=True, text=True, cwd=ROOT)
        if run.returncode:
            wrong[name] = run.stderr.splitlines()[-1]
    assert wrong == {}
