r"""Random walks in the latent space, with steps as long as the metric says.

A Gaussian walk with covariance :math:`s^2 M(z)^{-1}` moves every image by the same amount per step. In the limit of
small steps, in two dimensions and where :math:`M = m I` with a finite integral of m, its stationary density is
:math:`m = \sqrt{\det M}`: it stays longest where it moves least. The Metropolis walk corrects the same steps for the
target :math:`1 / \sqrt{\det M}`. That is small where the decoder stretches, as in a wall about the data, but large
again where nothing changes. So a wall keeps walkers inside, and a walker that has passed it does not return.

Source: Arvanitidis et al. 2018, section 5; the Metropolis walk is ours.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import trange

from lib.measures.axes import Decoder, Latents, PerSample
from lib.measures.geodesic import metric


class Walk(NamedTuple):
    """Where the walkers were, and how many of their steps were taken."""

    z: Float[Tensor, "times batch latent"]
    """NaN from the step on after which the metric was singular: the walker is lost"""
    accepted: PerSample
    """share of steps that were not refused; one without a target"""


@torch.no_grad()
def walk(
    decoder: Decoder,
    z: Latents,
    steps: int,
    scale: float,
    *,
    metropolis: bool = False,
    every: int = 1,
    rng: torch.Generator | None = None,
) -> Walk:
    r"""Random walks :math:`z' = z + s L^{-T} \epsilon`, with :math:`M(z) = L L^T` and standard normal :math:`\epsilon`.

    With the identity as decoder, the Euclidean walk.

    Args:
        decoder: any map from ``[batch, latent]`` to ``[batch, *output]``.
        z: starts.
        steps: number of steps of each walk.
        scale: ``s``, the length of a step in each output direction, in output units.
        metropolis: accept a step with the probability that makes :math:`1 / \sqrt{\det M}` the stationary density.
        every: number of steps from each record to the next.
        rng: the source of random numbers for the steps.

    Raises:
        ValueError: ``steps``, ``scale`` or ``every`` is not positive.

    Example:
        Nine steps of length 0.4, which the decoder makes four times as long, are a standard deviation of 0.3.

        >>> walkers = walk(lambda z: 4 * z, torch.zeros(1000, 2), 9, 0.4, rng=torch.Generator().manual_seed(0))
        >>> walkers.z.shape, round(float(walkers.z[-1].std()), 1)
        (torch.Size([10, 1000, 2]), 0.3)
    """
    if steps < 1 or every < 1 or not scale > 0:
        raise ValueError(f"steps, every and scale must be positive, got {steps}, {every} and {scale}")
    metrics, factors, usable = _metric(decoder, z)
    z = z.where(usable[:, None], torch.nan)
    records, taken = [z], torch.zeros_like(z[:, 0])
    for step in trange(1, steps + 1, desc="random walk", unit="step"):
        noise = torch.randn(z.shape, generator=rng, device=z.device, dtype=z.dtype)
        move = scale * torch.linalg.solve_triangular(factors.mT, noise[..., None], upper=True)[..., 0]
        others, their_factors, usable = _metric(decoder, z + move)
        if metropolis:  # the determinants of target and proposal cancel
            chance = torch.rand(len(z), generator=rng, device=z.device, dtype=z.dtype)
            longer = torch.einsum("bi,bij,bj->b", move, others - metrics, move)
            usable &= chance.log() < -longer / (2 * scale**2)
        stays = z if metropolis else torch.nan
        z = (z + move).where(usable[:, None], stays)
        metrics = others.where(usable[:, None, None], metrics)
        factors = their_factors.where(usable[:, None, None], factors)
        taken += usable
        if step % every == 0:
            records.append(z)
    return Walk(torch.stack(records), taken / steps)


def _metric(decoder: Decoder, z: Latents) -> tuple[Tensor, Tensor, Bool[Tensor, " batch"]]:
    """The metric, its Cholesky factor, and where there is one; elsewhere both are the identity."""
    known = z.isfinite().all(1)
    metrics = torch.eye(z.shape[1], dtype=z.dtype, device=z.device).repeat(len(z), 1, 1)
    if known.any():
        metrics[known] = metric(decoder, z[known])
    factors, failed = torch.linalg.cholesky_ex(metrics)
    regular = known & (failed == 0)
    return metrics, factors, regular
