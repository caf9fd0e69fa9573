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


class _Pair(NamedTuple):
    """A step of every row and the curvature along it: what L-BFGS remembers."""

    s: Tensor
    """the step, :math:`x_{k+1} - x_k`"""
    y: Tensor
    """the change of gradient, :math:`g_{k+1} - g_k`"""
    rho: Tensor
    """:math:`1 / s^T y`, or zero for a pair that does not count"""


def minimise(objective: Objective, x: Float[Tensor, "batch size"], steps: int, tolerance: float) -> Minimum:
    """Minimise every row on its own, by L-BFGS with an Armijo line search.

    Args:
        objective: from ``x`` of some rows, and their ascending indices, to the losses of each. A row's loss depends on
            its own ``x`` only.
        x: the starts.
        steps: the largest number of iterations.
        tolerance: relative decrease of the objective in a step, below which a row has converged.

    Source: Nocedal & Wright 2006, algorithms 7.4 (two loops), 7.5 (L-BFGS) and 3.1 (backtracking).

    Example:
        >>> distance = lambda x, rows: (x - rows[:, None]).square().sum(1)
        >>> x, loss, converged = minimise(distance, torch.zeros(3, 1), 20, 1e-9)
        >>> x.flatten(), converged
        (tensor([0., 1., 2.]), tensor([True, True, True]))
    """
    evaluate = functools.partial(_evaluate, objective)
    rows = torch.arange(len(x), device=x.device)  # those that go on
    f, g = evaluate(x, rows)
    usable = f.isfinite() & g.isfinite().all(1)
    best_x, best_f = x.clone(), f.where(usable, torch.inf)
    converged = usable & (g.abs().amax(1) == 0)
    gamma = torch.ones_like(f)  # the first approximation to the inverse Hessian is gamma I
    pairs: deque[_Pair] = deque(maxlen=HISTORY)
    going = usable & ~converged
    for k in range(steps):
        if not going.all():
            rows, x, f, g, gamma = (values[going] for values in (rows, x, f, g, gamma))
            pairs = deque([_Pair(*(values[going] for values in pair)) for pair in pairs], maxlen=HISTORY)
        if not len(rows):
            break
        p = _direction(g, pairs, gamma)
        slope = (p * g).sum(1)
        uphill = slope >= 0
        if uphill.any():  # start again from steepest descent there
            p[uphill] = -g[uphill]
            slope[uphill] = -g[uphill].square().sum(1)
            for pair in pairs:
                pair.rho[uphill] = 0.0
        alpha = torch.ones_like(slope) if k else (1 / g.abs().sum(1)).clamp(max=1)
        new_x, new_f, new_g = _search(evaluate, rows, x, p, alpha, (f, g, slope))
        s, y = new_x - x, new_g - g
        sy, yy = (s * y).sum(1), y.square().sum(1)
        kept = sy > 1e-10 * (s.square().sum(1) * yy).sqrt()
        pairs.append(_Pair(s, y, torch.where(kept, 1 / sy, 0.0)))
        gamma = torch.where(kept, sy / yy, gamma)
        going = f - new_f > tolerance * f.abs()
        x, f, g = new_x, new_f, new_g
        best_x[rows], best_f[rows], converged[rows] = x, f, ~going
    return Minimum(best_x, best_f, converged)


def _direction(g: Tensor, pairs: Sequence[_Pair], gamma: Tensor) -> Tensor:
    """The two-loop recursion for :math:`-H g`, for all rows at once; pairs with ``rho`` zero drop out."""
    q, alphas = g.clone(), []
    for s, y, rho in reversed(pairs):
        alphas.append(rho * (s * q).sum(1))
        q.addcmul_(alphas[-1][:, None], y, value=-1)
    r = q.mul_(gamma[:, None])
    for (s, y, rho), alpha in zip(pairs, reversed(alphas), strict=True):
        beta = rho * (y * r).sum(1)
        r.addcmul_((alpha - beta)[:, None], s)
    return -r


def _search(
    evaluate: Evaluate, rows: Tensor, x: Tensor, p: Tensor, alpha: Tensor, start: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Backtrack each row until its objective has decreased enough (Armijo); rows that never do stay where they are.

    Args:
        evaluate: from points of some rows to f and its gradient.
        rows: indices of the rows.
        x: where they are.
        p: their directions.
        alpha: the first step lengths, shortened in place.
        start: f, its gradient and its directional derivative (slope) at ``x``.
    """
    f, g, slope = start
    trial_x = x + alpha[:, None] * p
    trial_f, trial_g = evaluate(trial_x, rows)
    enough = _decreased(trial_f, trial_g, f, alpha, slope)
    new_x, new_f, new_g = (
        torch.where(enough[:, None], trial_x, x),
        torch.where(enough, trial_f, f),
        torch.where(enough[:, None], trial_g, g),
    )
    pending, trial_f = (~enough).nonzero()[:, 0], trial_f[~enough]
    for _ in range(TRIALS - 1):
        if not len(pending):
            break
        alpha[pending] = a = _shorter(alpha[pending], f[pending], slope[pending], trial_f)
        trial_x = x[pending] + a[:, None] * p[pending]
        trial_f, trial_g = evaluate(trial_x, rows[pending])
        enough = _decreased(trial_f, trial_g, f[pending], a, slope[pending])
        accepted = pending[enough]
        new_x[accepted], new_f[accepted], new_g[accepted] = trial_x[enough], trial_f[enough], trial_g[enough]
        pending, trial_f = pending[~enough], trial_f[~enough]
    return new_x, new_f, new_g


def _shorter(alpha: Tensor, f: Tensor, slope: Tensor, trial_f: Tensor) -> Tensor:
    """The minimum of the parabola through both values and the slope, within a tenth and a half of the step."""
    rise = trial_f - f
    least = -slope * alpha * alpha / (2 * (rise - slope * alpha))
    return least.nan_to_num(0.0).clamp(0.1 * alpha, 0.5 * alpha)


def _decreased(trial_f: Tensor, trial_g: Tensor, f: Tensor, alpha: Tensor, slope: Tensor) -> Tensor:
    """Armijo's condition; False where the value or its gradient is not finite."""
    return (trial_f <= f + 1e-4 * alpha * slope) & trial_g.isfinite().all(1)


def _evaluate(objective: Objective, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        f = objective(x, rows)
        (g,) = torch.autograd.grad(f.sum(), x)  # each row depends on its own x only
    return f.detach(), g
