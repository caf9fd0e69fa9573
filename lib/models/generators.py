"""TEMPORARY: the old names of :mod:`lib.models.generative`, until no caller needs them."""

from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from types import SimpleNamespace

from lib.models.data import Dataset
from lib.models.fit import FITS, fit
from lib.models.generative import RATES, Generative

__all__ = ["RATES", "Generative", "fit_generators"]


def fit_generators(
    specs: Sequence[Generative],
    dataset: Dataset,
    device: str,
    *,
    folder: Path = FITS,
    executor: Executor | None = None,
) -> list[SimpleNamespace]:
    """``fit(specs, dataset, device, executor=executor)``, where ``codes`` is called ``prior``."""
    fits = fit(specs, dataset, device, folder=folder, executor=executor)
    return [SimpleNamespace(**vars(made), codes=made.prior) for made in fits]
