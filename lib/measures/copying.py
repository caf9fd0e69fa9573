r"""How near a generator's samples come to its training images, each measure beside what chance gives.

A *fresh* image is drawn from the data's own distribution, independently of the training set: the best that a generator
can make. It also has a nearest training image, so a distance says nothing until it is compared. The measures compare it
with the second neighbour (:func:`neighbour_ratio`), with the neighbour's own neighbours (:func:`authentic`,
:func:`calibrated_distance`), with the distance to as many held-out images (:func:`nearer_to_training`), or with the
distances of held-out images (:func:`lib.measures.three_sample.ct`, which can be called from here, too).

For the first two and the fourth, chance is known: where training images are many, they lie around an image like the
points of a Poisson process of constant density in d dimensions ("locally uniform"), d being the data's intrinsic
dimension rather than the number of pixels. Distances are those of :func:`lib.measures.nearest.nearest`.
"""

import torch
from jaxtyping import Bool, Float
from scipy.special import betainc
from torch import Tensor

from lib.measures.nearest import CHUNK, comparable, nearest
from lib.measures.three_sample import ct

__all__ = [
    "THIRD",
    "authentic",
    "authenticity",
    "authenticity_null",
    "calibrated_distance",
    "ct",
    "nearer_to_training",
    "neighbour_ratio",
    "neighbour_ratio_null",
]

Samples = Float[Tensor, "made *image"]
Training = Float[Tensor, "train *image"]
HeldOut = Float[Tensor, "others *image"]
PerMade = Float[Tensor, " made"]

THIRD = 1 / 3
"""the usual threshold of :func:`neighbour_ratio`, below which a sample is called a near-duplicate"""


def neighbour_ratio(samples: Samples, train: Training, *, chunk: int = CHUNK) -> PerMade:
    r"""How much nearer a sample is to its nearest training image than to the second nearest, in [0, 1].

    .. math:: r = d_1 / d_2

    A copy has 0. The literature calls a sample memorised where the ratio is below 1/3; :func:`neighbour_ratio_null` is
    the share of fresh images of which that is true.

    Args:
        samples: images that the model made.
        train: the images it was trained with.
        chunk: samples whose distances are in memory at a time.

    Raises:
        ValueError: fewer than two training images; images of other shapes or not finite; or a sample that equals two
            training images, whose ratio is 0/0 (counted).

    Source: Yoon, Choi, Kwon & Ryu 2023, who chose 1/3; Gu et al. 2023.

    Example:
        >>> neighbour_ratio(torch.tensor([[1.0], [6.0]]), torch.tensor([[0.0], [4.0], [12.0]]))
        tensor([0.3333, 0.3333])
    """
    samples, train = comparable(("samples", samples, 1), ("training images", train, 2))
    first, second = nearest(samples, train, 2, chunk=chunk)[0].unbind(1)
    if (second == 0).any():
        raise ValueError(
            f"{int((second == 0).sum())} of {len(samples)} samples equal two training images or more, so that their "
            f"ratio is 0/0: leave out duplicates among the training images"
        )
    return first / second


def neighbour_ratio_null(r: float | int, d: float | int) -> float:
    r"""The probability that :func:`neighbour_ratio` of a fresh image is below ``r``: the level of a threshold.

    .. math:: P(d_1 / d_2 < r) = r^d

    Proof: given :math:`d_2`, the nearest training image is the one point inside the ball of radius :math:`d_2`, and
    uniform there. So it lies in the ball of radius :math:`r d_2` with the ratio of the volumes, :math:`r^d`.

    Args:
        r: the threshold, in [0, 1].
        d: intrinsic dimension of the data; need not be whole.

    Raises:
        ValueError: a threshold outside [0, 1] or a dimension that is not positive.

    Example:
        The threshold 1/3 accuses one fresh image in nine in two dimensions, and nearly none in thirteen.

        >>> f"{neighbour_ratio_null(1 / 3, 2):.3f}, {neighbour_ratio_null(1 / 3, 13):.1e}"
        '0.111, 6.3e-07'
    """
    if not 0 <= r <= 1:
        raise ValueError(f"the ratio must be in [0, 1], got {r}")
    _refuse_dimension(d)
    return float(r**d)


