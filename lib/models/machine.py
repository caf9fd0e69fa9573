"""What of a machine decides the last bits of a number, besides code and data: threads, instructions, libraries."""

import importlib.metadata
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import torch

from lib.models import closure

THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""Every back end has its own: one that is left alone splits its sums as it likes."""
ARITHMETIC = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "MKL_CBWR",
    "MKL_DYNAMIC",
    "MKL_ENABLE_INSTRUCTIONS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_DYNAMIC",
    "OPENBLAS_CORETYPE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)
"""What users may set to change how numbers are added up; it is part of every key."""
INERT = {"filelock", "ipython", "jaxtyping", "matplotlib", "safetensors", "tqdm"}
"""Distributions that show or store numbers and change none."""


def environment(threads: int) -> dict[str, str]:
    """The environment of a run: the same number of threads for every back end, and one order of sets."""
    return dict.fromkeys(THREADS, str(threads)) | {"PYTHONHASHSEED": "0"}


def arithmetic(threads: int) -> dict[str, object]:
    """How this machine adds up: its threads, its instructions, and what its user has set."""
    chosen = {name: os.environ[name] for name in ARITHMETIC if name in os.environ}
    return {"threads": threads, "instructions": torch.backends.cpu.get_cpu_capability(), **chosen}


def libraries(code: Iterable[Path | str]) -> dict[str, str]:
    """The versions of the distributions that files and texts import, but for those that change no number."""
    found = {name for module in closure.foreign(code) for name in _providers().get(module, ())}
    return {name: importlib.metadata.version(name) for name in sorted(found) if name.lower() not in INERT}


@cache
def _providers() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())
