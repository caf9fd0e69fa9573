"""TEMPORARY: the old names of :mod:`lib.models.generative`, until no caller needs them."""

from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from lib.models.data import Dataset
from lib.models.fit import FITS, fit
from lib.models.generative import RATES, Generative

__all__ = ["RATES", "Fitted", "Generative", "fit_generators"]


class Fitted(NamedTuple):
    """``GeneratorFit``."""

    generator: nn.Module
    encoder: nn.Module | None
    codes: MultivariateNormal
    index: Tensor
    losses: Tensor


def fit_generators(
    specs: Sequence[Generative],
    dataset: Dataset,
    device: str,
    *,
    folder: Path = FITS,
    executor: Executor | None = None,
) -> list[Fitted]:
    """``fit(specs, dataset, device, executor=executor)``, where ``codes`` is called ``prior``."""
    fits = fit(specs, dataset, device, folder=folder, executor=executor)
    return [Fitted(made.generator, made.encoder, made.prior, made.index, made.losses) for made in fits]