def authentic(samples: Samples, train: Training, *, chunk: int = CHUNK) -> Bool[Tensor, " made"]:
    r"""Which samples are farther from their nearest training image than that image is from another one.

    .. math:: \min_{j \neq i} \|t_i - t_j\| < \|s - t_i\|, \quad t_i \text{ the training image nearest to } s

    So a copy is not authentic, nor is a sample as far away as the other image. These are the items behind
    :func:`authenticity`. Samples with the same neighbour depend on each other.

    Args:
        samples: images that the model made.
        train: the images it was trained with.
        chunk: images whose distances are in memory at a time.

    Raises:
        ValueError: fewer than two training images, or images of other shapes or not finite.

    Source: Alaa, van Breugel, Saveliev & van der Schaar 2022, the section on authenticity. The public code
    (ahmedmalaa/evaluating-generative-models, 0939104, metrics/evaluation.py, line 80; synthcity has it, too) takes one
    comparison for each *training* image, and reads the neighbour's distance at the row number of a sample.

    Example:
        >>> authentic(torch.tensor([[-1.0], [5.0]]), torch.tensor([[0.0], [2.0], [9.0]]))
        tensor([False,  True])
    """
    samples, train = comparable(("samples", samples, 1), ("training images", train, 2))
    distance, closest = nearest(samples, train, 1, chunk=chunk)
    anchors, place = closest[:, 0].unique(return_inverse=True)
    own = nearest(train[anchors], train, 1, chunk=chunk, without=anchors)[0]
    return own[place, 0] < distance[:, 0]


def authenticity(samples: Samples, train: Training, *, chunk: int = CHUNK) -> float:
    """The share of samples that are :func:`authentic`. Read it beside :func:`authenticity_null`, not beside 1.

    Arguments, errors and source as for :func:`authentic`.

    Example:
        >>> authenticity(torch.tensor([[-1.0], [5.0]]), torch.tensor([[0.0], [2.0], [9.0]]))
        0.5
    """
    return float(authentic(samples, train, chunk=chunk).double().mean())


def authenticity_null(d: float | int) -> float:
    r"""The expected :func:`authenticity` of fresh images: between a third (in one dimension) and a half (in many).

    .. math:: 1 - \frac{1}{2 - I_{3/4}\left(\frac{d+1}{2}, \frac12\right)}

    Proof: a fresh image is not authentic if it and its nearest training image, at a distance :math:`\rho`, are each
    other's nearest neighbours: if the union of the two balls of radius :math:`\rho` is empty. The balls share two caps
    of height :math:`\rho / 2`, the part :math:`I = I_{3/4}((d+1)/2, 1/2)` of a ball. With :math:`v` the expected number
    of training images in a ball, the probability is :math:`\int_0^\infty e^{-v (2 - I)} dv = 1 / (2 - I)`.

    Where the density changes within a distance, as it does in many dimensions, chance is another: 0.79, not 0.50, for
    normal data in 32 dimensions and 5,000 training images. Held-out images, measured in the same way, say what it is.

    Args:
        d: intrinsic dimension of the data; need not be whole.

    Raises:
        ValueError: a dimension that is not positive.

    Source: the probability of reciprocal neighbours is Clark & Evans 1955's in two dimensions.

    Example:
        >>> [round(authenticity_null(d), 4) for d in (1, 2, 8, 200)]
        [0.3333, 0.3785, 0.4688, 0.5]
    """
    _refuse_dimension(d)
    return float(1 - 1 / (2 - betainc((d + 1) / 2, 0.5, 0.75)))


