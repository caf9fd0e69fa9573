r"""A flow from noise to data along straight paths: its velocity, its sampler, and the way back.

Noise :math:`z \sim N(0, I)` and data ``x``, drawn independently, are joined by a straight line,
:math:`x_t = (1 - t) z + t x`. The velocity that carries the whole distribution of :math:`x_t` from :math:`t = 0` to 1
is the mean of the lines' own velocities where they cross,

.. math:: u_t(y) = E[x - z \mid x_t = y] .

A network that is fitted to :math:`x - z` by least squares learns it (Lipman et al. 2023, Liu et al. 2023, where this is
flow matching with the conditional optimal-transport path, and rectified flow). For a finite training set and for a
mixture of normal distributions it is known: :func:`optimal_velocity` and :func:`mixture_velocity`.

The sampler integrates :math:`\dot y = u_t(y)` with a fixed number of steps, and is then a decoder as any other, with as
many latents as pixels.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lib.measures.axes import Decoder, Latents
from lib.measures.jacobian import jacobian

Velocity = Callable[[Tensor, float], Tensor]
"""From points ``[batch, dim]`` and a time in [0, 1] to velocities ``[batch, dim]``, each row from its own point."""

Points = Float[Tensor, "batch latent"]


def sampler(velocity: Velocity, steps: int) -> Decoder:
    r"""The map from noise to data that Heun's method makes of a velocity; the last step is Euler's.

    .. math:: y_{k+1} = y_k + \tfrac{h_k}2 \left(u_{t_k}(y_k) + u_{t_{k+1}}(y_k + h_k u_{t_k}(y_k))\right), \quad
        t_k = 1 - (1 - k/n)^2

    Steps are shorter towards the end, where velocities of data on thin sets change fast. Without Heun's correction in
    the last one, the velocity is never asked for at :math:`t = 1`, where that of a finite set does not exist. One step
    with an error of order :math:`h^2` leaves the order of the whole, two, as it is.

    Args:
        velocity: of the flow.
        steps: how many; the velocity is evaluated ``2 steps - 1`` times.

    Raises:
        ValueError: fewer than one step.

    Source: the last step is that of Karras, Aittala, Aila & Laine 2022, algorithm 1.

    Example:
        All mass ends on the one point that there is.

        >>> sampler(optimal_velocity(torch.tensor([[3.0, 4.0]])), 5)(torch.zeros(1, 2))
        tensor([[3., 4.]])
    """
    if steps < 1:
        raise ValueError(f"a sampler needs at least one step, got {steps}")

    def sample(z: Latents) -> Points:
        return _integrate(velocity, z, steps)[-1]

    return sample


def times(steps: int) -> list[float]:
    """The times between which the :func:`sampler` steps, from 0 to 1.

    Example:
        >>> times(2)
        [0.0, 0.75, 1.0]
    """
    return [1 - (1 - k / steps) ** 2 for k in range(steps + 1)]


def trajectory(velocity: Velocity, z: Latents, steps: int) -> Float[Tensor, "times batch latent"]:
    """Where the :func:`sampler` passes: the points at its :func:`times`.

    Example:
        >>> trajectory(optimal_velocity(torch.ones(1, 1)), torch.zeros(1, 1), 2)[:, 0, 0]
        tensor([0.0000, 0.7500, 1.0000])
    """
    return torch.stack(_integrate(velocity, z, steps))


class Codes(NamedTuple):
    """Where points come from under a sampler."""

    z: Latents
    """the noise"""
    error: Float[Tensor, " batch"]
    """largest difference between a coordinate of the point and of what the sampler makes of the noise, output units"""


@torch.no_grad()
def encode(velocity: Velocity, x: Points, steps: int, *, tolerance: float = 1e-5, iterations: int = 50) -> Codes:
    r"""The codes of points: the noise from which the :func:`sampler` makes them, with the errors that remain.

    From the last step to the first, :math:`x = y + \Delta(y)` is solved for ``y``, where :math:`\Delta` is what the
    step adds: by iterating :math:`y = x - \Delta(y)`, and by Newton's method for points at which that does not settle,
    since the step drives them apart. So this inverts the sampler with its number of steps, and not the flow that it
    approximates.

    Args:
        velocity: of the flow.
        x: points ``[batch, dim]``.
        steps: those of the sampler.
        tolerance: a point settles where no coordinate moves by more, in output units.
        iterations: at most so many of either kind in a step.

    Returns:
        Codes and errors. An error that is not small says that the code is none: it is for the caller to judge.

    Example:
        >>> grows = lambda y, t: y
        >>> code = encode(grows, sampler(grows, 8)(torch.ones(1, 1)), 8)
        >>> f"{code.z.item():.3f}", bool(code.error < 1e-4)
        ('1.000', True)
    """
    y = x
    for k in reversed(range(steps)):
        y = _undone(velocity, y, k, steps, tolerance, iterations)
    return Codes(y, (sampler(velocity, steps)(y) - x).abs().amax(1))


def optimal_velocity(data: Float[Tensor, "n latent"]) -> Velocity:
    r"""The velocity that flow matching would learn from a finite set if nothing held it back: pure memorisation.

    .. math:: u_t(y) = \frac{\sum_i w_i x_i - y}{1 - t}, \quad
        w = \operatorname{softmax}_i\left(-\frac{\|y - t x_i\|^2}{2 (1 - t)^2}\right)

    It is the minimiser of the loss over all functions, and its sampler emits the ``x_i`` and nothing else.

    Args:
        data: the points ``x_i``, all equally probable.

    Raises:
        ValueError: when it is called at :math:`t \ge 1`, where it does not exist.

    Source: the closed form is written for diffusion in Karras et al. 2022, appendix B.3, and here for straight paths.

    Example:
        >>> optimal_velocity(torch.tensor([[1.0], [-1.0]]))(torch.tensor([[0.1]]), 0.5)
        tensor([[0.1948]])
    """
    halves = data.square().sum(1) / 2

    def velocity(y: Points, t: float) -> Points:
        if not t < 1:
            raise ValueError(f"the velocity of a finite set exists for times below 1, got {t}")
        # The square of y is the same for all, so that softmax does not need it.
        weights = torch.softmax((y @ data.T - t * halves) * (t / (1 - t) ** 2), -1)
        return (weights @ data - y) / (1 - t)

    return velocity


def mixture_velocity(
    weights: Float[Tensor, " parts"] | Sequence[float | int],
    means: Float[Tensor, "parts latent"],
    scales: Float[Tensor, " parts"] | Sequence[float | int],
) -> Velocity:
    r"""The velocity of a mixture of round normal distributions: a flow whose density is known at its end.

    .. math:: u_t(y) = \sum_k w_k \left(m_k + \frac{t s_k^2 - (1 - t)}{v_k} (y - t m_k)\right), \quad
        v_k = t^2 s_k^2 + (1 - t)^2

    with :math:`w_k \propto \pi_k N(y; t m_k, v_k I)`, what is known of the part at time ``t``.

    Args:
        weights: :math:`\pi_k`, positive; they need not add up to one.
        means: :math:`m_k`.
        scales: :math:`s_k`, the standard deviations, positive.

    Raises:
        ValueError: not one weight and one scale for each mean, or one that is not positive.

    Example:
        >>> velocity = mixture_velocity([1.0], torch.tensor([[5.0]]), [2.0])
        >>> sampler(velocity, 64)(torch.tensor([[0.0], [1.0]])).round(decimals=2)
        tensor([[5.],
                [7.]])
    """
    share, scale = (torch.as_tensor(each, dtype=means.dtype, device=means.device) for each in (weights, scales))
    if share.shape != means.shape[:1] or scale.shape != means.shape[:1] or not (share.min() > 0 and scale.min() > 0):
        raise ValueError(
            f"a mixture of {len(means)} parts needs as many positive weights and scales, got {share.tolist()} and "
            f"{scale.tolist()}"
        )

    def velocity(y: Points, t: float) -> Points:
        variance = (t * scale) ** 2 + (1 - t) ** 2
        away = y[:, None] - t * means
        squares = away.square().sum(2)
        logits = share.log() - squares / (2 * variance) - means.shape[1] / 2 * variance.log()
        slope = (t * scale**2 - (1 - t)) / variance
        return (torch.softmax(logits, 1)[..., None] * (means + slope[:, None] * away)).sum(1)

    return velocity


def blurred_velocity(data: Float[Tensor, "n latent"], scale: float) -> Velocity:
    r""":func:`mixture_velocity` with an equal part about each of a set of points: a kernel density estimate as a flow.

    Its memory is ``batch n``, not ``batch n latent``.

    Example:
        >>> y = torch.tensor([[0.1]])
        >>> data = torch.tensor([[1.0], [-1.0]])
        >>> torch.allclose(blurred_velocity(data, 0.5)(y, 0.5), mixture_velocity([1, 1], data, [0.5, 0.5])(y, 0.5))
        True
    """
    if not scale > 0:
        raise ValueError(f"the scale must be positive, got {scale}; optimal_velocity is that of scale zero")
    halves = data.square().sum(1) / 2

    def velocity(y: Points, t: float) -> Points:
        variance = (t * scale) ** 2 + (1 - t) ** 2
        slope = (t * scale**2 - (1 - t)) / variance
        weights = torch.softmax((y @ data.T - t * halves) * (t / variance), -1)
        return weights @ data * (1 - slope * t) + slope * y

    return velocity


def _integrate(velocity: Velocity, z: Tensor, steps: int) -> list[Tensor]:
    points = [z]
    for k in range(steps):
        points.append(points[-1] + _increment(velocity, points[-1], k, steps))
    return points


def _increment(velocity: Velocity, y: Tensor, k: int, steps: int) -> Tensor:
    """What step ``k`` of the sampler adds."""
    start, end = times(steps)[k : k + 2]
    slope = velocity(y, start)
    if k == steps - 1:
        return (end - start) * slope
    return (end - start) / 2 * (slope + velocity(y + (end - start) * slope, end))


def _undone(velocity: Velocity, end: Tensor, k: int, steps: int, tolerance: float, iterations: int) -> Tensor:
    """Where the points were before step ``k``."""

    def forward(y: Tensor) -> Tensor:
        return y + _increment(velocity, y, k, steps)

    y = end.clone()
    moving = torch.ones(len(y), dtype=torch.bool, device=y.device)
    for iteration in range(2 * iterations):
        step = forward(y[moving]) - end[moving]
        if iteration >= iterations:
            step = (torch.linalg.pinv(jacobian(forward, y[moving])) @ step[..., None])[..., 0]
        y[moving] -= step
        moving[moving.clone()] = step.abs().amax(1) > tolerance
        if not moving.any():
            break
    return y
