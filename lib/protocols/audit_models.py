"""Several models, each trained without some of the images: what training with an image does to its log p.

Models change places at random: each gets the training set of another. If training with an image did not matter to what
a model says of it, each such exchange was equally probable, so p is exact. It can be no smaller than one over the
number of exchanges, which are few where models are few.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.stats import rankdata
from torch import Tensor

from lib.measures.axes import PerSample
from lib.measures.intervals import Estimate, estimate, mean_of_few
from lib.measures.membership import lira
from lib.protocols.audit_results import LEVEL, Control, Finding, Section
from lib.protocols.audit_two_sides import joint

LogP = Float[Tensor, "models images"]
Trained = Bool[Tensor, "models images"]
EXCHANGES = 499
COPYCAT = "models that are far more certain of all that they were trained with"


def measure(log_p: LogP, trained: Trained, *, seed: int) -> Section:
    """The K-fold score and the likelihood-ratio attack.

    Args:
        log_p: log p of every image under every model, nats.
        trained: whether a model was trained with an image.
        seed: of the exchanges.

    Raises:
        ValueError: shapes that differ, numbers that are not finite, or an image that all models or none were trained
            with.
    """
    if log_p.shape != trained.shape:
        raise ValueError(f"log p is {list(log_p.shape)}, and whether it was trained {list(trained.shape)}")
    one_sided = int((trained.all(0) | ~trained.any(0)).sum())
    if one_sided or not log_p.isfinite().all():
        bad = int((~log_p.isfinite()).sum())
        raise ValueError(f"{bad} log p are not finite, and {one_sided} images have models on one side only")
    log_p = log_p.double()
    listed, notes = [_kfold(log_p, trained, seed)], [f"{len(log_p)} models, {log_p.shape[1]:,} images."]
    try:
        listed.append(_lira(log_p, trained, seed))
    except ValueError as error:  # too few models
        notes.append(f"The likelihood-ratio attack was not measured: {error}.")
    return Section("several models", listed, joint(listed), "", notes)


def score(log_p: LogP, trained: Trained) -> PerSample:
    """:func:`lib.measures.memorization.score` of each image for any choice of models that were trained with it.

    Example:
        >>> score(torch.tensor([[-80.0], [-80.0], [-95.0]]), torch.tensor([[True], [True], [False]]))
        tensor([15.])
    """
    sides = (torch.where(of, log_p, -torch.inf).logsumexp(0) - of.sum(0).log() for of in (trained, ~trained))
    return next(sides) - next(sides)


def attacks(log_p: LogP, trained: Trained) -> Float[np.ndarray, " models"]:
    """How well each model's training images are told from others by what the other models say: areas, chance is 1/2."""
    ranks = rankdata(lira(log_p, ~trained, pooled=True, correction=1).numpy(), axis=1)
    inside, of = trained.numpy(), trained.sum(1).numpy()
    known = (of > 0) & (of < len(log_p.T))
    above = np.where(inside, ranks, 0).sum(1) - of * (of + 1) / 2  # Mann & Whitney's statistic
    return (above[known] / (of * (len(log_p.T) - of))[known]).astype(float)


def _kfold(log_p: LogP, trained: Trained, seed: int) -> Finding:
    reads = (
        "The mean memorisation score (van den Burg & Williams 2021, equation 5): log of the mean probability of an "
        "image under models trained with it, minus that under models trained without it. With more models on one side "
        "it is not zero where nothing is memorised; the band has the same numbers of models."
    )

    def mean(log_p: LogP, trained: Trained) -> float:
        return float(score(log_p, trained).mean())

    value = estimate(score(log_p, trained))
    return _tested("K-fold score", value, mean, log_p, trained, reads, "nats", seed)


def _lira(log_p: LogP, trained: Trained, seed: int) -> Finding:
    reads = (
        "The probability that a model's log p accuses one of its training images more than another image (likelihood "
        "ratios of normals fitted to the other models, Carlini et al. 2022); a half is chance. The interval is over "
        "models."
    )

    def mean(log_p: LogP, trained: Trained) -> float:
        return float(attacks(log_p, trained).mean())

    value = mean_of_few(torch.from_numpy(attacks(log_p, trained)))
    return _tested("membership attack", value, mean, log_p, trained, reads, "area under the curve", seed)


def _tested(
    name: str, value: Estimate, statistic: Callable[[LogP, Trained], float], log_p: LogP, trained: Trained, reads: str,
    unit: str, seed: int,
) -> Finding:  # fmt: skip
    """A statistic after exchanges of models, and of models that hide nothing."""
    rng = np.random.default_rng([seed, 19])
    orders = [torch.from_numpy(rng.permutation(len(log_p))) for _ in range(EXCHANGES)]

    def exchanged(log_p: LogP) -> tuple[np.ndarray, float]:
        own = statistic(log_p, trained)
        null = np.array([statistic(log_p, trained[order]) for order in orders])
        return null, float((1 + (null >= own - 1e-9).sum()) / (1 + len(null)))

    null, p = exchanged(log_p)
    low, less, middle, more, high = np.quantile(null, (0.025, 0.05, 0.5, 0.95, 0.975)).tolist()
    copycat = exchanged(log_p + 10 * log_p.std() * trained)[1]
    noticed = more + middle - less if copycat <= LEVEL else None
    return Finding(name, value, (low, high), p, "high", reads, Control({COPYCAT: copycat}, None), unit, noticed=noticed)
