r"""Curves in the latent space, given by samples: their chords, their arclength, and where along them an arclength is.

A curve is a tensor ``[batch, points, latent]``. A decoder measures it by what it does to the outputs: all lengths are
sums of chords :math:`\|f(z_{k+1}) - f(z_k)\|` between the images of neighbouring samples, in output units. Chords are
never longer than the curve; the error falls with the square of the distance between samples.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from lib.measures.axes import Along, Curves, Decoder, Latents, PerSample

ROWS = 2048
"""points decoded in one pass"""


def straight(z0: Latents, z1: Latents, n: int) -> Curves:
    """The straight lines between two sets of latents, ``n`` points each, equally spaced in latent space.

    Raises:
        ValueError: the shapes differ, or ``n < 3``.

    Example:
        >>> straight(torch.zeros(1, 2), torch.tensor([[2.0, 4.0]]), 3)
        tensor([[[0., 0.],
                 [1., 2.],
                 [2., 4.]]])
    """
    if z0.shape != z1.shape or z0.ndim != 2:
        raise ValueError(f"both ends must be [batch, latent] of one shape, got {list(z0.shape)} and {list(z1.shape)}")
    return line(z0, z1 - z0, fractions(z0, n))


def line(z: Latents, step: Latents, t: Along) -> Curves:
    """The points ``z + t step`` of straight lines, at any samples ``t`` of each.

    Example:
        >>> line(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]), torch.tensor([[-1.0, 0.5]]))
        tensor([[[ 1., -2.],
                 [ 1.,  1.]]])
    """
    return z[:, None] + t[..., None] * step[:, None]


def fractions(z: Latents, n: int) -> Along:
    """The numbers from zero to one, ``n`` for each latent, equally spaced.

    Raises:
        ValueError: ``n < 3``.

    Example:
        >>> fractions(torch.zeros(1, 2), 5)
        tensor([[0.0000, 0.2500, 0.5000, 0.7500, 1.0000]])
    """
    if n < 3:
        raise ValueError(f"a path needs at least 3 points, got n={n}")
    return torch.linspace(0, 1, n, dtype=z.dtype, device=z.device).expand(len(z), n)


def output_steps(decoder: Decoder, curve: Curves) -> Float[Tensor, "batch pieces pixels"]:
    """The steps :math:`f(z_{k+1}) - f(z_k)` from each sample to the next, which torch can differentiate.

    Example:
        >>> output_steps(torch.square, torch.tensor([[[0.0], [1.0], [2.0]]]))
        tensor([[[1.],
                 [3.]]])
    """
    return decoder(curve.flatten(0, 1)).reshape(*curve.shape[:2], -1).diff(dim=1)


@torch.no_grad()
def chords(decoder: Decoder, curve: Curves) -> Float[Tensor, "batch pieces"]:
    r"""The chords :math:`\|f(z_{k+1}) - f(z_k)\|` of curves, in output units.

    Args:
        decoder: any map from ``[batch, latent]`` to ``[batch, *output]``.
        curve: samples in the order in which the curve is travelled, ``[batch, points, latent]``.

    Example:
        >>> chords(lambda z: 2 * z, torch.tensor([[[0.0, 0.0], [3.0, 4.0], [3.0, 5.0]]]))
        tensor([[10.,  2.]])
    """
    blocks = curve.split(max(1, ROWS // curve.shape[1]))
    return torch.cat([output_steps(decoder, block).square().sum(2).sqrt() for block in blocks])


def curve_length(decoder: Decoder, curve: Curves) -> PerSample:
    r"""Length :math:`\sum_k \|f(z_{k+1}) - f(z_k)\|` of curves, in output units.

    Example:
        >>> curve_length(lambda z: 3 * z, straight(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]), 5))
        tensor([15.])
    """
    return chords(decoder, curve).sum(1)


def arclength(decoder: Decoder, curve: Curves) -> Along:
    r"""Arclength :math:`s_k = \sum_{j < k} \|f(z_{j+1}) - f(z_j)\|` at every sample of curves, with :math:`s_0 = 0`.

    The sum in the procedures of Feiszli 2017 has its index off by one (there :math:`s_1 = 0`, and :math:`s_k` starts
    with the step from :math:`x_1` to :math:`x_2`); this is what they mean.

    Example:
        >>> arclength(lambda z: 3 * z, straight(torch.zeros(1, 2), torch.tensor([[4.0, 3.0]]), 5))
        tensor([[ 0.0000,  3.7500,  7.5000, 11.2500, 15.0000]])
    """
    pieces = chords(decoder, curve)
    return torch.cat([torch.zeros_like(pieces[:, :1]), pieces.cumsum(1)], dim=1)


def interpolate(
    s: Along, values: Float[Tensor, "batch points *quantity"], targets: Float[Tensor, "batch targets"]
) -> Float[Tensor, "batch targets *quantity"]:
    """What a quantity, sampled along curves, is at given arclengths, linearly between samples.

    Args:
        s: arclength at the samples of each curve, never falling.
        values: the quantity at the samples, such as the curve itself.
        targets: arclengths on each curve.

    Example:
        >>> s = torch.tensor([[0.0, 1.0, 5.0]])
        >>> interpolate(s, torch.tensor([[0.0, 10.0, 20.0]]), torch.tensor([[0.5, 3.0]]))
        tensor([[ 5., 15.]])
    """
    right = torch.searchsorted(s.contiguous(), targets.contiguous()).clamp(1, s.shape[1] - 1)
    rows = torch.arange(len(s), device=s.device)[:, None]
    extra = (...,) + (None,) * (values.ndim - 2)
    start, end = s[rows, right - 1], s[rows, right]
    before, after = values[rows, right - 1], values[rows, right]
    return before + (after - before) * (targets - start)[extra] / (end - start)[extra]


def halfway(s: Along) -> Float[Tensor, "batch 1"]:
    """Half the length of each curve, from its arclength.

    Raises:
        ValueError: a curve has no length.

    Example:
        >>> halfway(torch.tensor([[0.0, 1.0, 4.0]]))
        tensor([[2.]])
    """
    flat = s[:, -1] == 0
    if flat.any():
        raise ValueError(f"{int(flat.sum())} of {len(s)} paths have no length: the decoder is constant on them")
    return s[:, -1:] / 2


def middle(decoder: Decoder, curve: Curves) -> Latents:
    """The latent halfway along each curve, straight or bent, *in arclength*.

    Raises:
        ValueError: a curve has no length.

    Example:
        >>> middle(torch.exp, straight(torch.zeros(1, 1), torch.ones(1, 1), 1001))
        tensor([[0.6201]])
        >>> (torch.ones(1).exp() / 2 + 1 / 2).log()
        tensor([0.6201])
    """
    s = arclength(decoder, curve)
    return interpolate(s, curve, halfway(s))[:, 0]
