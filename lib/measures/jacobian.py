"""The Jacobian of a decoder, its singular values and singular vectors."""

import threading
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jacfwd, vmap

from lib.measures.axes import Decoder, Jacobians, Latents, SingularValues

BUDGET = 3 * 2**20
"""Bytes of Jacobian in one chunk. A decoder's hidden layers multiply this by ten or so, and on a CPU the chunk is
fastest while it stays in the cache (eight points of 100 latents and 784 pixels: within 1.2 of the floor; 64: 1.6)."""

FORWARD_MODE = threading.Lock()
"""Held while torch differentiates forward: its levels belong to the process, so only one thread may at a time."""


class SingularSystem(NamedTuple):
    """What a decoder does to a small ball of latents about each point."""

    values: SingularValues
    """singular values, descending, in output units per latent unit"""
    vectors: Float[Tensor, "batch latent latent"]
    """``vectors[:, k]`` is the unit latent direction of singular value ``k``"""


@torch.no_grad()
def jacobian(decoder: Decoder, z: Latents, *, chunk: int | None = None) -> Jacobians:
    r"""Exact Jacobian :math:`J_{bpl} = \partial f_p(z_b) / \partial z_l`, by forward-mode differentiation.

    One pass of the decoder per latent, all points and latents of a chunk side by side; no graph is kept.

    Args:
        decoder: any map from ``[batch, latent]`` to ``[batch, *output]``; outputs are flattened to ``pixels``.
        z: latents. The result has their device, and the decoder's dtype.
        chunk: points differentiated at a time; by default as many as fit a small memory budget.

    Raises:
        ValueError: ``z`` is not a matrix, ``chunk`` is below one, or the Jacobian is not finite at some point.

    Example:
        >>> jacobian(torch.sin, torch.zeros(1, 2))
        tensor([[[1., 0.],
                 [0., 1.]]])
    """
    return _over_chunks(lambda part: (_jacobian(decoder, part),), decoder, z, chunk)[0]


@torch.no_grad()
def singular_values(decoder: Decoder, z: Latents, *, chunk: int | None = None) -> SingularValues:
    r"""Singular values :math:`\sigma_1 \ge \sigma_2 \ge \dots` of the Jacobian, in output units per latent unit.

    There are ``min(pixels, latent)`` of them. Chunks are reduced one by one, so the Jacobians of all points never stand
    in memory together. Feiszli 2017, section 2.1. Arguments and errors are those of :func:`jacobian`.

    Example:
        >>> singular_values(lambda z: z * torch.tensor([1.0, 3.0]), torch.zeros(1, 2))
        tensor([[3., 1.]])
    """
    return _over_chunks(lambda part: (_spectrum(_jacobian(decoder, part)),), decoder, z, chunk)[0]


@torch.no_grad()
def singular_system(decoder: Decoder, z: Latents, *, chunk: int | None = None) -> SingularSystem:
    r"""Singular values together with the right singular vectors, from one Jacobian per point.

    Vector ``k`` is the latent direction that moves the output by :math:`\sigma_k`. Its sign is arbitrary, and so is the
    vector among equal singular values (all degenerate directions, for instance). Arguments and errors are those of
    :func:`jacobian`.

    Example:
        >>> system = singular_system(lambda z: z * torch.tensor([1.0, 3.0]), torch.zeros(1, 2))
        >>> system.vectors[:, 0].abs()
        tensor([[0., 1.]])
    """

    def reduce(part: Tensor) -> tuple[Tensor, Tensor]:
        matrix = _jacobian(decoder, part)
        # eigh sorts ascending; the Gram matrix has a vector for every latent, also where there are fewer pixels.
        return _spectrum(matrix), torch.linalg.eigh(_gram(matrix))[1].flip(-1).mT.to(z.dtype)

    return SingularSystem(*_over_chunks(reduce, decoder, z, chunk))


@torch.no_grad()
def central_difference(decoder: Decoder, z: Latents, eps: float) -> Jacobians:
    r"""The Jacobian as Feiszli 2017 (section 5.1) computed it, to compare with.

    .. math:: J_{bpl} \approx \frac{f_p(z_b + \epsilon e_l) - f_p(z_b - \epsilon e_l)}{2 \epsilon}

    The error is :math:`O(\epsilon^2)` from the curvature plus :math:`O(u / \epsilon)` from rounding to unit ``u``.

    Raises:
        ValueError: ``eps`` is not positive, or ``z`` is not a matrix.

    Example:
        >>> central_difference(torch.square, torch.ones(1, 1), eps=0.5)
        tensor([[[2.]]])
    """
    if not eps > 0:
        raise ValueError(f"eps must be positive, got {eps}")
    _check_matrix(z)
    columns = []
    for step in torch.eye(z.shape[1], dtype=z.dtype, device=z.device) * eps:
        columns.append((decoder(z + step) - decoder(z - step)).flatten(1) / (2 * eps))
    return torch.stack(columns, dim=-1)


def _jacobian(decoder: Decoder, z: Tensor) -> Tensor:
    def one(point: Tensor) -> Tensor:
        return decoder(point[None])[0].flatten()

    # A copy: forward mode gives the tangent of a view the size of everything that it is a view of.
    with FORWARD_MODE:
        result = vmap(jacfwd(one))(z.clone())
    finite = result.sum((1, 2)).isfinite()  # NaN and infinity survive a sum, which is cheaper than a mask
    if not finite.all():
        raise ValueError(f"the Jacobian is not finite at {int((~finite).sum())} of {len(z)} points of a chunk")
    return result


def _gram(jacobians: Tensor) -> Tensor:
    wide = jacobians.double()
    return wide.mT @ wide


def _spectrum(jacobians: Tensor) -> Tensor:
    """Singular values, by the cheapest way that loses nothing.

    Squaring in float64 costs a relative 1e-8 of the largest singular value: below a float32 Jacobian's own error, and a
    quarter of the time of a decomposition. A float64 Jacobian gets the decomposition.
    """
    if jacobians.dtype == torch.float64:
        return torch.linalg.svdvals(jacobians)
    tall = jacobians if jacobians.shape[1] >= jacobians.shape[2] else jacobians.mT
    squares = torch.linalg.eigvalsh(_gram(tall)).flip(-1)
    # Rounding can leave a zero eigenvalue slightly negative; its square root is zero, not NaN.
    return squares.clamp(min=0).sqrt().to(jacobians.dtype)


def _over_chunks(
    reduce: Callable[[Tensor], tuple[Tensor, ...]], decoder: Decoder, z: Tensor, chunk: int | None
) -> list[Tensor]:
    """Apply ``reduce`` to the points, a chunk at a time, and put the results together.

    They are written into tensors made once: small results kept between large temporaries would split the free memory
    that the next chunk needs, and the process would grow and slow down with every chunk.
    """
    _check_matrix(z)
    if chunk is None:
        pixels = decoder(z[:1]).numel()
        chunk = max(1, BUDGET // (pixels * z.shape[1] * z.element_size()))
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}")
    first = reduce(z[:chunk])
    results = [part.new_empty(len(z), *part.shape[1:]) for part in first]
    for start in range(0, len(z), chunk):
        for result, part in zip(results, reduce(z[start : start + chunk]) if start else first, strict=True):
            result[start : start + chunk] = part
    return results


def _check_matrix(z: Tensor) -> None:
    if z.ndim != 2 or 0 in z.shape:
        raise ValueError(f"latents must be [batch, latent] with at least one of each, got {list(z.shape)}")
