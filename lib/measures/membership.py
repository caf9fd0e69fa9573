r"""Was an item in the training set? Attacks from what models say of it, and what they are worth.

Where many models were trained, each without some of the items, an item has two columns of log p: of the models that saw
it and of those that did not. Three functions of the same two columns are in use: the difference of the logarithms of
the mean likelihoods (:func:`lib.measures.memorization.score`, van den Burg & Williams 2021), the difference of the
means (:func:`difference_of_means`), and, for one more model, which of the two columns its log p fits (:func:`lira`).
The first two say what an item does to models, the third what a model gives away of an item. :func:`roc` says how well
members are told from others.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lib.measures.intervals import Estimate, share

LogP = Float[Tensor, "models n"]
"""log p(x) in nats: a row for each model, a column for each item"""
HeldOut = Bool[Tensor, "models n"]
"""whether a model was trained without an item"""
PerItem = Float[Tensor, " n"]


def difference_of_means(log_p: LogP, held_out: HeldOut) -> PerItem:
    r"""Mean log p of an item under models trained with it minus that under models trained without it, in nats.

    .. math:: \bar\ell_{\text{in}} - \bar\ell_{\text{out}}

    Unlike the difference of the logarithms of mean likelihoods, its mean is zero for an item that does not matter,
    whatever the numbers of models.

    Args:
        log_p: log p of every item under every model.
        held_out: whether the model was trained without the item.

    Raises:
        ValueError: a number that is not finite, or an item without a model on one side (counted).

    Source: Feldman & Zhang 2020, the memorisation value, with log p in place of the probability of the
    right label; "counterfactual memorisation" in Zhang et al. 2023.

    Example:
        >>> log_p = torch.tensor([[-80.0], [-82.0], [-95.0]])
        >>> difference_of_means(log_p, torch.tensor([[False], [False], [True]]))
        tensor([14.])
    """
    _refuse(log_p, held_out)
    return _moments(log_p, ~held_out, "with", 1)[0] - _moments(log_p, held_out, "without", 1)[0]


def lira(log_p: LogP, held_out: HeldOut, *, pooled: bool = False, correction: int = 0) -> LogP:
    r"""The likelihood-ratio attack: how much better the item's log p fits models with the item than models without it.

    .. math:: \log N(\ell; \mu_\text{in}, \sigma_\text{in}^2) - \log N(\ell; \mu_\text{out}, \sigma_\text{out}^2)

    Every model is the target in turn, and the normals are fitted to the *other* models. Positive: the target rather was
    trained with the item, in nats. Memory is a few times that of ``log_p``.

    Args:
        log_p: log p of every item under every model. held_out: whether the model was trained without the item. pooled:
        one variance within items on either side, for a few models: each item then has its own means only. correction:
        what is taken off the number of models in a variance: 0 as ``numpy.std`` in the public code, 1 for an
            estimate without bias.

    Raises:
        ValueError: a number that is not finite; an item with fewer than two other models on a side, or one if pooled
            (counted); or a variance of zero.

    Source: Carlini et al. 2022, algorithm 1, with log p in place of the logit of the confidence. The public code
    (tensorflow/privacy, 03035d5, research/mi_lira_2021/plot.py, lines 82-90) differs: its means are medians, and its
    fixed variance is that of all numbers of the models *with* an item, between items as well, on both sides.

    Example:
        Models with the item give it about -80, those without about -90; the last model is with it.

        >>> log_p = torch.tensor([-91.0, -89.0, -91.0, -89.0, -81.0, -79.0, -80.0])[:, None]
        >>> lira(log_p, log_p < -85)[-1]
        tensor([50.])
    """
    _refuse(log_p, held_out)
    scores = []
    for target, others, out in _in_turn(log_p, held_out):
        sides = ((~out, "with"), (out, "without"))
        within, without = (_normal(others, chosen, name, pooled, correction) for chosen, name in sides)
        scores.append(_log_normal(target, *within) - _log_normal(target, *without))
    return torch.stack(scores)


def lira_offline(log_p: LogP, held_out: HeldOut, *, pooled: bool = False, correction: int = 0) -> LogP:
    r"""The attack without models that saw the item: how far log p exceeds that of other models without it.

    .. math:: z = (\ell - \mu_{\text{out}}) / \sigma_{\text{out}}

    in standard deviations. The paper's :math:`\Lambda = 1 - P(Z > \ell) = \Phi(z)` has the same order, and beyond 8
    standard deviations only one value. Arguments and errors as for :func:`lira`, but no model with the item is needed.

    Source: Carlini et al. 2022, the offline attack. The public code (tensorflow/privacy, 03035d5,
    research/mi_lira_2021/plot.py, line 132) takes the density of the normal, which is small on both sides: a log p far
    below the mean as well.

    Example:
        >>> log_p = torch.tensor([-91.0, -89.0, -91.0, -89.0, -80.0])[:, None]
        >>> lira_offline(log_p, log_p < -85)[-1]
        tensor([10.])
    """
    _refuse(log_p, held_out)
    scores = []
    for target, others, out in _in_turn(log_p, held_out):
        mean, deviation = _normal(others, out, "without", pooled, correction)
        scores.append((target - mean) / deviation)
    return torch.stack(scores)


def calibrated_error(error: PerItem, reference: PerItem) -> PerItem:
    r"""The recovery error of an item minus that of a reference model, in the errors' units: *small* for members.

    .. math:: L_{\text{cal}} = L(x, G) - L(x, G_{\text{ref}})

    The reference, trained on other items of the same distribution, says how hard the item is. Its negative is a score
    for :func:`roc`. An error that is NaN, that of a search that diverged, stays NaN.

    Args:
        error: the error of the model in question.
        reference: that of the reference model, for the same items.

    Raises:
        ValueError: not as many errors on either side, or errors that are negative or infinite (counted).

    Source: Chen, Yu, Zhang & Fritz 2020 (GAN-Leaks), "attack calibration".

    Example:
        >>> calibrated_error(torch.tensor([0.5, 1.5]), torch.tensor([1.0, 1.0]))
        tensor([-0.5000,  0.5000])
    """
    if error.shape != reference.shape:
        raise ValueError(f"an error of either model is needed for each item, got {len(error)} and {len(reference)}")
    bad = int(sum(((errors < 0) | errors.isinf()).sum() for errors in (error, reference)))
    if bad:
        raise ValueError(f"{bad} of {2 * len(error)} errors are negative or infinite")
    return error - reference


class Roc(NamedTuple):
    """True over false positives, from the strictest threshold to the one that accuses all."""

    auc: float
    """probability that a member's score is larger than another item's, ties counting half; chance is 1/2"""
    tpr: Float[Tensor, " thresholds"]
    """share of members whose score reaches the threshold"""
    fpr: Float[Tensor, " thresholds"]
    """share of others whose score does"""
    threshold: Float[Tensor, " thresholds"]
    """every score once, from the largest, after infinity"""
    members: int
    others: int

    def tpr_at(self, level: float) -> Estimate:
        """The largest true-positive rate at a false-positive rate of at most ``level``, with its exact interval.

        The interval (95 %, Clopper & Pearson) is over members, the threshold taken as given. Chance is ``level``.

        Raises:
            ValueError: a level outside (0, 1), or one at which fewer than two of the others are expected above the
                threshold, so that one item decides: at 1 %, fewer than 200.
        """
        if not 0 < level < 1:
            raise ValueError(f"the false-positive rate must be in (0, 1), got {level}")
        if level < 2 / self.others:
            raise ValueError(
                f"a false-positive rate of {level:g} needs at least {math.ceil(2 / level)} items that are no members, "
                f"two of them above the threshold; got {self.others}, which resolve {2 / self.others:.3g}"
            )
        best = self.tpr[self.fpr <= level][-1]
        return share(round(float(best) * self.members), self.members)


def roc(members: Float[Tensor, " members"], others: Float[Tensor, " others"]) -> Roc:
    """The curve of true over false positives of a score that is larger for members.

    Args:
        members: scores of items that the model was trained with.
        others: scores of items of the same distribution that it was not trained with.

    Raises:
        ValueError: no scores on a side, or scores that are not finite (counted).

    Source: Carlini et al. 2022, for the true-positive rate at a low false-positive rate.

    Example:
        >>> curve = roc(torch.tensor([3.0, 2.0]), torch.tensor([2.0, 1.0]))
        >>> curve.auc, curve.tpr, curve.fpr
        (0.875, tensor([0.0000, 0.5000, 1.0000, 1.0000]), tensor([0.0000, 0.0000, 0.5000, 1.0000]))
    """
    for name, scores in (("members", members), ("others", others)):
        if not len(scores) or not scores.isfinite().all():
            raise ValueError(f"{int((~scores.isfinite()).sum())} of {len(scores)} scores of {name} are not finite")
    values, order = torch.cat([members, others]).sort(descending=True)
    last = torch.cat([values[1:] != values[:-1], values.new_ones(1, dtype=torch.bool)])  # of a score that occurs twice
    positive = order < len(members)
    tpr, fpr = (
        torch.cat([values.new_zeros(1), side.cumsum(0)[last].to(values) / side.sum()]) for side in (positive, ~positive)
    )
    threshold = torch.cat([values.new_full((1,), torch.inf), values[last]])
    return Roc(float(torch.trapezoid(tpr, fpr)), tpr, fpr, threshold, len(members), len(others))


def _refuse(log_p: Tensor, held_out: Tensor) -> None:
    if log_p.shape != held_out.shape:
        raise ValueError(
            f"log p and the mask must both be [models, n], got {list(log_p.shape)}, {list(held_out.shape)}"
        )
    bad = ~log_p.isfinite()
    if bad.any():
        raise ValueError(f"log p is NaN or infinite in {int(bad.sum())} of {bad.numel()} numbers")


def _in_turn(log_p: Tensor, held_out: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Every model's log p, that of the others, and which of these are without the item."""
    for model in range(len(log_p)):
        others = torch.arange(len(log_p), device=log_p.device) != model
        yield log_p[model], log_p[others], held_out[others]


def _moments(log_p: Tensor, chosen: Tensor, side: str, least: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean of the chosen models, sum of squares about it, and their number, for each item."""
    count = chosen.sum(0)
    few = count < least
    if few.any():
        raise ValueError(
            f"{int(few.sum())} of {len(count)} items have fewer than {least} (other) models {side} the item"
        )
    mean = torch.where(chosen, log_p, 0).sum(0) / count
    return mean, torch.where(chosen, log_p - mean, 0).square().sum(0), count


def _normal(log_p: Tensor, chosen: Tensor, side: str, pooled: bool, correction: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the chosen models, for each item."""
    mean, squares, count = _moments(log_p, chosen, side, 1 if pooled else max(2, correction + 1))
    if pooled:
        squares, count = squares.sum(), (count - correction).sum() + correction
    variance = squares / (count - correction)
    none = ~(variance > 0)
    if none.any():
        raise ValueError(
            f"models {side} the item do not differ at all in {int(none.sum())} of {none.numel()} variances"
        )
    return mean, variance.sqrt()


def _log_normal(value: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Logarithm of the normal density, but for its constant."""
    return -((value - mean) / deviation).square() / 2 - deviation.log()
