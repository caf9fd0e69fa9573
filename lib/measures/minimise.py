"""Minimise many small independent problems side by side, each as if it were alone."""

import functools
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

HISTORY = 10
"""curvature pairs that each row keeps"""
TRIALS = 20
"""step lengths tried in a line search"""

Objective = Callable[[Tensor, Tensor], Tensor]
Evaluate = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Minimum(NamedTuple):
    """Where every row's search ended."""

    x: Float[Tensor, "batch size"]
    loss: Float[Tensor, " batch"]
    """infinite where the search never had a finite one"""
    converged: Bool[Tensor, " batch"]
    """the search ended because nothing changed any more, not because its steps were used up"""


def minimise(objective: Objective, x: Float[Tensor, "batch size"], steps: int, tolerance: float) -> Minimum:
    """Minimise every row on its own, by L-BFGS with an Armijo line search.

    Args:
        objective: from ``x`` of some rows, and their ascending indices, to the losses of each. A row's loss depends on
            its own ``x`` only.
        x: the starts.
        steps: iterations, at most.
        tolerance: relative decrease of the objective in a step, below which a row has converged.
    """
    evaluate = functools.partial(_evaluate, objective)
    rows = torch.arange(len(x), device=x.device)  # those that go on
    loss, gradient = evaluate(x, rows)
    usable = loss.isfinite() & gradient.isfinite().all(1)
    best_x, best_loss = x.clone(), loss.where(usable, torch.inf)
    converged = usable & (gradient.abs().amax(1) == 0)
    scale = torch.ones_like(loss)  # of the first approximation to the inverse curvature
    pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(
        maxlen=HISTORY
    )  # moves, changes of gradient, 1 / (move . change)
    going = usable & ~converged
    for step in range(steps):
        if not going.all():
            rows, x, loss, gradient, scale = (each[going] for each in (rows, x, loss, gradient, scale))
            pairs = deque([tuple(each[going] for each in pair) for pair in pairs], maxlen=HISTORY)
        if not len(rows):
            break
        direction = _direction(gradient, pairs, scale)
        slope = (direction * gradient).sum(1)
        uphill = slope >= 0
        if uphill.any():
            direction[uphill] = -gradient[uphill]
            slope[uphill] = -gradient[uphill].square().sum(1)
            for _, _, weights in pairs:
                weights[uphill] = 0.0
        length = torch.ones_like(slope) if step else (1 / gradient.abs().sum(1)).clamp(max=1)
        new_x, new_loss, new_gradient = _search(evaluate, rows, x, direction, length, (loss, gradient, slope))
        move, change = new_x - x, new_gradient - gradient
        curvature, bend = (move * change).sum(1), change.square().sum(1)
        kept = curvature > 1e-10 * (move.square().sum(1) * bend).sqrt()
        pairs.append((move, change, torch.where(kept, 1 / curvature, 0.0)))
        scale = torch.where(kept, curvature / bend, scale)
        going = loss - new_loss > tolerance * loss.abs()
        x, loss, gradient = new_x, new_loss, new_gradient
        best_x[rows], best_loss[rows], converged[rows] = x, loss, ~going
    return Minimum(best_x, best_loss, converged)


def _direction(gradient: Tensor, pairs: Sequence[tuple[Tensor, Tensor, Tensor]], scale: Tensor) -> Tensor:
    """The two-loop recursion, for all rows at once; pairs of weight zero drop out."""
    q, taken = gradient.clone(), []
    for move, change, weight in reversed(pairs):
        taken.append(weight * (move * q).sum(1))
        q.addcmul_(taken[-1][:, None], change, value=-1)
    q *= scale[:, None]
    for (move, change, weight), alpha in zip(pairs, reversed(taken), strict=True):
        q.addcmul_((alpha - weight * (change * q).sum(1))[:, None], move)
    return -q


def _search(
    evaluate: Evaluate, rows: Tensor, x: Tensor, direction: Tensor, length: Tensor, here: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Backtrack each row until its objective has decreased enough (Armijo); rows that never do stay where they are."""
    loss, gradient, slope = here
    there = x + length[:, None] * direction
    value, slant = evaluate(there, rows)
    enough = _decreased(value, slant, loss, length, slope)
    new_x, new_loss, new_gradient = (
        torch.where(enough[:, None], there, x),
        torch.where(enough, value, loss),
        torch.where(enough[:, None], slant, gradient),
    )
    pending, value = (~enough).nonzero()[:, 0], value[~enough]
    for _ in range(TRIALS - 1):
        if not len(pending):
            break
        # The minimum of the parabola through both values and the slope, within a tenth and a half of the step.
        t, s, rise = length[pending], slope[pending], value - loss[pending]
        length[pending] = t = (-s * t * t / (2 * (rise - s * t))).nan_to_num(0.0).clamp(0.1 * t, 0.5 * t)
        there = x[pending] + t[:, None] * direction[pending]
        value, slant = evaluate(there, rows[pending])
        enough = _decreased(value, slant, loss[pending], t, s)
        chosen = pending[enough]
        new_x[chosen], new_loss[chosen], new_gradient[chosen] = there[enough], value[enough], slant[enough]
        pending, value = pending[~enough], value[~enough]
    return new_x, new_loss, new_gradient


def _decreased(value: Tensor, slant: Tensor, loss: Tensor, length: Tensor, slope: Tensor) -> Tensor:
    """Armijo's condition; False where the value or its gradient is not finite."""
    return (value <= loss + 1e-4 * length * slope) & slant.isfinite().all(1)


def _evaluate(objective: Objective, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        loss = objective(x, rows)
        (gradient,) = torch.autograd.grad(loss.sum(), x)  # each row depends on its own x only
    return loss.detach(), gradient
