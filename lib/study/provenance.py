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
        run = subprocess.run(
            ["git", "describe", "--always", f"--abbrev={digits}", "--dirty=+", "--exclude=*"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return run.stdout.strip()


def processor() -> str:
    """The processor's name as Linux has it, or what Python knows."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
