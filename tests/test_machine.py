import importlib.metadata

import torch

from lib.models import machine


def test_every_back_end_gets_the_same_number_of_threads():
    found = machine.environment(3)
    assert {name for name, value in found.items() if value == "3"} == set(machine.THREADS)
    assert {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"} <= set(machine.THREADS)
    assert found["PYTHONHASHSEED"] == "0"


def test_what_a_user_sets_of_the_arithmetic_is_seen(monkeypatch):
    for name in machine.ARITHMETIC:
        monkeypatch.delenv(name, raising=False)
    plain = machine.arithmetic(2)
    assert plain == {"threads": 2, "instructions": torch.backends.cpu.get_cpu_capability()}
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    assert machine.arithmetic(2) == plain | {"MKL_CBWR": "COMPATIBLE"}


def test_versions_are_of_what_code_imports_and_of_nothing_that_only_shows_it(tmp_path):
    inside = "def f():\n    from skdim.id import TwoNN\n"
    found = machine.libraries(["import numpy as np\nfrom tqdm import tqdm", inside, "import lib.measures, math"])
    assert found == {name: importlib.metadata.version(name) for name in ("numpy", "scikit-dimension")}
