"""TEMPORARY: the old names of :mod:`lib.models.stochastic`, until no caller needs them."""

from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from lib.models.data import Dataset
from lib.models.fit import FITS, fit
from lib.models.stochastic import Constant, Gaussian, Network, Precision, Stochastic, StochasticVAE

__all__ = ["Constant", "Fitted", "Gaussian", "Network", "Precision", "StochasticVAE", "fit_stochastic"]


class Fitted(NamedTuple):
    """``StochasticFit``."""

    models: list[nn.Module]
    index: Tensor
    losses: Tensor


def fit_stochastic(
    specs: Sequence[Stochastic],
    dataset: Dataset,
    device: str,
    *,
    folder: Path = FITS,
    executor: Executor | None = None,
) -> list[Fitted]:
    """``fit(specs, dataset, device)``."""
    fits = fit(specs, dataset, device, folder=folder, executor=executor)
    return [Fitted(made.models, made.index, made.losses) for made in fits]
