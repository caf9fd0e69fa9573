"""Kills: does what was killed at any moment end with the same numbers when it is called again?

    python -m tests.kills --n 100 --seed 0

Works in a copy of the repository. A K-fold fit that keeps a checkpoint of every epoch, and ``book --preset smoke``, are
killed (with all their processes) after a random time, and called again until they end; then begun anew, until there were
so many kills of either. Prints how many kills there were, how many finishes, and how many of these differ from one that was
never interrupted; and what the kills have left among the temporary files.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.mutants import COPIED, ROOT

FIT = """
import hashlib
from lib.models import data, loop
from lib.models.fit import fit
from lib.models.kfold import KFold
loop.CHECKPOINT_SECONDS = 0
spec = KFold("bernoulli", images=200, folds=3, epochs=40, latent=4, width=32, samples=8, score_every=5, test_images=50)
fit(spec.repeats(2), data.load("mnist"), "cpu")
"""


class Work(NamedTuple):
    """Something that takes a while."""

    command: list[str]
    made: Callable[[Path], str]
    """a digest of what it has made, from the folder it works in"""
    seconds: float
    """the longest time until it is killed"""


def fits(folder: Path) -> str:
    """A digest of all fits."""
    files = sorted((folder / "_build" / "fits").glob("*.safetensors"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def values(folder: Path) -> str:
    """A digest of the numbers of all runs, but for those that are times."""
    records = [json.loads(path.read_text()) for path in sorted((folder / "_build" / "runs" / "smoke").glob("*.json"))]
    return hashlib.sha256(json.dumps([record["values"] for record in records]).encode()).hexdigest()


WORKS = {
    "fit": Work([sys.executable, "-c", FIT], fits, 8),
    "book": Work([sys.executable, "-m", "lib", "book", "--preset", "smoke", "--jobs", "2"], values, 60),
}


def killed(work: Work, folder: Path, environment: dict[str, str], after: float | None) -> bool:
    """Start it, and kill it and its children after some seconds unless it has ended; whether it was killed."""
    with subprocess.Popen(
        work.command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            said = process.communicate(timeout=after)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return True
    if process.returncode:
        raise SystemExit(f"it failed after a kill: {said.decode()[-1000:]}")
    return False


def tortured(work: Work, folder: Path, n: int, rng: random.Random, environment: dict[str, str]) -> dict[str, int]:
    """Kill it so often; how often it has ended, and how often otherwise than undisturbed."""
    killed(work, folder, environment, None)
    whole, kills, finishes, different = work.made(folder), 0, 0, 0
    shutil.rmtree(folder / "_build")
    while kills < n or not finishes:
        if killed(work, folder, environment, rng.uniform(0, work.seconds) if kills < n else None):
            kills += 1
            continue
        finishes += 1
        different += work.made(folder) != whole
        shutil.rmtree(folder / "_build")
    return {"kills": kills, "finishes": finishes, "different": different}


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="*", default=list(WORKS), help="fit, book (both)")
    parser.add_argument("--n", type=int, default=100, help="kills of each (100)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the times (0)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as top:
        folder, temporary = Path(top, "copy"), Path(top, "temporary")
        temporary.mkdir()
        for name in (*COPIED, "_toc.yml", "_config.yml"):
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            folder.mkdir(exist_ok=True)
            copy(ROOT / name, folder / name)
        environment = os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": str(folder)}
        for name in given.works:
            counts = tortured(WORKS[name], folder, given.n, random.Random(f"{given.seed} {name}"), environment)
            print(json.dumps({name: counts, "left": sorted(path.name for path in temporary.iterdir())}), flush=True)


if __name__ == "__main__":
    main()
