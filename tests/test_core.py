"""The measures need the core's packages and no more."""

import importlib.metadata
import re
import subprocess
import sysconfig
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAM = """
import pkgutil, torch, lib.measures
from lib.measures.paths import decay
names = [m.name for m in pkgutil.iter_modules(lib.measures.__path__)]
for name in names:
    __import__(f"lib.measures.{name}")
print(len(names), decay(lambda z: 3 * z, torch.full((1, 2), 0.1, dtype=torch.float64), radii=(0.5,)).item())
"""


def closure(requirements):
    """The distributions that these need, with what they need in turn, as installed here."""
    reached, waiting = set(), list(requirements)
    while waiting:
        requirement = waiting.pop()
        name = re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")
        if name in reached or "extra ==" in requirement:
            continue
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # what this platform does not need
        reached.add(name)
        waiting += distribution.requires or []
    return reached


def install(environment, distributions):
    """Link what is installed here into an empty environment: no download, and nothing else to import."""
    purelib = Path(sysconfig.get_path("purelib"))
    (target,) = environment.glob("lib/python*/site-packages")
    for name in distributions:
        for top in {file.parts[0] for file in importlib.metadata.distribution(name).files}:
            if top != ".." and top != "__pycache__" and not (target / top).exists():
                (target / top).symlink_to(purelib / top)
    (target / "lib").mkdir()
    (target / "lib" / "__init__.py").symlink_to(ROOT / "lib" / "__init__.py")
    (target / "lib" / "measures").symlink_to(ROOT / "lib" / "measures")


def test_the_core_alone_runs_every_measure(tmp_path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = closure(project["dependencies"])
    assert "torch" in needed
    assert not needed & {"scikit-learn", "papermill", "matplotlib", "jupyter-book", "pandas", "distributed"}
    venv.create(tmp_path / "empty", with_pip=False)
    install(tmp_path / "empty", needed)
    python = tmp_path / "empty" / "bin" / "python"
    run = subprocess.run([python, "-W", "ignore", "-c", PROGRAM], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    count, value = run.stdout.split()
    assert int(count) >= 14
    assert abs(float(value) + (0.5 / 3) ** 2 / 0.5) < 1e-9  # half a unit away is a sixth of a latent
    lacking = subprocess.run([python, "-c", "import sklearn"], capture_output=True, text=True, cwd=tmp_path)
    assert "ModuleNotFoundError" in lacking.stderr