def nearer_to_training(samples: Samples, train: Training, held_out: HeldOut, *, chunk: int = CHUNK) -> float:
    r"""The share of samples that are nearer to a training image than to any held-out one, ties counting half.

    For a model that did not use the training images, chance is 1/2: which half of all images is called training is
    arbitrary. With :math:`n` and :math:`m` images it would be :math:`n / (n + m)`, so unequal sizes are refused. The
    share scatters more than independent cases, since samples near one image go together: exchange images to test it.

    Args:
        samples: images that the model made.
        train: images that it was trained with.
        held_out: as many of the same distribution that it has not seen.
        chunk: samples whose distances are in memory at a time.

    Raises:
        ValueError: sets of unequal sizes; nothing to compare; or images of other shapes or not finite.

    Source: the share behind "distance to the closest record", Platzer & Reutterer 2021.

    Example:
        >>> nearer_to_training(torch.tensor([[1.0], [5.0]]), torch.tensor([[0.0], [4.0]]), torch.tensor([[3.0], [6.0]]))
        0.75
    """
    sets = ("samples", samples, 1), ("training images", train, 1), ("held-out images", held_out, 1)
    samples, train, held_out = comparable(*sets)
    n, m = len(train), len(held_out)
    if n != m:
        raise ValueError(
            f"as many held-out as training images are needed, got {m} and {n}: with unequal sizes chance is not 1/2 "
            f"but the training images' share of all, here {n / (n + m):.3g}"
        )
    to_train, to_others = (nearest(samples, images, 1, chunk=chunk)[0] for images in (train, held_out))
    return float(1 + torch.sign(to_others - to_train).double().mean()) / 2


def calibrated_distance(
    samples: Samples, train: Training, *, neighbours: int = 50, alpha: float | int = 0.5, chunk: int = CHUNK
) -> PerMade:
    r"""Distance to the nearest training image in units of how far that image is from its own neighbours.

    .. math:: \frac{\|s - t\|}{\alpha \, \frac1n \sum_{y \in S} \|t - y\|}

    ``t`` is the training image nearest to ``s``, and ``S`` are the ``n`` training images nearest to ``t``. Small where
    a sample is much nearer than the images around are to each other, so that a blurred or plain image, near to
    everything, does not count as a copy.

    Args:
        samples: images that the model made.
        train: the images it was trained with.
        neighbours: ``n``; 50 in the paper.
        alpha: a factor; 0.5 in the paper.
        chunk: images whose distances are in memory at a time.

    Raises:
        ValueError: no more training images than neighbours; images of other shapes or not finite; an alpha that is not
            positive; or a training image that equals all its neighbours (counted).

    Source: Carlini et al. 2023, the extraction from CIFAR-10. Its letters allow two readings: ``S`` are the images next
    to the training image (taken here; not the image itself), or those next to the sample, as some public code has it.

    Example:
        >>> calibrated_distance(torch.tensor([[1.0]]), torch.tensor([[0.0], [3.0], [-5.0]]), neighbours=2)
        tensor([0.5000])
    """
    if neighbours < 1 or alpha <= 0:
        raise ValueError(f"neighbours must be at least 1 and alpha positive, got {neighbours} and {alpha}")
    samples, train = comparable(("samples", samples, 1), ("training images", train, neighbours + 1))
    distance, closest = nearest(samples, train, 1, chunk=chunk)
    anchors, place = closest[:, 0].unique(return_inverse=True)
    unit = nearest(train[anchors], train, neighbours, chunk=chunk, without=anchors)[0].mean(1)
    if (unit == 0).any():
        raise ValueError(f"{int((unit == 0).sum())} training images equal all of their {neighbours} neighbours")
    return distance[:, 0] / (alpha * unit[place])


def _refuse_dimension(d: float | int) -> None:
    if not d > 0:
        raise ValueError(f"the dimension must be positive, got {d}")
