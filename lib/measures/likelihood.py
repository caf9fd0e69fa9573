r"""The evidence of a latent-variable model, by importance sampling from its encoder.

For a prior :math:`p(z) = N(0, I)`, a decoder :math:`p(x | z)` and an encoder :math:`q(z | x)`,

.. math:: \log p(x) \approx \log \frac1n \sum_{l=1}^n w_l , \qquad
          w_l = \frac{p(x | z_l)\, p(z_l)}{q(z_l | x)} , \quad z_l \sim q(z | x).

The logarithm makes it biased downwards, the less so the more equal the weights are. How equal they are is said by the
effective sample size :math:`(\sum w)^2 / \sum w^2`, which comes with every estimate.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from lib.measures.axes import Outputs, PerSample
from lib.measures.density import log_prior

ROWS = 1024
"""latents decoded in one pass: enough for matrix products to be efficient, few enough to stay in the caches"""

REFINED = 128
"""largest cells of an image's quadrature, which are refined"""


class Evidence(NamedTuple):
    """An estimate of log p(x) and how far to trust it."""

    log_p: PerSample
    """nats"""
    ess: PerSample
    """effective sample size, between 1 and the number of samples; near 1, a single sample dominates"""


@torch.no_grad()
def log_evidence(
    encode: Callable[[Tensor], Distribution],
    decode: Callable[[Tensor], Distribution],
    x: Outputs,
    n: int,
    *,
    generator: torch.Generator | None = None,
) -> Evidence:
    r"""Importance-sampled :math:`\log p(x)` in nats, of each image, with its effective sample size.

    Everything stays in log space, and samples are streamed: memory does not grow with ``n``. With the true posterior
    as encoder all weights are equal, and the estimate is exact for any ``n``.

    Args:
        encode: from ``[batch, *image]`` to :math:`q(z | x)` over ``[batch, latent]``.
        decode: from ``[batch, latent]`` to :math:`p(x | z)` over ``[batch, *image]``, one log probability per image.
        x: images, as the model observes them.
        n: number of samples. The paper takes 256 (MNIST) or 128.
        generator: the source of random numbers for the samples of a (multivariate) normal encoder; by default torch's
            own.

    Raises:
        ValueError: there are no samples, or a distribution is not over a latent or an image.
        TypeError: a generator is given together with an encoder of another family.
        FloatingPointError: an estimate is not finite; the message counts the images.

    Source: van den Burg & Williams 2021, equation 9.

    Example:
        For x = z + noise the exact posterior is N(x / 2, 1 / 2); with it, the estimate is exact.

        >>> encode = lambda x: Independent(Normal(x / 2, 0.5**0.5), 1)
        >>> decode = lambda z: Independent(Normal(z, 1.0), 1)
        >>> x = torch.tensor([[0.3]])
        >>> log_evidence(encode, decode, x, 4).log_p, Normal(0.0, 2**0.5).log_prob(x[:, 0])
        (tensor([-1.2880]), tensor([-1.2880]))
    """
    if n < 1:
        raise ValueError(f"n must be at least 1 sample, got {n}")
    blocks = [_block(encode, decode, block, n, generator) for block in x.split(ROWS)]
    log_p, ess = (torch.cat(parts) for parts in zip(*blocks, strict=True))
    bad = ~log_p.isfinite()
    if bad.any():
        raise FloatingPointError(f"log p(x) is NaN or infinite for {int(bad.sum())} of {len(x)} images")
    return Evidence(log_p, ess)


