"""Where a number comes from: the commit, the software, the machine and the day."""

import importlib.metadata
import os
import platform
import subprocess
import time
from pathlib import Path

from lib.models.data import ROOT

PACKAGES = ("torch", "numpy", "scipy", "scikit-dimension", "papermill", "jupyter-book")


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that matter most."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}


def here() -> dict[str, object]:
    """When and on what something is made here."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"date": now, "processor": processor(), "cores": os.cpu_count(), "commit": commit()}


def commit(digits: int = 12) -> str:
    """The commit that is checked out, with ``+`` if files differ from it; ``unknown`` outside a repository."""
    try:
        return git(ROOT, "describe", "--always", f"--abbrev={digits}", "--dirty=+", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def git(root: Path, *arguments: str) -> str:
    """What git says in a folder, without taking its locks and without the last line's end.

    Raises:
        OSError: there is no git.
        subprocess.CalledProcessError: it refuses.
    """
    told = ["git", "--no-optional-locks", *arguments]
    return subprocess.run(told, cwd=root, capture_output=True, text=True, check=True).stdout.rstrip("\n")


def processor() -> str:
    """The processor's name as Linux has it, or what Python knows."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
