"""TEMPORARY: the old names of :mod:`lib.models.kfold`, until no caller needs them."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from lib.models.data import ROOT, Dataset
from lib.models.fit import FITS, fit
from lib.models.kfold import KFold, gather
from lib.models.networks import VAE


class Repeats(NamedTuple):
    """``lib.models.kfold.Repeats``."""

    spec: KFold
    log_p: Tensor
    ess: Tensor
    scored: list[int]
    held_out: Tensor
    losses: Tensor
    weights: list[dict[str, Tensor]]
    index: Tensor


def fit_repeats(
    specs: Sequence[KFold],
    repeats: int,
    dataset: Dataset,
    device: str,
    evidence: Callable | None = None,
    *,
    root: Path = ROOT / "data",
    executor: Executor | None = None,
    folder: Path = FITS,
) -> list[Repeats]:
    """``gather(fit([one for spec in specs for one in spec.repeats(n)], dataset, device, executor=executor))``."""
    parts = [part for spec in specs for part in spec.repeats(repeats)]
    gathered = gather(fit(parts, dataset, device, folder=folder, executor=executor))
    made = []
    for every in gathered:
        numbers = (every.log_p, every.ess, every.scored, every.held_out, every.losses)
        made.append(Repeats(every.spec, *numbers, [part.weights for part in every.fits], every.index))
    return made


def member(spec: KFold, shape: Sequence[int], weights: dict[str, Tensor], index: int) -> VAE:
    """``repeats.model(repeat, fold)``."""
    model = spec.build(shape, index)
    model.load_state_dict({name: value[index] for name, value in weights.items()})
    return model.eval().requires_grad_(False)


def observed(spec: KFold, images: Tensor, draw: int = 0) -> Tensor:
    """``spec.observed(images, draw)``."""
    return spec.observed(images, draw)


def padded(images: Tensor, pad: int) -> Tensor:
    """``spec.padded(images)``."""
    return nn.functional.pad(images, (pad,) * 4)
