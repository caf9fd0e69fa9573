r"""The K-fold memorisation score, its null, and the nearest-neighbour ratio.

A repeat divides the images into K folds and trains K models, each without one fold. So in every repeat an image has
K - 1 models that were trained with it and one that was not; over L repeats,

.. math:: M_i = \log \frac{1}{(K-1)L} \sum_{\text{with } i} p(x_i) - \log \frac1L \sum_{\text{without } i} p(x_i) .

The logarithm of a mean grows with the number of models averaged, because the largest term dominates. The first mean is
over more models than the second, so the score is positive even where nothing is memorised. Three functions say by how
much: :func:`balanced_score`, :func:`null_split` and :func:`gaussian_null`.

Source: van den Burg & Williams 2021, equation 5.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lib.measures.axes import PerSample
from lib.measures.nearest import nearest

Runs = Float[Tensor, "runs n"]
"""log p(x) in nats: a row for each model, a column for each image"""
OtherRuns = Float[Tensor, "other n"]
PerImage = Float[Tensor, " n"]
Repeats = Float[Tensor, "repeats folds n"]
Folds = Int64[Tensor, "repeats n"]


def score(log_p_in: Runs, log_p_out: OtherRuns) -> PerImage:
    """The memorisation score: logmeanexp over models with the image minus logmeanexp over models without it, in nats.

    Args:
        log_p_in: log p(x) under models trained with the image.
        log_p_out: the same under models trained without it.

    Raises:
        ValueError: one side has no model, or a number is not finite (counted).

    Example:
        >>> score(torch.tensor([[-80.0], [-80.0], [-80.0]]), torch.tensor([[-95.0]]))
        tensor([15.])
    """
    return _logmeanexp(log_p_in, "with") - _logmeanexp(log_p_out, "without")


def balanced_score(log_p_in: Runs, log_p_out: OtherRuns) -> PerImage:
    """The score with as many models on either side: its mean is zero if the image does not matter.

    The models with the image are taken in consecutive groups of as many as there are without it (as :func:`split`
    orders them, each group has one model of every repeat), and the scores of the groups are averaged. Models left over
    at the end are not used.

    Raises:
        ValueError: as :func:`score`; or fewer models with the image than without it.

    Example:
        >>> balanced_score(torch.tensor([[-80.0], [-82.0], [-84.0]]), torch.tensor([[-95.0]]))
        tensor([13.])
    """
    size = len(log_p_out)
    if not 0 < size <= len(log_p_in):
        raise ValueError(f"a balanced score needs 1..{len(log_p_in)} models without the image, got {size}")
    groups = [group for group in log_p_in.split(size) if len(group) == size]
    return torch.stack([score(group, log_p_out) for group in groups]).mean(0)


def split(log_p: Repeats, held_out: Folds) -> tuple[Runs, OtherRuns]:
    """The models with and without each image, ``[(folds - 1) repeats, n]`` and ``[repeats, n]``.

    Row ``g repeats + l`` of the first is the model of repeat ``l`` that left out fold ``g + 1`` after the image's own.

    Args:
        log_p: log p(x) of every image under every model.
        held_out: which fold each image is in, and so which model of a repeat is without it.

    Raises:
        ValueError: fewer than two folds.

    Example:
        One repeat of three folds: the first image is held out of model 2, the second of model 0.

        >>> log_p = torch.tensor([[[-1.0, -10.0], [-2.0, -20.0], [-3.0, -30.0]]])
        >>> split(log_p, torch.tensor([[2, 0]]))
        (tensor([[ -1., -20.],
                [ -2., -30.]]), tensor([[ -3., -10.]]))
    """
    repeats, folds, n = log_p.shape
    if folds < 2:
        raise ValueError(f"at least 2 folds are needed, got {folds}")
    order = (held_out[:, None, :] + torch.arange(folds, device=held_out.device)[:, None]) % folds
    turned = log_p.gather(1, order)  # now the first fold of each image is its own
    return turned[:, 1:].transpose(0, 1).reshape((folds - 1) * repeats, n), turned[:, 0]


def null_split(
    log_p_in: Runs, out: int, *, rng: torch.Generator
) -> tuple[Float[Tensor, "null_in n"], Float[Tensor, "null_out n"]]:
    """A division of the models trained *with* an image, ``out`` of which are relabelled as trained without it.

    All of these models have seen the image, so a score of the two parts measures no memorisation: it is the null. For
    every image and repeat one model is relabelled at random, independently of the other images. Models that were really
    trained without the image take no part, because they would bring memorisation into the null. The null does not show
    how memorising an image changes the spread of log p(x) among the models that have seen it.

    Args:
        log_p_in: log p(x) under models trained with the image, ``[groups out, n]``, in the order that :func:`split`
            gives: ``out`` repeats in each group.
        out: number of models to relabel, which is the number of repeats.
        rng: the source of random numbers for the choice.

    Raises:
        ValueError: fewer than two whole groups, so that no model would be left on the other side (K < 3).

    Example:
        >>> log_p_in = torch.tensor([[-1.0], [-2.0], [-3.0]])
        >>> kept, relabelled = null_split(log_p_in, 1, rng=torch.Generator().manual_seed(0))
        >>> len(kept), len(relabelled)
        (2, 1)
    """
    groups, rest = divmod(len(log_p_in), max(out, 1))
    if out < 1 or rest or groups < 2:
        raise ValueError(
            f"the null needs 2 or more groups of out models with the image, got {len(log_p_in)} and {out=}"
        )
    held_out = torch.randint(groups, (out, log_p_in.shape[1]), generator=rng, device=rng.device).to(log_p_in.device)
    return split(log_p_in.view(groups, out, -1).transpose(0, 1), held_out)


class Scores(NamedTuple):
    """The published score, and what it has to be read against; nats, one number per image."""

    score: PerImage
    balanced: PerImage
    """with as many models on either side"""
    matched: PerImage
    """the score with as many models on either side as in the null, from which it differs only in who is left out"""
    null: PerImage
    """the score where models that were trained with the image are relabelled as trained without it"""
    balanced_matched: PerImage
    balanced_null: PerImage


def scores(log_p: Repeats, held_out: Folds, *, rng: torch.Generator) -> Scores:
    """The score and the balanced score, and both beside their null with the same numbers of models: (K - 2) L and L.

    For a division into at least three folds; with three, the null has equal sides and so no bias to show.

    Args:
        log_p: log p(x) of every image under every model.
        held_out: which fold each image is in.
        rng: the source of random numbers for the null.

    Example:
        Two repeats of three folds, in which the model without an image gives it 5 nats less.

        >>> held_out = torch.tensor([[0, 1, 2], [2, 1, 0]])
        >>> log_p = -5.0 * (torch.arange(3)[:, None] == held_out[:, None])
        >>> result = scores(log_p, held_out, rng=torch.Generator())
        >>> result.score, result.null
        (tensor([5., 5., 5.]), tensor([0., 0., 0.]))
    """
    log_p_in, log_p_out = split(log_p, held_out)
    kept, played = null_split(log_p_in, len(held_out), rng=rng)
    sides = ((log_p_in, log_p_out), (kept, log_p_out), (kept, played))
    (full, balanced), (matched, balanced_matched), (null, balanced_null) = (
        (score(*pair), balanced_score(*pair)) for pair in sides
    )
    return Scores(full, balanced, matched, null, balanced_matched, balanced_null)


def gaussian_null(spread: float, models_in: int, models_out: int, draws: int, *, rng: torch.Generator) -> PerSample:
    r"""Scores of images that no model memorised, where models differ by :math:`\log p \sim N(\mu, \tau^2)`, in nats.

    Args:
        spread: ``tau``, the standard deviation of log p(x) between models, nats.
        models_in: number of models trained with an image; 90 in the paper.
        models_out: number of models trained without it; 10 in the paper.
        draws: number of images to simulate.
        rng: the source of random numbers for log p(x).

    Example:
        The score's bias for models that differ by 5 nats, 90 of them with an image and 10 without.

        >>> null = gaussian_null(5.0, 90, 10, 10_000, rng=torch.Generator().manual_seed(0))
        >>> f"{null.mean():.1f}"
        '2.7'
    """
    shape = (models_in + models_out, draws)
    log_p = spread * torch.randn(shape, generator=rng, device=rng.device)
    return score(log_p[:models_in], log_p[models_in:])


def nearest_neighbour_ratio(
    x: Float[Tensor, "batch *image"], validation: Float[Tensor, "others *image"], samples: Float[Tensor, "made *image"]
) -> PerSample:
    r"""How much nearer the model's samples come to an image than other images do.

    .. math:: \rho_i = \min_j \|x_i - v_j\| \big/ \min_j \|x_i - s_j\| .

    Args:
        x: training images.
        validation: images that the model was not trained with. There must be as many as samples, because a minimum over
            more images is smaller.
        samples: images that the model made.

    Raises:
        ValueError: nothing to compare with, or a sample that equals an image (counted).

    Source: van den Burg & Williams 2021, equation 6.

    Example:
        >>> x, validation, samples = torch.tensor([[[0.0]], [[3.0]], [[1.5]]])
        >>> nearest_neighbour_ratio(x, validation, samples)
        tensor([2.])
    """
    if not len(validation) or not len(samples):
        raise ValueError(f"nothing to compare with: {len(validation)} validation images and {len(samples)} samples")
    rows = x.flatten(1)
    to_validation, to_samples = (nearest(rows, other.flatten(1), 1)[0][:, 0] for other in (validation, samples))
    equal = to_samples == 0
    if equal.any():
        raise ValueError(f"{int(equal.sum())} of {len(x)} images equal a sample, so their ratio is infinite")
    return to_validation / to_samples


def _logmeanexp(log_p: Tensor, side: str) -> Tensor:
    if not len(log_p):
        raise ValueError(f"no model {side} the image: at least one is needed on either side")
    bad = ~log_p.isfinite()
    if bad.any():
        raise ValueError(
            f"log p(x) is NaN or infinite in {int(bad.sum())} of {bad.numel()} numbers of models {side} the image "
            f"({int(bad.any(0).sum())} images)"
        )
    return log_p.logsumexp(0) - math.log(len(log_p))
