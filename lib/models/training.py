"""TEMPORARY: the old names of :mod:`lib.models.convolutional`, until no caller needs them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from lib.models import networks
from lib.models.convolutional import Convolutional as VAE
from lib.models.convolutional import pair
from lib.models.data import Dataset
from lib.models.fit import FITS, fit


class Fitted(NamedTuple):
    """``ConvVAEFit``."""

    model: nn.Module
    index: Tensor
    losses: Tensor


def fit_vaes(specs: Sequence[VAE], dataset: Dataset, device: str, *, folder: Path = FITS) -> list[Fitted]:
    """``fit(specs, dataset, device)``."""
    return [Fitted(made.model, made.index, made.losses) for made in fit(specs, dataset, device, folder=folder)]


def fit_pair(dataset: Dataset, device: str, *, examples: int, **settings: int) -> dict[str, Fitted]:
    """``specs = pair(...)``; ``dict(zip(specs, fit(list(specs.values()), dataset, device)))``."""
    specs = pair(examples, **settings)
    return dict(zip(specs, fit_vaes(list(specs.values()), dataset, device), strict=True))


def codes(fit: Fitted, images: Tensor) -> Tensor:
    """``codes(fit.model, images)``."""
    return networks.codes(fit.model, images)
