"""The gap between the recovery errors of training and of held-out images: over models, over N, and less difficulty."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from sklearn.decomposition import PCA
from torch import Tensor

from lib.measures.axes import Images
from lib.measures.intervals import Estimate, estimate, paired, with_models
from lib.measures.recovery import Overfitting, false_alarms, overfitting
from lib.measures.transforms import warp
from lib.protocols.zoo import Search, Zoo, errors


class Sides(NamedTuple):
    """Recovery errors, mean squared errors per pixel, of the two sides of a comparison under one model."""

    training: Float[Tensor, " training"]
    held_out: Float[Tensor, " held_out"]


class Controls(NamedTuple):
    """Recovery errors that should be small, and larger, whatever the model was trained on."""

    generated: Float[Tensor, " images"]
    """of images that the model made"""
    distorted: Float[Tensor, " images"]
    """of training images turned by 5 degrees and moved by half a pixel"""


class Row(NamedTuple):
    """What a row of the table says."""

    gap: Estimate
    """mean over its models, with an interval over images"""
    models: list[Overfitting]
    """the paper's rule for every model"""


class Likeness(NamedTuple):
    """A comparison with held-out images beside two others that could explain it."""

    held_out: Overfitting
    """training images against images held out at random"""
    adjusted: Overfitting
    """the same, with the difficulty of the images regressed out"""
    official: Overfitting
    """training images against the official test part"""
    sources: Overfitting
    """images held out at random against the official test part, neither of which was trained on"""


def by_model(
    zoo: Zoo, how: Search, executor: Executor, rows: Sequence[str] | None = None, *, most: int | None = None
) -> dict[str, list[Sides]]:
    """The errors of both sides under every model of the rows.

    Args:
        zoo: the models and their images.
        how: how latents are searched for, where there is no encoder.
        executor: where models are searched side by side.
        rows: names of the rows; by default all that were fitted.
        most: how many models of a row at most; by default all.
    """

    def sides(row: str, k: int) -> Sides:
        fit = zoo.fits[row][k]
        return Sides(*(errors(fit, images, how).cpu() for images in (zoo.trained_on(row, k), zoo.held_out())))

    keys = [(row, k) for row in rows or zoo.fits for k in range(len(zoo.fits[row]))[:most]]
    gathered: dict[str, list[Sides]] = {row: [] for row, _ in keys}
    for (row, _), pair in zip(keys, executor.map(sides, *zip(*keys, strict=True)), strict=True):
        gathered[row].append(pair)
    return gathered


def controls(zoo: Zoo, how: Search, count: int, executor: Executor) -> dict[str, Controls]:
    """The errors of ``count`` generated and as many distorted images under the first model of every row."""
    distort = warp(degrees=5.0, right=0.5)

    def both(row: str) -> Controls:
        asked = zoo.generated(row, count), distort(zoo.trained_on(row, count=count))
        return Controls(*(errors(zoo.fits[row][0], images, how).cpu() for images in asked))

    return dict(zip(zoo.fits, executor.map(both, zoo.fits), strict=True))


def mean_image(zoo: Zoo, row: str) -> Sides:
    """The errors of the mean training image, which is what a generator that had learnt nothing else would make."""
    middle = zoo.images.train.mean(0, keepdim=True).to(zoo.device)
    sides = zoo.trained_on(row), zoo.held_out()
    return Sides(*((images - middle).flatten(1).square().mean(1).cpu() for images in sides))


