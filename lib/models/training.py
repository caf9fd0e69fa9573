"""TEMPORARY: the old names of :mod:`lib.models.convolutional`, until no caller needs them."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from lib.models import networks
from lib.models.convolutional import Convolutional as VAE
from lib.models.convolutional import ConvVAEFit, pair
from lib.models.data import Dataset
from lib.models.fit import FITS, fit


def fit_vaes(specs: Sequence[VAE], dataset: Dataset, device: str, *, folder: Path = FITS) -> list[ConvVAEFit]:
    """``fit(specs, dataset, device)``."""
    return fit(specs, dataset, device, folder=folder)


def fit_pair(dataset: Dataset, device: str, *, examples: int, **settings: int) -> dict[str, ConvVAEFit]:
    """``specs = pair(...)``; ``dict(zip(specs, fit(list(specs.values()), dataset, device)))``."""
    specs = pair(examples, **settings)
    return dict(zip(specs, fit(list(specs.values()), dataset, device), strict=True))


def codes(fit: ConvVAEFit, images: Tensor) -> Tensor:
    """``codes(fit.model, images)``."""
    return networks.codes(fit.model, images)
