"""What the public code of the memorisation score computes, replayed beside what the paper's text says.

Each difference has a function of its own, so that it can be checked, and mended, alone.

Source: van den Burg & Williams 2021, equations 5 and 6, and the code published with it, whose files and lines are named
below: alan-turing-institute/memorization at commit 065344b.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lib.measures.axes import PerSample
from lib.measures.intervals import Estimate, paired
from lib.measures.memorization import Scores, scores, split
from lib.measures.statistics import rank_correlation
from lib.models.networks import VAE
from lib.protocols import kfold, null
from lib.protocols.evidence import Asked

BATCH = 256
"""images whose distances are computed together"""
HIGH = 0.95
"""nats above which a score is called high"""


class Related(NamedTuple):
    """A ratio of distances, and how it goes with the score."""

    ratio: PerSample
    correlation: Estimate
    """rank correlation with the score, over images"""


class Pixels(NamedTuple):
    """What the models say if they are asked in one way about the pixels of an image."""

    spread: PerSample
    """standard deviation of log p(x) between the models with the image, nats"""
    scores: Scores


def halved(images: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n channels half half"]:
    """Images as the distances are computed from them: at half their height, in either direction.

    Source: ``resize_cdist`` in ``scripts/analysis_nearest_neighbor_distance.py``, lines 63 to 67.
    """
    size = int(images.shape[2] * 0.5)
    return torch.nn.functional.interpolate(images, (size, size), mode="bilinear", align_corners=False)


def first_row_distances(
    x: Float[Tensor, "batch *image"], others: Float[Tensor, "others *image"], *, batch: int = BATCH
) -> PerSample:
    r"""For every image, the distance *of the first image of its batch* to the image's own nearest neighbour.

    .. math:: d_i = \|x_{b(i)} - v_{j(i)}\| , \qquad j(i) = \arg\min_j \|x_i - v_j\| ,

    where :math:`b(i)` is the first image of the batch of :math:`i`. Only for that one it is the nearest distance.

    Args:
        x: training images.
        others: among which neighbours are sought.
        batch: images whose distances are computed together.

    Source: ``dist_val[s : s + bs] = dd[0, idxs]``, line 129 of ``scripts/analysis_nearest_neighbor_distance.py`` (and
    line 135).

    Example:
        The second image is 1 from its neighbour, which is 5 from the first image.

        >>> first_row_distances(torch.tensor([[0.0], [4.0]]), torch.tensor([[2.0], [5.0]]))
        tensor([2., 5.])
    """
    found = []
    for part in x.split(batch):
        distances = torch.cdist(part.flatten(1), others.flatten(1))
        found.append(distances[0, distances.argmin(1)])
    return torch.cat(found)


def first_row_ratio(
    x: Float[Tensor, "batch *image"], validation: Float[Tensor, "others *image"], samples: Float[Tensor, "made *image"]
) -> PerSample:
    """The ratio of :func:`first_row_distances` to validation images over those to samples (line 141)."""
    return first_row_distances(x, validation) / first_row_distances(x, samples)


def related(score: PerSample, ratio: PerSample, *, seed: int) -> Related:
    """A ratio with its rank correlation with the score."""
    return Related(ratio, paired(rank_correlation, score, ratio, seed=seed))


@torch.no_grad()
def means_of_one_model(model: VAE, count: int, latent: int, *, seed: int) -> Float[Tensor, "count *image"]:
    """Images that one model makes of latents from the prior: means of the likelihood, on the processor (line 115)."""
    z = torch.randn(count, latent, generator=kfold.source(seed, kfold.ONE_MODEL))
    return model.generate(z.to(next(model.parameters()))).cpu()


def called_high(score: PerSample) -> Bool[Tensor, " batch"]:
    """Which images are called highly memorised: those with more than .95 nats, not those above the .95 quantile.

    Source: ``rho[M <= q], rho[M > q]`` with q = 0.95, lines 35 and 119 of ``scripts/analysis_figure_nn_histograms.py``,
    which draws figures 12b and 13b. The figures by log probability do use the quantile.
    """
    return score > HIGH


def judge(asked: Asked, *, rng: torch.Generator) -> Pixels:
    """The spread between models and the scores, of estimates with pixels drawn for every model or the same for all.

    Args:
        asked: the estimates.
        rng: the source of random numbers for the null; the same for both, so that they differ in the pixels alone.
    """
    inside, _ = split(asked.log_p, asked.held_out)
    return Pixels(null.spread(inside), scores(asked.log_p, asked.held_out, rng=rng))