def _block(encode: Callable, decode: Callable, x: Tensor, n: int, generator: torch.Generator | None) -> list[Tensor]:
    posterior = encode(x)
    if len(posterior.batch_shape) != 1:
        raise ValueError(
            f"encode must give one distribution per image, got batches of {list(posterior.batch_shape)}; "
            "wrap it in torch.distributions.Independent"
        )
    total, squared = x.new_full((2, len(x)), -math.inf)  # log of the sums of the weights and of their squares
    at_once = max(1, ROWS // len(x))
    repeated = x.expand(at_once, *x.shape).flatten(0, 1)
    for done in range(0, n, at_once):
        count = min(at_once, n - done)
        z = _draw(posterior, count, generator)
        rows = z.flatten(0, 1)
        log_likelihood = decode(rows).log_prob(repeated[: len(rows)])
        if log_likelihood.shape != rows.shape[:1]:
            raise ValueError(
                f"decode must give one log probability per image, got {list(log_likelihood.shape)} for {len(rows)} "
                "latents; wrap it in torch.distributions.Independent"
            )
        log_w = (log_likelihood + log_prior(rows)).view(count, len(x)) - posterior.log_prob(z)
        total = torch.logaddexp(total, log_w.logsumexp(0))
        squared = torch.logaddexp(squared, (2 * log_w).logsumexp(0))
    return [total - math.log(n), (2 * total - squared).exp()]


def _draw(
    posterior: Distribution, count: int, generator: torch.Generator | None
) -> Float[Tensor, "count batch latent"]:
    """Samples of the posterior. Distributions know no generator, so its noise is shaped here."""
    if generator is None:
        return posterior.sample((count,))
    base = posterior.base_dist if isinstance(posterior, Independent) else posterior
    if not isinstance(base, Normal | MultivariateNormal):
        raise TypeError(f"a generator needs a Normal or MultivariateNormal encoder, got {type(base).__name__}")
    noise = torch.randn((count, *base.mean.shape), generator=generator, device=base.mean.device, dtype=base.mean.dtype)
    if isinstance(base, Normal):
        return base.mean + base.stddev * noise
    return base.mean + (base.scale_tril @ noise[..., None])[..., 0]


class Quadrature(NamedTuple):
    """An evidence by quadrature and how far to trust it."""

    log_p: PerSample
    """nats"""
    change: PerSample
    """nats by which the last refinement changed it"""


@torch.no_grad()
def log_evidence_quadrature(
    decode: Callable[[Tensor], Distribution], x: Outputs, *, reach: float = 4.5, side: int = 64, refinements: int = 4
) -> Quadrature:
    r"""The evidence :math:`\log \int p(x | z) p(z)\, dz` of a model with two latents, by the midpoint rule.

    A grid of ``side`` x ``side`` cells covers the prior; for each image, the largest cells are halved in both
    directions, again and again. No encoder is needed. The other cells stay coarse, which costs some thousandths of a
    nat. A likelihood much narrower than a cell of the first grid may be missed: a finer first grid then gives another
    value.

    Args:
        decode: from ``[batch, 2]`` to :math:`p(x | z)`, one log probability per image.
        x: images, as the model observes them.
        reach: half the side of the square, in standard deviations of the prior.
        side: number of cells of the first grid in either direction.
        refinements: how often cells are halved.

    Raises:
        ValueError: there is no refinement, so that nothing would be known about the error.

    Example:
        >>> decode = lambda z: Independent(Normal(z, 1.0), 1)
        >>> x = torch.tensor([[0.3, -1.0]])
        >>> log_evidence_quadrature(decode, x).log_p, Normal(0.0, 2**0.5).log_prob(x).sum(1)
        (tensor([-2.8045]), tensor([-2.8035]))
    """
    if refinements < 1:
        raise ValueError(f"refinements must be at least 1, got {refinements}")
    width = 2 * reach / side
    middle = torch.linspace(-reach + width / 2, reach - width / 2, side, dtype=x.dtype, device=x.device)
    grid = torch.cartesian_prod(middle, middle)
    parts = [_refined(decode, part, grid, width, refinements) for part in x.split(64)]
    log_p, before = torch.cat(parts, 1)
    return Quadrature(log_p, (log_p - before).abs())


def _refined(decode: Callable, x: Tensor, z: Tensor, width: float, refinements: int) -> Float[Tensor, "2 batch"]:
    """The evidence of images after the last refinement, and before it."""
    quarters = torch.cartesian_prod(*[torch.tensor([-0.25, 0.25], dtype=z.dtype, device=z.device)] * 2)
    likely = torch.cat([decode(part).log_prob(x[:, None]) for part in z.split(ROWS // 8)], 1)
    log_joint, z = likely + log_prior(z), z.expand(len(x), -1, -1)
    passed, now = x.new_full((len(x),), -math.inf), log_joint.logsumexp(1) + 2 * math.log(width)
    for _ in range(refinements):
        order = log_joint.argsort(1, descending=True)
        large, small = order[:, :REFINED], order[:, REFINED:]
        passed = torch.logaddexp(passed, log_joint.gather(1, small).logsumexp(1) + 2 * math.log(width))
        z = z.gather(1, large[..., None].expand(-1, -1, 2))[:, :, None] + width * quarters
        z, width = z.flatten(1, 2), width / 2
        rows = z.flatten(0, 1)
        images = x.repeat_interleave(z.shape[1], 0)
        parts = zip(rows.split(ROWS), images.split(ROWS), strict=True)
        likely = torch.cat([decode(part).log_prob(image) for part, image in parts])
        log_joint = (likely + log_prior(rows)).view(z.shape[:2])
        before, now = now, torch.logaddexp(passed, log_joint.logsumexp(1) + 2 * math.log(width))
    return torch.stack([now, before])