def of_unseen(zoo: Zoo, row: str, how: Search, count: int, executor: Executor) -> Float[Tensor, " images"]:
    """The errors of training images that the first model of a row was not trained on: at most ``count``, in parts."""
    images = zoo.unseen(row, count)
    parts = images.tensor_split(max(1, len(images) // 500))
    return torch.cat(list(executor.map(lambda part: errors(zoo.fits[row][0], part, how).cpu(), parts)))


def rows(models: Mapping[str, Sequence[Sides]], seed: int, executor: Executor) -> dict[str, Row]:
    """The gap and the paper's rule for every row; ``seed`` is that of the intervals."""

    def row(sides: Sequence[Sides]) -> Row:
        return Row(over_models(sides, seed), [compare(pair, seed) for pair in sides])

    return dict(zip(models, executor.map(row, models.values()), strict=True))


def compare(sides: Sides, seed: int) -> Overfitting:
    """The paper's rule for one model; ``seed`` is that of the gap's bootstrap interval."""
    return overfitting(*sides, seed=seed)


def over_models(models: Sequence[Sides], seed: int) -> Estimate:
    """The mean gap of the models of a row, with the 95 % interval of :func:`lib.measures.intervals.with_models`.

    Images are resampled with their errors under all models: that of a held-out image under one model is not independent
    of that under another.

    Args:
        models: their errors, as many images on either side.
        seed: seed of the resampling.
    """
    return with_models(paired(_mean_gap, *_columns(models), seed=seed), [_gap(sides) for sides in models])


def fall(few: Sequence[Sides], many: Sequence[Sides], seed: int) -> Estimate:
    """How much smaller the mean gap is for models of many images than for as many of few; see :func:`over_models`.

    Args:
        few: errors of the models of few training images.
        many: errors of the models of many.
        seed: seed of the resampling.

    Raises:
        ValueError: not as many models of either.
    """
    if len(few) != len(many):
        raise ValueError(f"as many models of few as of many images are needed, got {len(few)} and {len(many)}")
    falls = [_gap(first) - _gap(second) for first, second in zip(few, many, strict=True)]
    return with_models(paired(_difference_of_gaps, *_columns(few), *_columns(many), seed=seed), falls)


def median(values: Float[Tensor, " images"], seed: int) -> Estimate:
    """The median with its 95 % interval over images, in thousandths of the errors' unit."""
    return estimate(1e3 * values.cpu(), np.median, seed=seed)


def ratio_of_medians(first: Float[Tensor, " images"], second: Float[Tensor, " images"], seed: int) -> Estimate:
    """The median of ``first`` over that of ``second`` for the same images, with a 95 % interval over images."""
    return paired(_ratio, first.cpu(), second.cpu(), seed=seed)


def log_ratio_of_medians(first: np.ndarray, second: np.ndarray) -> np.floating:
    """Log of the ratio of two medians, as a statistic of :func:`lib.measures.intervals.over_models`."""
    return np.log(np.median(first) / np.median(second))


def difficulty(reference: Images, components: int, seed: int) -> Callable[[Images], Float[Tensor, " images"]]:
    """A map from images to the log error of their reconstruction from principal components, which knows no generator.

    Args:
        reference: the images whose components are taken; best of neither side of a comparison.
        components: how many, limited by the images there are.
        seed: seed of the randomised decomposition.
    """
    flat = reference.flatten(1).cpu().numpy()
    model = PCA(min(components, len(flat) - 1), svd_solver="randomized", random_state=seed).fit(flat)

    def log_error(images: Images) -> Float[Tensor, " images"]:
        x = images.flatten(1).cpu().numpy()
        return torch.from_numpy(np.log(((model.inverse_transform(model.transform(x)) - x) ** 2).mean(1)))

    return log_error


def over_components(zoo: Zoo, row: str, models: Sequence[Float[Tensor, " images"]]) -> Estimate:
    """How well the models of a row make what they have not seen: median error over that of principal components.

    They are as many as a model has latents, and of its own training images. A generator above one has learnt less than
    a linear map would; that it does not tell training images from others is no evidence that it did not memorise. The
    mean over models, with an interval over images and models as :func:`over_models`.

    Args:
        zoo: the models and their images.
        row: the row of the models.
        models: their errors of the held-out images, of the first or of the first few.
    """
    columns = []
    for fit, made in zip(zoo.fits[row], models, strict=False):
        linear = difficulty(zoo.images.train[fit.index], len(fit.prior.loc), zoo.seed)
        columns += [made.cpu(), linear(zoo.held_out()).exp().cpu()]
    each = [float(a.nanmedian() / b.nanmedian()) for a, b in zip(columns[::2], columns[1::2], strict=True)]
    return with_models(paired(_mean_ratio, *columns, seed=zoo.seed), each)


def regress_out(sides: Sides, predictor: Sides) -> Sides:
    """The errors without what a straight line in the difficulty of the images explains of their logarithm.

    One slope is fitted to both sides, each with its level, and errors are moved along it to the mean difficulty.

    Args:
        sides: positive errors; what is not finite is left out of the fit.
        predictor: a number for each of the same images, as from :func:`difficulty`.
    """
    x = torch.cat(predictor).cpu().numpy()
    y = torch.cat(sides).double().cpu().log().numpy()
    side = np.repeat([0.0, 1.0], [len(part) for part in sides])
    known = np.isfinite(y)
    design = np.stack([x, side, np.ones_like(x)], 1)
    slope = np.linalg.lstsq(design[known], y[known], rcond=None)[0][0]
    rest = torch.from_numpy(np.exp(y - slope * (x - x[known].mean())))
    return Sides(*rest.split([len(part) for part in sides]))


def likeness(
    zoo: Zoo, how: Search, compared: Mapping[str, Sides], hard: Callable[[Images], Tensor], executor: Executor
) -> dict[str, Likeness]:
    """Whether the gap of the first model of every row stays with difficulty regressed out, and with the official test.

    Args:
        zoo: the models and their images.
        how: how latents are searched for.
        compared: the errors of the first model of the rows.
        hard: the difficulty of images.
        executor: where models are searched side by side.
    """

    def alike(row: str) -> Likeness:
        sides = compared[row]
        predicted = Sides(hard(zoo.trained_on(row)), hard(zoo.held_out()))
        strangers = errors(zoo.fits[row][0], zoo.official.test[: zoo.count].to(zoo.device), how).cpu()
        pairs = sides, regress_out(sides, predicted), Sides(sides[0], strangers), Sides(sides[1], strangers)
        return Likeness(*(compare(pair, zoo.seed) for pair in pairs))

    return dict(zip(compared, executor.map(alike, compared), strict=True))


def alarms(values: Float[Tensor, " images"], count: int, seed: int) -> dict[int, tuple[Estimate, Estimate]]:
    """False alarms of both halves of the rule by the number of images on a side, ``count`` (or half of all) among them.

    Args:
        values: errors under one model of images that it was not trained on.
        count: images on a side of the comparison that is at hand.
        seed: seed of the divisions.
    """
    half = len(values) // 2
    levels = {side for side in (30, 60, 125, 250, 500, 1000, 2000) if side <= half} | {min(count, half)}
    return {side: false_alarms(values, side, seed=seed) for side in sorted(levels)}


def _gap(sides: Sides) -> float:
    known = [side[~side.isnan()].numpy() for side in sides]
    return float(_mean_gap(*known))


def _columns(models: Sequence[Sides]) -> list[Tensor]:
    return [side for sides in models for side in sides]


def _mean_gap(*columns: np.ndarray, axis: int = -1) -> np.ndarray | np.floating:
    """Mean over models of the gap; columns are training and held-out errors in turn."""
    medians = [np.median(column, axis) for column in columns]
    return np.mean([1 - train / test for train, test in zip(medians[::2], medians[1::2], strict=True)], axis=0)


def _difference_of_gaps(*columns: np.ndarray, axis: int = -1) -> np.ndarray | np.floating:
    half = len(columns) // 2
    return _mean_gap(*columns[:half], axis=axis) - _mean_gap(*columns[half:], axis=axis)


def _mean_ratio(*columns: np.ndarray, axis: int = -1) -> np.ndarray | np.floating:
    """Mean over models of the ratio of medians; columns are the two of each model in turn."""
    return np.mean([_ratio(*pair, axis=axis) for pair in zip(columns[::2], columns[1::2], strict=True)], axis=0)


def _ratio(first: np.ndarray, second: np.ndarray, axis: int = -1) -> np.ndarray | np.floating:
    return np.median(first, axis) / np.median(second, axis)
