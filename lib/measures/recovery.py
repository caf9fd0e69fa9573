r"""Latent recovery: what a generator can make, found by searching its latent space for each image.

.. math:: z^*(y) = \arg\min_z \| \phi(G(z)) - \phi(y) \|^2

If training images are recovered with smaller errors than new ones, the generator overfits.

Source: Webster, Rabin, Simon & Jurie 2019.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.stats import ks_2samp
from torch import Tensor

from lib.measures.axes import Decoder, Latents, Outputs, PerSample
from lib.measures.intervals import Estimate, difference, share
from lib.measures.minimise import Objective, minimise

ROWS = 1024
"""searches side by side"""


class Recovery(NamedTuple):
    """The best of an image's searches."""

    z: Latents
    error: PerSample
    """mean squared error of the whole image, squared output units; NaN where every search diverged"""
    converged: Bool[Tensor, " batch"]
    """the search ended because nothing changed any more, not because its steps were used up"""


class Overfitting(NamedTuple):
    """How errors of training and of test images differ."""

    gap: float
    """(median test error - median training error) / median test error: positive where training images are easier"""
    ks: float
    """Kolmogorov-Smirnov statistic of the two samples of errors"""
    p_value: float
    detected: bool
    """the paper's rule: gap > 10 % or p < 1 %"""
    interval: Estimate
    """the gap with its 95 % bootstrap interval, and how many errors there were; missing: images that diverged"""


