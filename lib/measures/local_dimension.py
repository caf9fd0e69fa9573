r"""The local dimension of a flow's images: how fast their log density changes with the noise that is added.

The density of images on a set of dimension ``d``, with normal noise of standard deviation :math:`\sigma`, grows as
:math:`\sigma^{d - D}` where the noise is larger than what spreads images off the set, and smaller than its bends. So
``d`` can be read from the score, and no sampler is run.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from lib.measures.axes import PerSample
from lib.measures.flows import Points, Velocity
from lib.measures.jacobian import jacobian


@torch.no_grad()
def flipd(velocity: Velocity, x: Points, t: float) -> PerSample:
    r"""FLIPD, the local intrinsic dimension at points by the Fokker-Planck equation, of a flow along straight paths.

    .. math:: D + \sigma^2 \left(\operatorname{tr} \nabla s(x) + \|s(x)\|^2\right) =
        t D + t (1 - t) \operatorname{div} u_t(t x) + \|t u_t(t x) - t x\|^2

    ``s`` is the score of images with noise of standard deviation :math:`\sigma = (1 - t) / t`, which is what a path
    :math:`x_t = (1 - t) z + t x` has at time ``t``, after division by ``t``; there :math:`E[z | x_t = y] = y - t u_t(y)
    = - (1 - t) \nabla \log p_t(y)`. The divergence is exact.

    Args:
        velocity: of the flow.
        x: points ``[batch, dim]`` in output units.
        t: the time, which sets the scale of the noise. Close to 1 everything with a density has dimension ``dim``.

    Raises:
        ValueError: a time that is not between 0 and 1.

    Source: Kamkari et al. 2024, definition of FLIPD, there for a diffusion that preserves variance.

    Example:
        A flat set of two dimensions in three.

        >>> flat = lambda y, t: y * torch.tensor([1.0, 1.0, 0.0]) * (2 * t - 1) / (t**2 + (1 - t) ** 2) - y * (
        ...     torch.tensor([0.0, 0.0, 1.0]) / (1 - t)
        ... )
        >>> flipd(flat, torch.zeros(1, 3), 0.99)
        tensor([1.9998])
    """
    if not 0 < t < 1:
        raise ValueError(f"the time must be between 0 and 1, got {t}")
    y, pixels = t * x, x.shape[1]
    divergence: Float[Tensor, " batch"] = jacobian(lambda at: velocity(at, t), y).diagonal(dim1=1, dim2=2).sum(1)
    return t * pixels + t * (1 - t) * divergence + (t * velocity(y, t) - y).square().sum(1)
