r"""Do the two theorems on the metric of a random decoder hold for a decoder at hand?

A decoder :math:`f(z) = \mu(z) + \sigma(z) \odot \epsilon` with standard normal :math:`\epsilon` has a random metric.
The theorems of Arvanitidis et al. 2018 say what its mean is, and that its relative spread vanishes with many outputs.
Here the noise is drawn.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lib.measures import geodesic
from lib.measures.axes import Decoder, Jacobians, Latents, PerSample
from lib.measures.jacobian import jacobian
from lib.protocols.embeddings import Stream

SUBSETS = 8
"""random choices of pixels, of each number"""
MOST_NOISES = 300
"""draws of the noise for each choice of pixels, at most"""

Randomness = Callable[..., torch.Generator]
"""from what it is for (a stream, and numbers) to a source of random numbers"""


class MeanMetric(NamedTuple):
    """The mean metric over draws of the noise beside the expected metric."""

    draws: list[int]
    """over how many the mean was taken"""
    error: Float[Tensor, "counts points"]
    """norm of the difference over the norm of the expected metric, after each of those numbers of draws"""
    excess: PerSample
    """trace of the mean over all draws, over the trace of the expected metric, less one"""


class Spread(NamedTuple):
    """How the relative spread of the random metric falls with the number of pixels that it is computed from."""

    pixels: list[int]
    relative: Float[Tensor, "counts points"]
    """standard deviation over mean of the trace, averaged over choices of pixels"""
    exponent: PerSample
    """of the number of pixels, by least squares on logarithms"""


class RandomJacobian(NamedTuple):
    r"""The Jacobian :math:`J_\mu + \epsilon J_\sigma` of a random decoder, at some latents."""

    mean: Jacobians
    deviation: Jacobians

    def draw(self, noise: Float[Tensor, "*draws points pixels"]) -> Float[Tensor, "*draws points pixels latent"]:
        """The Jacobians for draws of the noise."""
        return self.mean + noise[..., None] * self.deviation


def random_jacobian(mean: Decoder, deviation: Decoder, z: Latents) -> RandomJacobian:
    """The two Jacobians that the random one is made of."""
    return RandomJacobian(jacobian(mean, z), jacobian(deviation, z))


def mean_metric(mean: Decoder, deviation: Decoder, z: Latents, draws: int, rng: Randomness) -> MeanMetric:
    """Theorem 1: the mean of the random metric over draws of the noise against the formula.

    Args:
        mean: the decoder's mean.
        deviation: its standard deviation, for every output.
        z: latents at which the metric is taken.
        draws: of the noise, each for all latents and outputs.
        rng: makes the source of random numbers for each draw.
    """
    jacobians, expected = random_jacobian(mean, deviation, z), geodesic.metric(geodesic.stacked(mean, deviation), z)
    metrics = []
    for draw in range(draws):
        j = jacobians.draw(_normal(jacobians.mean.shape[:2], z, rng(Stream.NOISE, draw)))
        metrics.append(j.mT @ j)
    metrics = torch.stack(metrics)
    counts = [count for count in (10, 30, 100, 300, 1000, 3000) if count <= draws]
    norm = expected.flatten(1).norm(dim=1)
    error = torch.stack([(metrics[:n].mean(0) - expected).flatten(1).norm(dim=1) / norm for n in counts])
    return MeanMetric(counts, error, (_trace(metrics.mean(0)) / _trace(expected) - 1).cpu())


def formula_error(mean: Decoder, deviation: Decoder, z: Latents, rng: torch.Generator) -> float:
    r"""The largest difference between :math:`J_\mu + \epsilon J_\sigma` and the random decoder's own derivative.

    Args:
        mean: the decoder's mean.
        deviation: its standard deviation, for every output.
        z: latents at which both are taken.
        rng: the source of random numbers for one draw of the noise.
    """
    jacobians = random_jacobian(mean, deviation, z)
    noise = _normal(jacobians.mean.shape[:2], z, rng)

    def direct(point: Tensor, own: Tensor) -> Tensor:
        return jacobian(lambda at: mean(at).flatten(1) + own * deviation(at).flatten(1), point[None])[0]

    differentiated = torch.stack([direct(point, own) for point, own in zip(z, noise, strict=True)])
    return float((differentiated - jacobians.draw(noise)).abs().max())


def relative_spread(mean: Decoder, deviation: Decoder, z: Latents, draws: int, rng: Randomness) -> Spread:
    """Theorem 2: the spread of the random metric's trace, from growing numbers of pixels.

    The pixels are a random choice that is kept for all draws: the noise alone varies.

    Args:
        mean: the decoder's mean.
        deviation: its standard deviation, for every output.
        z: latents at which the metric is taken.
        draws: of the noise, at most 300 are used.
        rng: makes the source of random numbers for each choice and its noise.
    """
    jacobians = random_jacobian(mean, deviation, z)
    total, draws = jacobians.mean.shape[1], min(draws, MOST_NOISES)
    counts = [*(count for count in (8, 16, 32, 64, 128, 256, 512) if count < total), total]
    relative = []
    for count in counts:
        spreads = []
        for subset in range(SUBSETS if count < total else 1):
            use = torch.randperm(total, generator=rng(Stream.PIXELS, subset), device=z.device)[:count]
            noise = _normal((draws, len(z), count), z, rng(Stream.PIXEL_NOISE, count, subset))
            part = RandomJacobian(jacobians.mean[:, use], jacobians.deviation[:, use])
            trace = part.draw(noise).square().sum((2, 3))
            spreads.append(trace.std(0) / trace.mean(0))
        relative.append(torch.stack(spreads).mean(0))
    relative = torch.stack(relative)
    return Spread(counts, relative, _slope(torch.tensor(counts, dtype=torch.float64).log(), relative.log().cpu()))


def _slope(x: Tensor, y: Float[Tensor, "counts points"]) -> PerSample:
    centred = x - x.mean()
    return (centred.to(y) @ (y - y.mean(0))) / centred.square().sum()


def _trace(matrices: Tensor) -> PerSample:
    return matrices.diagonal(dim1=1, dim2=2).sum(1)


def _normal(shape: tuple[int, ...], like: Tensor, rng: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=rng, device=like.device, dtype=like.dtype)