def recover(
    decoder: Decoder,
    y: Outputs,
    *,
    latent: int,
    steps: int = 50,  # Webster et al. 2019, section 3
    restarts: int = 1,
    scale: float = 1.0,
    transform: Callable[[Tensor], Tensor] | None = None,
    rng: torch.Generator | None = None,
    tolerance: float = 1e-9,
    limits: tuple[float, float] | None = None,
) -> Recovery:
    r"""Search the latent of every image by L-BFGS, all images and restarts side by side.

    Each search has its own curvature history, line search and end, as if it were alone; ``steps`` counts iterations.

    Args:
        decoder: any map from ``[batch, latent]`` to ``[batch, *output]``.
        y: the images, in the decoder's output units.
        latent: number of latents.
        steps: the largest number of iterations.
        restarts: number of searches of each image, from different starts; the smallest objective counts.
        scale: standard deviation of the starts, ``scale * N(0, I)``. It can decide the result.
        transform: :math:`\phi`, applied to images before they are compared; by default the identity.
        rng: the source of random numbers for the starts.
        tolerance: relative decrease of the objective in a step, below which a search has converged.
        limits: the range of the decoder's outputs, if it has one; images outside are refused.

    Raises:
        ValueError: a count is below one, or images are not finite, out of range, or not of the decoder's shape.

    Example:
        The nearest point of a line to an image beside it.

        >>> line = lambda z: z * torch.tensor([1.0, 1.0])
        >>> recovery = recover(line, torch.tensor([[3.0, 1.0]]), latent=1)
        >>> recovery.z, recovery.error
        (tensor([[2.]]), tensor([1.]))
    """
    if min(latent, steps, restarts) < 1:
        raise ValueError(f"latent, steps and restarts must be at least 1, got {latent}, {steps} and {restarts}")
    if not y.isfinite().all():
        raise ValueError(f"{int((~y.isfinite().flatten(1).all(1)).sum())} of {len(y)} images are not finite")
    if limits and not ((limits[0] <= y) & (y <= limits[1])).all():
        raise ValueError(f"images must be in [{limits[0]}, {limits[1]}], got [{y.min():.4g}, {y.max():.4g}]")
    starts = scale * torch.randn((restarts, len(y), latent), generator=rng, device=y.device, dtype=y.dtype)
    with torch.no_grad():
        made = decoder(starts[0, :1])
    if made.shape[1:] != y.shape[1:]:
        raise ValueError(f"the decoder makes {list(made.shape[1:])}, the images are {list(y.shape[1:])}")
    phi = transform or (lambda images: images)
    parts = []
    for images, start in zip(y.split(max(1, ROWS // restarts)), starts.split(max(1, ROWS // restarts), 1), strict=True):
        objective = _objective(decoder, phi, images.repeat(restarts, *[1] * (y.ndim - 1)))
        z, loss, converged = minimise(objective, start.flatten(0, 1), steps, tolerance)
        best = loss.view(restarts, -1).argmin(0) * len(images) + torch.arange(len(images), device=y.device)
        with torch.no_grad():
            error = (decoder(z[best]) - images).flatten(1).square().mean(1)
        parts.append((z[best], error.where(loss[best].isfinite(), torch.nan), converged[best]))
    return Recovery(*(torch.cat(column) for column in zip(*parts, strict=True)))


def overfitting(
    train_errors: Float[Tensor, " train"], test_errors: Float[Tensor, " test"], *, seed: int = 0
) -> Overfitting:
    """Compare the recovery errors of training and of test images. NaN is an image that diverged: counted, not used.

    Args:
        train_errors: errors of images that the generator was trained with.
        test_errors: errors of images that it was not trained with.
        seed: seed of the bootstrap.

    Raises:
        ValueError: there are fewer than 8 errors on a side.

    Example:
        >>> result = overfitting(torch.linspace(1, 2, 50), torch.linspace(2, 4, 50))
        >>> result.gap, result.detected
        (0.5, True)
    """
    sides = [errors[~errors.isnan()].double().cpu().numpy() for errors in (train_errors, test_errors)]
    if min(map(len, sides)) < 8:
        raise ValueError(f"at least 8 errors are needed on either side, got {len(sides[0])} and {len(sides[1])}")
    test = ks_2samp(*sides)
    gap = difference(train_errors, test_errors, _gap, seed=seed)
    detected = gap.value > 0.1 or test.pvalue < 0.01
    return Overfitting(gap.value, float(test.statistic), float(test.pvalue), bool(detected), gap)


def false_alarms(
    errors: Float[Tensor, " images"], size: int, *, draws: int = 1000, seed: int = 0
) -> tuple[Estimate, Estimate]:
    """How often each half of the paper's rule detects overfitting where there is none.

    Images of one kind are divided at random into two sides of ``size``, ``draws`` times; what is detected between such
    sides is a false alarm. Divisions of few images overlap, so that the intervals are too short there.

    Args:
        errors: recovery errors of images of one kind; NaN is left out.
        size: number of images on each side.
        draws: number of divisions.
        seed: seed of the divisions.

    Returns:
        The shares of divisions with a gap > 10 % and with a Kolmogorov-Smirnov p < 1 %; exact 95 % intervals.

    Raises:
        ValueError: fewer than 8 images per side, or fewer errors than both sides need.

    Example:
        >>> errors = torch.rand(200, generator=torch.Generator().manual_seed(0))
        >>> by_gap, by_test = false_alarms(errors, 50)
        >>> by_gap.value > 0.1, by_test.value < 0.03
        (True, True)
    """
    known = errors[~errors.isnan()].double().cpu().numpy()
    if not 8 <= size <= len(known) // 2:
        raise ValueError(f"size must be in 8..{len(known) // 2}, half of the errors, got {size}")
    rng = np.random.default_rng(seed)
    sides = np.stack([rng.permutation(known)[: 2 * size].reshape(2, size) for _ in range(draws)])
    gaps = _gap(sides[:, 0], sides[:, 1]) > 0.1
    tests = np.array([ks_2samp(*pair).pvalue for pair in sides]) < 0.01
    return share(int(gaps.sum()), draws), share(int(tests.sum()), draws)


def frechet_distance(a: Float[Tensor, "first features"], b: Float[Tensor, "second features"]) -> float:
    r"""Squared Fréchet distance between the normals fitted to two sets of features.

    .. math:: \|\mu_a - \mu_b\|^2 + \operatorname{tr}(C_a + C_b - 2 (C_a C_b)^{1/2})

    in squared units of the features. Source: Heusel et al. 2017, equation 6.

    Raises:
        ValueError: a set with no more members than features, whose covariance says nothing in some direction.

    Example:
        Means three apart and standard deviations one apart: nine and one.

        >>> a = torch.tensor([[-1.0], [0.0], [1.0]])
        >>> frechet_distance(a, 2 * a + 3)
        10.0
    """
    if min(len(a), len(b)) <= a.shape[1]:
        raise ValueError(
            f"more than {a.shape[1]} of either are needed for {a.shape[1]} features, got {len(a)}, {len(b)}"
        )
    a, b = a.double(), b.double()
    spread, other = (torch.atleast_2d(features.T.cov()) for features in (a, b))
    shared = torch.linalg.eigvals(spread @ other).real.clamp(min=0).sqrt().sum()  # the eigenvalues are not negative
    return float((a.mean(0) - b.mean(0)).square().sum() + spread.trace() + other.trace() - 2 * shared)


def _gap(train: np.ndarray, test: np.ndarray, axis: int = -1) -> np.ndarray | np.floating:
    return 1 - np.median(train, axis) / np.median(test, axis)


def _objective(decoder: Decoder, phi: Callable, images: Tensor) -> Objective:
    targets = phi(images)

    def loss(z: Tensor, rows: Tensor) -> Tensor:
        aims = targets if len(rows) == len(targets) else targets[rows]  # rows are ascending: all of them are in order
        return (phi(decoder(z)) - aims).flatten(1).square().sum(1)

    return loss
