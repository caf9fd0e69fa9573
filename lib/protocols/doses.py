"""One network fitted on ever more images: what the density says of every dose, and what seeds alone do to it.

The training images of a dose contain those of every smaller one of the same seed. So every model can be measured on its
own images, and all of one seed on the same: those of the smallest dose.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from lib.measures.intervals import Estimate, mean_of_few
from lib.measures.paths import decay_by_radius
from lib.models.convolutional import Convolutional, ConvVAEFit
from lib.models.data import Dataset
from lib.models.fit import fit as fit_all
from lib.protocols import dips, pair
from lib.protocols.dimensions import rank_by_threshold


class Settings(NamedTuple):
    """How every model is measured."""

    rank: int
    """singular values in the density"""
    samples: int
    """of a path"""
    radii: Sequence[float]
    """arclengths averaged in the decay, output units"""
    reach: float
    """latent units searched for them"""
    threshold: float
    """a singular value counts from this share of a point's largest"""


MEASURES = ("dip", "dip, same pairs", "decay", "decay, same points", "dimension", "gap of the bound")
"""what :func:`measure` finds: nats, nats, nats per output unit, the same, a count, nats per image"""


def fit(
    dataset: Dataset, device: str, sizes: Sequence[int], models: int, *, seed: int, **settings: int
) -> dict[int, list[ConvVAEFit]]:
    """``models`` fits of every number of training images, in ascending order; zero means all.

    Args:
        dataset: the images.
        device: the device to train on.
        sizes: numbers of training images.
        models: fits of each; number ``k`` of every size has the same seed, as in :func:`lib.protocols.pair.repeats`.
        seed: seed of the first of each.
        settings: steps, batch, latents and width of all, by their names in the specification.
    """
    seeds = pair.seeds(seed, models)
    specs = [Convolutional(size, seed=each, **settings) for size in sizes for each in seeds]
    found: dict[int, list[ConvVAEFit]] = {}
    for fitted in fit_all(specs, dataset, device):
        found.setdefault(len(fitted.index), []).append(fitted)
    return dict(sorted(found.items()))


def measure(fits: Mapping[int, Sequence[ConvVAEFit]], dataset: Dataset, pairs: int, how: Settings) -> pd.DataFrame:
    """A row for every model: ``images``, ``model`` (its number within the dose), and a column for each of MEASURES.

    Args:
        fits: the models by their number of training images, ascending.
        dataset: the images that they were fitted on.
        pairs: points of every model, at most, each with its nearest neighbour among the training images.
        how: rank, radii and the rest.
    """
    rows = []
    for k, smallest in enumerate(next(iter(fits.values()))):
        shared = pair.neighbour_pairs(dataset.train, smallest.index, pairs, seed=smallest.spec.seed)
        for size, models in fits.items():
            fitted = models[k]
            own = pair.neighbour_pairs(dataset.train, fitted.index, pairs, seed=fitted.spec.seed)
            dip, decay, dimension = _on(fitted, dataset, own, how)
            same_dip, same_decay, _ = (dip, decay, None) if fitted is smallest else _on(fitted, dataset, shared, how)
            values = (dip, same_dip, decay, same_decay, dimension, _gap(fitted, dataset))
            rows.append({"images": size, "model": k + 1, **dict(zip(MEASURES, values, strict=True))})
    return pd.DataFrame(rows).sort_values(["images", "model"], ignore_index=True)


def means(found: pd.DataFrame) -> pd.DataFrame:
    """The mean over the models of each dose, with an interval over models: a row for every dose, by its images."""
    rows = {
        size: {name: mean_of_few(torch.tensor(models[name].to_numpy())) for name in MEASURES}
        for size, models in found.groupby("images")
    }
    return pd.DataFrame.from_dict(rows, orient="index", dtype=object)[list(MEASURES)]


def slope(found: pd.DataFrame, measure: str) -> Estimate:
    """How much a measure changes with ten times the images: the slope of a line over the doses, with its t interval.

    Models of one seed share their images, so a seed has one line, by least squares, and the interval is over seeds: of
    the slope of such lines, whether or not the doses lie on one.

    Args:
        found: one row for each model, as of :func:`measure`.
        measure: the name of a column.
    """
    each = [
        np.polyfit(np.log10(models["images"].astype(float)), models[measure], 1)[0]
        for _, models in found.groupby("model")
    ]
    return mean_of_few(torch.tensor(np.array(each)))


def null(found: pd.DataFrame, measure: str) -> float:
    """The largest difference between two models that differ in nothing but the seed, over all doses.

    It is what a difference between two models has to exceed before it says anything of their doses.
    """
    return float(found.groupby("images")[measure].agg(np.ptp).max())


def _on(fitted: ConvVAEFit, dataset: Dataset, pairs: pair.Pairs, how: Settings) -> tuple[float, float, float]:
    """Mean dip, mean decay and mean dimension at pairs of images."""
    decoder, (start, end) = fitted.model.generate, (pair.codes(fitted, dataset.train[index]) for index in pairs)
    paths = dips.measure(decoder, start, end, n=how.samples)
    decay = decay_by_radius(decoder, start, rank=how.rank, radii=how.radii, reach=how.reach).double().mean(1)
    dimension = rank_by_threshold(paths.start.spectrum, how.threshold, relative=True)
    return float(dips.parts(paths, how.rank).total.mean()), float(decay.nanmean()), float(dimension.mean())


def _gap(fitted: ConvVAEFit, dataset: Dataset, most: int = 1000) -> float:
    """By how much the negative evidence lower bound of held-out images exceeds that of training images, nats."""
    place, latent = next(fitted.model.parameters()).device, fitted.spec.latent
    own, other = (
        pair.negative_bound(fitted.model, images, latent, device=place, seed=fitted.spec.seed).mean()
        for images in (dataset.train[pair.draw(fitted.index, most, seed=fitted.spec.seed)], dataset.test[:most])
    )
    return float(other - own)
