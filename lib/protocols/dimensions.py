"""How many dimensions a generator uses: by thresholds on singular values, by its cloud of codes, by estimators."""

import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import skdim
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.distributions import Distribution, Normal, kl_divergence

from lib.measures.axes import Latents, PerSample, SingularValues
from lib.measures.intervals import Estimate
from lib.measures.jacobian import singular_values
from lib.measures.recipes import remembered
from lib.models.convolutional import ConvVAEFit
from lib.models.data import Dataset
from lib.protocols import pair

ESTIMATORS = {"PCA": skdim.id.lPCA, "maximum likelihood": skdim.id.MLE, "TwoNN": skdim.id.TwoNN}
"""Estimators of the dimension of a cloud of points: Bac et al. 2021, Levina & Bickel 2004, Facco et al. 2017."""


class Halves(NamedTuple):
    """An estimate on random halves of the points."""

    mean: float
    deviation: float
    """standard deviation over the halves"""

    def __str__(self) -> str:
        """Mean and standard deviation, to a tenth of a dimension."""
        return f"{self.mean:.1f} ± {self.deviation:.1f}"


class Cloud(NamedTuple):
    """Codes of training images under one model, and what the decoder does there."""

    posterior: Distribution
    spectrum: SingularValues
    """singular values of the decoder at the means, output units per latent unit"""
    labels: Int64[Tensor, " points"]


def of_models(fits: Mapping[str, ConvVAEFit], dataset: Dataset, points: int) -> dict[str, Cloud]:
    """The clouds of at most ``points`` training images of every model, drawn with the seed of its fit."""
    found = {}
    for name, fitted in fits.items():
        index = pair.draw(fitted.index, points, seed=fitted.spec.seed)
        posterior = pair.posterior(fitted, dataset.train[index])
        spectrum = singular_values(fitted.model.generate, posterior.mean).cpu()
        found[name] = Cloud(posterior, spectrum, dataset.train_labels[index])
    return found


class Numbers(NamedTuple):
    """What the cloud of one model says: a number for each point, and the last for all."""

    dimension: PerSample
    """singular values above the threshold"""
    higher: PerSample
    """above a threshold a quarter higher: the paper does not give its own"""
    log_size: PerSample
    """mean log of the first singular values"""
    cloud: Float[Tensor, "1"]
    """directions of the cloud of codes with more than the threshold of the largest spread"""


def numbers(cloud: Cloud, threshold: float, first: int) -> Numbers:
    """What a cloud says at a threshold, a share of the largest, and of its ``first`` singular values."""
    spreads = spread(cloud.posterior.mean.double().cpu())
    return Numbers(
        rank_by_threshold(cloud.spectrum, threshold, relative=True),
        rank_by_threshold(cloud.spectrum, threshold / 0.8, relative=True),
        cloud.spectrum[:, :first].double().log().mean(1),
        rank_by_threshold(spreads[None], threshold, relative=True),
    )


def rank_by_threshold(spectrum: SingularValues, threshold: float, *, relative: bool) -> PerSample:
    """Number of singular values above a threshold at each point.

    Args:
        spectrum: singular values, descending.
        threshold: output units per latent unit, or a share of the largest of each point if ``relative``.
        relative: which of the two.
    """
    floor = threshold * spectrum[:, :1] if relative else threshold
    return (spectrum > floor).sum(1).double()


def mean_ranks(
    spectrum: SingularValues, thresholds: Sequence[float] | np.ndarray, *, relative: bool
) -> Float[np.ndarray, " thresholds"]:
    """The mean over points of :func:`rank_by_threshold`, for every threshold."""
    return np.array([rank_by_threshold(spectrum, float(v), relative=relative).mean().item() for v in thresholds])


def crossing(
    ranks: Float[np.ndarray, " thresholds"], thresholds: Float[np.ndarray, " thresholds"], at: float | int
) -> float:
    """The threshold at which falling ranks pass a value, linearly between thresholds."""
    return float(np.interp(-at, -ranks, thresholds))


def spread(cloud: Latents) -> Float[Tensor, " directions"]:
    """Standard deviations of a cloud of points along its principal directions, descending."""
    return torch.linalg.svdvals(cloud - cloud.mean(0)) / (len(cloud) - 1) ** 0.5


@remembered
def cloud_dimension(cloud: Latents, threshold: float, *, seed: int, draws: int = 200) -> Estimate:
    """Number of directions of a cloud with more than a share of the largest spread.

    Args:
        cloud: the points.
        threshold: share of the largest spread.
        seed: seed of the bootstrap.
        draws: resampled clouds. The interval holds 95 % of their dimensions; it is a percentile interval, since a
            dimension is a whole number.
    """

    def count(points: Tensor) -> int:
        return int(rank_by_threshold(spread(points)[None], threshold, relative=True))

    rng = np.random.default_rng(seed)
    again = [count(cloud[rng.integers(len(cloud), size=len(cloud))]) for _ in range(draws)]
    low, high = np.quantile(again, (0.025, 0.975))
    return Estimate(count(cloud), float(low), float(high), len(cloud))


def information(mean: Latents, deviation: Latents) -> Float[Tensor, " latent"]:
    r"""What each latent carries, :math:`\mathrm{KL}(q(z_k | x) \| p(z_k))` averaged over images, descending, in nats.

    Args:
        mean: means of the posteriors.
        deviation: their standard deviations.
    """
    prior = Normal(torch.zeros_like(mean), torch.ones_like(mean))
    return kl_divergence(Normal(mean, deviation), prior).mean(0).sort(descending=True).values


def as_many(mean: Latents, deviation: Latents, count: int, *, rng: torch.Generator) -> Float[Tensor, "count latent"]:
    """Posterior means, ``count`` of them; where there are fewer, samples of the posteriors make up the number.

    Args:
        mean: means of the posteriors.
        deviation: their standard deviations.
        count: how many codes are wanted.
        rng: the source of random numbers for the samples; all are samples if any is.
    """
    copies = -(-count // len(mean))
    z = mean.repeat(copies, 1)[:count]
    if copies == 1:
        return z
    return z + deviation.repeat(copies, 1)[:count] * torch.randn(z.shape, generator=rng, dtype=z.dtype).to(z)


def estimated(clouds: Mapping[str, Float[Tensor, "points coordinates"]], *, seed: int, halves: int = 6) -> pd.DataFrame:
    """The dimension of clouds of points, by every estimator: a row for each cloud, a column for each of ESTIMATORS.

    The spread over random halves is the uncertainty of the estimator itself.

    Args:
        clouds: the points, by name.
        seed: seed of the halves, which all clouds share.
        halves: how many.
    """

    def dimension(cloud: Tensor, estimator: type, half: int) -> float:
        chosen = np.random.default_rng([seed, half]).permutation(len(cloud))[: len(cloud) // 2]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package warns of changes in its dependencies
            return float(estimator().fit(cloud[chosen].double().cpu().numpy()).dimension_)

    rows = []
    for subject, cloud in clouds.items():
        row: dict[str, object] = {"points": subject}
        for label, estimator in ESTIMATORS.items():
            values = [dimension(cloud, estimator, half) for half in range(halves)]
            row[label] = Halves(float(np.mean(values)), float(np.std(values, ddof=1)))
        rows.append(row)
    return pd.DataFrame(rows, dtype=object)
