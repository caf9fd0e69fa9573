r"""Three samples, one question: are generated images nearer to the training images than held-out ones are?

In every cell of a partition of the images, the distances of generated images to the cell's training images are compared
by rank with those of held-out images. Held-out images are what chance gives, so no dimension has to be known.

Source: Meehan, Chaudhuri & Dasgupta 2020, "A non-parametric test to detect data-copying in generative models".
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.cluster.vq import ClusterError, kmeans2
from scipy.stats import mannwhitneyu
from torch import Tensor

from lib.measures.nearest import CHUNK, comparable, nearest

Images = Float[Tensor, "train *image"]
HeldOut = Float[Tensor, "others *image"]
Samples = Float[Tensor, "made *image"]


class Cells(NamedTuple):
    """The parts of :func:`ct`; the cells with too few samples are left out."""

    z: Float[Tensor, " cells"]
    """of each cell; negative: its samples are nearer to the training images than held-out images are"""
    weight: Float[Tensor, " cells"]
    """share of the held-out images, out of those in the cells that count"""
    left_out: int
    """cells with too few samples to count"""

    def mean(self) -> float:
        """The statistic: the weighted mean."""
        return float(self.weight @ self.z)

    def spread(self) -> float:
        """Its standard deviation if nothing is copied: 1 in one cell, about 1 / sqrt(cells) in many."""
        return float(self.weight.norm())


def ct(
    train: Images,
    held_out: HeldOut,
    samples: Samples,
    *,
    cells: int,
    rng: np.random.Generator | int,
    least: int = 20,
    chunk: int = CHUNK,
) -> float:
    r"""The statistic :math:`C_T` of data-copying: negative if samples are nearer to training images than held-out ones.

    .. math:: C_T = \sum_\pi P(\pi) z_\pi \Big/ \sum_\pi P(\pi), \quad
              z = \frac{U - nm/2}{\sqrt{nm (n + m + 1) / 12}}

    over the cells of k-means of the training images with enough samples. ``P`` is the share of held-out images in a
    cell, ``U`` the number of pairs in which the sample (of m) is farther from the cell's training images than the
    held-out image (of n). Positive: the samples are too far away, as those of an underfitted model. If nothing is
    copied the mean is 0 and the standard deviation :meth:`Cells.spread` of :func:`ct_by_cell`, which is 1 for one cell
    only.

    Args:
        train: the images that the model was trained with.
        held_out: images of the same distribution that it has not seen.
        samples: images that it made.
        cells: number of cells.
        rng: the source of random numbers for the start of k-means, or its seed.
        least: samples that a cell must have to count; the public code takes cells with more than 20.
        chunk: images whose distances are in memory at a time.

    Raises:
        ValueError: images of other shapes or not finite; a cell without training or held-out images; no cell with
            enough samples; or equal distances throughout a cell.

    Source: Meehan, Chaudhuri & Dasgupta 2020. Two differences from the public code
    (casey-meehan/data-copying, a0ba2db, data_copying_tests.py): its mean of U is nm/2 - 1/2, so that its scores are too
    large by half a pair, and it does not correct the variance for ties, as is done here.

    Example:
        >>> train, held_out = torch.randn(2, 200, 1, generator=torch.Generator().manual_seed(0))
        >>> f"{ct(train, held_out, train[:100], cells=1, rng=0):.1f}"
        '-14.4'
    """
    return ct_by_cell(train, held_out, samples, cells=cells, rng=rng, least=least, chunk=chunk).mean()


def ct_by_cell(
    train: Images,
    held_out: HeldOut,
    samples: Samples,
    *,
    cells: int,
    rng: np.random.Generator | int,
    least: int = 20,
    chunk: int = CHUNK,
) -> Cells:
    """The score of each cell and its weight; arguments, errors and source as for :func:`ct`.

    Example:
        >>> train, held_out = torch.randn(2, 200, 1, generator=torch.Generator().manual_seed(0))
        >>> ct_by_cell(train, held_out, train, cells=2, rng=0).z < -5
        tensor([True, True])
    """
    train, *others = comparable(
        ("training images", train, cells), ("held-out images", held_out, 1), ("samples", samples, least)
    )
    if min(cells, least) < 1:
        raise ValueError(f"cells and least must be at least 1, got {cells} and {least}")
    try:
        with np.errstate(invalid="raise"):  # the start of k-means divides by zero if there are not as many images
            start = np.random.default_rng(rng)
            centres, _ = kmeans2(train.detach().cpu().numpy(), cells, minit="++", missing="raise", rng=start)
    except (ClusterError, FloatingPointError) as error:
        raise ValueError(f"k-means found an empty cell among {cells}: ask for fewer, or use another seed") from error
    centres = torch.from_numpy(centres).to(train)
    cell, *of_others = (nearest(images, centres, 1, chunk=chunk)[1][:, 0] for images in (train, *others))
    z, weight = [], []
    for index in range(cells):
        held, made = (images[of == index] for images, of in zip(others, of_others, strict=True))
        if not len(held) or not (cell == index).any():
            raise ValueError(f"cell {index} of {cells} has no training or no held-out image: ask for fewer cells")
        if len(made) >= least:
            near = train[cell == index]
            z.append(_standardised_u(*(nearest(images, near, 1, chunk=chunk)[0][:, 0] for images in (made, held))))
            weight.append(len(held))
    if not z:
        raise ValueError(f"none of {cells} cells has {least} of the {len(others[1])} samples: ask for fewer cells")
    share = torch.tensor(weight).to(train)
    return Cells(torch.tensor(z).to(train), share / share.sum(), cells - len(z))


def _standardised_u(made: Tensor, held: Tensor) -> float:
    """The Mann-Whitney statistic of the first against the second in its standard deviations, corrected for ties."""
    u = mannwhitneyu(made.detach().cpu(), held.detach().cpu(), method="asymptotic", use_continuity=False).statistic
    n, m = len(made), len(held)
    ties = torch.cat([made, held]).unique(return_counts=True)[1].double()
    variance = n * m / 12 * (n + m + 1 - float((ties**3 - ties).sum()) / ((n + m) * (n + m - 1)))
    if variance <= 0:
        raise ValueError(f"all {n + m} distances in a cell are equal")
    return float(u - n * m / 2) / variance**0.5
