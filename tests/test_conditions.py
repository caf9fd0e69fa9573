"""What a section accepts on the command line is what it can set up."""

import subprocess
import sys

from lib.models.data import ROOT

PROGRAM = """
import functools
import random
import sys

import matplotlib
import nbformat
from lib.models import closure, data, store
from lib.models.unpack import DataError
from lib.study import parameters

matplotlib.use("agg")
sys.path.insert(0, "tests")
import hostile


class Accepted(Exception):
    pass


def fetch(*_, **__):
    raise Accepted  # all specifications were checked before


store.fetch = fetch
data.load = functools.cache(data.load)
closure.sources = functools.cache(closure.sources)


def set_up(notebook, values):
    cells = [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    index = next(i for i, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", []))
    names = {"__name__": "__main__"}
    exec(cells[index].source, names)
    names |= {**values, "results": "_build"}
    exec(cells[index + 1].source, names)


bad = tried = 0
for notebook in parameters.notebooks():
    known, rng, accepted = parameters.declared(notebook), random.Random(notebook.stem), 0
    for _ in range(200):
        given = {name: hostile.near(rng, known[name]) for name in rng.sample(sorted(set(known) - {"results"}), 1)}
        try:
            values = parameters.for_run(notebook, "smoke", given)
        except (parameters.Refused, DataError):
            continue
        tried, accepted = tried + 1, accepted + 1
        try:
            set_up(notebook, values)
        except (Accepted, DataError):
            pass
        except ValueError as error:
            if "(0: all) for" not in str(error):  # how many images there are is known to the data alone
                bad += 1
                print(f"{notebook.stem} {given}: {error!r}")
        except Exception as error:
            bad += 1
            print(f"{notebook.stem} {given}: {error!r}")
        if accepted == 6:
            break
print(f"{tried} tried, {bad} bad")
sys.exit(bad > 0)
"""


def test_whatever_is_accepted_can_be_set_up():
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-2000:]
    assert int(run.stdout.split()[-4]) > 60
