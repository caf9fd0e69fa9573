import itertools

import pytest
import torch

from lib.measures import minimise as module
from lib.measures.minimise import minimise


def quadratics(conditions, size=4, seed=0):
    """Quadratics with these condition numbers: the objective of all rows, and their minima."""
    draws = torch.Generator().manual_seed(seed)
    matrices = []
    for condition in conditions:
        axes, _ = torch.linalg.qr(torch.randn(size, size, generator=draws))
        matrices.append(axes * torch.logspace(0, torch.tensor(condition).log10().item(), size) @ axes.T)
    matrices, minima = torch.stack(matrices), torch.randn(len(conditions), size, generator=draws)

    def objective(x, rows):
        away = x - minima[rows]
        return 0.5 * torch.einsum("bi,bij,bj->b", away, matrices[rows], away) + rows

    return objective, minima


def rosenbrock(x, rows):
    return ((1 - x[:, :-1]).square() + 100 * (x[:, 1:] - x[:, :-1].square()).square()).sum(1)


def textbook(objective, x, steps, tolerance=0.0, restart_at=None):
    """L-BFGS of one row with the inverse Hessian written out (Nocedal & Wright 2006, equation 7.19), iterate by iterate."""

    def evaluate(x):
        x = x.clone().requires_grad_()
        f = objective(x[None], torch.zeros(1, dtype=torch.long))[0]
        return f.detach(), torch.autograd.grad(f, x)[0]

    (f, g), pairs, gamma, path = evaluate(x), [], 1.0, [x]
    for k in range(steps):
        inverse = gamma * torch.eye(len(x))
        for s, y in pairs[-10:]:
            turned = torch.eye(len(x)) - torch.outer(y, s) / (s @ y)
            inverse = turned.T @ inverse @ turned + torch.outer(s, s) / (s @ y)
        if k == restart_at:
            pairs, inverse = [], torch.eye(len(x))
        p = -inverse @ g
        alpha = 1.0 if k else min(1.0, float(1 / g.abs().sum()))
        while True:  # Armijo, with parabolas
            new_f, new_g = evaluate(x + alpha * p)
            if new_f <= f + 1e-4 * alpha * (p @ g):
                break
            least = -(p @ g) * alpha**2 / (2 * (new_f - f - (p @ g) * alpha))
            alpha = float(least.clamp(0.1 * alpha, 0.5 * alpha))
        s, y = alpha * p, new_g - g
        if s @ y > 1e-10 * s.norm() * y.norm():
            pairs.append((s, y))
            gamma = (s @ y) / (y @ y)
        ended = f - new_f <= tolerance * f.abs()
        x, f, g = x + s, new_f, new_g
        path.append(x)
        if ended:
            break
    return path


STARTS = torch.tensor([[-1.2, 1.0, 0.5, -0.3], [2.0, -1.0, 0.1, 3.0], [0.0, 0.2, -2.0, 1.5]], dtype=torch.float64)


@pytest.mark.parametrize("steps", [1, 2, 5, 15, 35])
def test_every_iterate_is_the_textbooks(steps):
    found = minimise(rosenbrock, STARTS, steps, 0.0)
    expected = torch.stack([textbook(rosenbrock, start, steps)[-1] for start in STARTS])
    torch.testing.assert_close(found.x, expected, rtol=1e-6, atol=1e-8)


def test_a_first_gradient_below_one_is_not_stretched():
    gentle = lambda x, rows: 1e-3 * x.square().sum(1)  # noqa: E731
    torch.testing.assert_close(minimise(gentle, STARTS, 1, 0.0).x, (1 - 2e-3) * STARTS)


def double_wells(x, rows):
    return ((x.square() - 1).square() * torch.tensor([1.0, 3.0, 0.3, 10.0]) + x * x.roll(1, 1)).sum(1)


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 9])
def test_steps_of_negative_curvature_are_forgotten(steps):
    start = 0.05 * STARTS  # near a maximum
    found = minimise(double_wells, start, steps, 0.0)
    expected = torch.stack([textbook(double_wells, point, steps)[-1] for point in start])
    torch.testing.assert_close(found.x, expected, rtol=1e-6, atol=1e-8)


def test_a_slope_without_curvature_is_followed():
    found = minimise(lambda x, rows: 4 * x[:, 0], torch.zeros(1, 2), 3, 0.0)
    assert found.x.tolist() == [[-1.0 - 4.0 - 4.0, 0.0]]


@pytest.mark.parametrize(("cosine", "kept"), [(1.5e-10, True), (0.8e-10, False)])
def test_a_step_counts_if_it_is_not_at_a_right_angle_to_the_change_of_gradient(cosine, kept):
    matrix = torch.tensor([[3 * cosine, 3.0], [3.0, 0.0]])
    bilinear = lambda x, rows: x[:, 0] + 0.5 * torch.einsum("bi,ij,bj->b", x, matrix, x)  # noqa: E731
    pairs, direction = [], module._direction
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            module, "_direction", lambda g, given, gamma: pairs.append(list(given)) or direction(g, given, gamma)
        )
        minimise(bilinear, torch.zeros(1, 2), 2, 0.0)
    ((_, _, rho),) = pairs[1]
    assert bool(rho > 0) == kept


@pytest.mark.parametrize("tolerance", [0.5, 0.05])
def test_a_row_ends_with_the_first_decrease_within_the_tolerance(tolerance):
    found = minimise(rosenbrock, STARTS, 60, tolerance)
    expected = torch.stack([textbook(rosenbrock, start, 60, tolerance)[-1] for start in STARTS])
    torch.testing.assert_close(found.x, expected, rtol=1e-6, atol=1e-8)
    assert found.converged.all()


@pytest.mark.parametrize("factor", [-1.0, 0.0])
def test_a_direction_that_does_not_descend_is_replaced_by_steepest_descent(monkeypatch, factor):
    count, direction = itertools.count(), module._direction

    def turned(g, pairs, gamma):
        p = direction(g, pairs, gamma)
        if next(count) == 6:
            p[0] *= factor
        return p

    monkeypatch.setattr(module, "_direction", turned)
    found = minimise(rosenbrock, STARTS, 12, 0.0)
    expected = [
        textbook(rosenbrock, start, 12, restart_at=at)[-1] for start, at in zip(STARTS, (6, None, None), strict=True)
    ]
    torch.testing.assert_close(found.x, torch.stack(expected), rtol=1e-6, atol=1e-8)


def recorded(objective):
    """An objective, and all that it was asked for."""
    asked = []
    return lambda x, rows: asked.append(x.detach().clone()) or objective(x, rows), asked


def test_where_no_step_decreases_twenty_are_tried_each_at_the_minimum_of_its_parabola():
    climbing, asked = recorded(lambda x, rows: (x - 2 * x.detach())[:, 0])  # the value -x with the gradient of x
    found = minimise(climbing, torch.zeros(1, 1), 5, 0.0)
    # Value a at the distance a, where the slope is -1: the parabola's minimum is at a / 4.
    torch.testing.assert_close(torch.cat(asked)[:, 0], torch.tensor([0.0, *(-(0.25**k) for k in range(20))]))
    assert found.x == 0
    assert found.converged


def test_where_the_objective_is_unknown_a_step_is_cut_to_a_tenth():
    logarithm, asked = recorded(lambda x, rows: x.log()[:, 0])
    minimise(logarithm, torch.tensor([[0.5]]), 1, 0.0)
    torch.testing.assert_close(torch.cat(asked)[:, 0], torch.tensor([0.5, -0.5, 0.4]))


def test_a_step_is_cut_to_a_half_at_most():
    slight = 0.5e-4  # of the slope: a decrease, but not enough, so that the parabola's minimum is beyond a half
    falling, asked = recorded(lambda x, rows: (x - (1 - slight) * x.detach())[:, 0])
    minimise(falling, torch.zeros(1, 1), 1, 0.0)
    torch.testing.assert_close(torch.cat(asked)[:, 0], torch.tensor([0.0, *(-(0.5**k) for k in range(20))]))


def test_armijo_asks_for_a_ten_thousandth_of_the_slope():
    g, zero = torch.zeros(4, 1), torch.zeros(4)
    slope, alpha = torch.full((4,), -3.0), torch.full((4,), 2.0)
    value = torch.tensor([-6.01e-4, -5.99e-4, -7e-4, torch.nan])
    assert module._decreased(value, g, zero, alpha, slope).tolist() == [True, False, True, False]
    assert module._decreased(zero + 1e-4 * alpha * slope, g, zero, alpha, slope).all()  # no more is needed
    unknown = torch.tensor([[0.0, torch.inf]]).expand(4, 2)
    assert not module._decreased(value, unknown, zero, alpha, slope).any()


def test_every_quadratic_is_taken_to_its_own_minimum():
    objective, minima = quadratics([1.0, 10.0, 1e3, 1e5])
    found = minimise(objective, torch.zeros(4, 4), 200, 0.0)
    torch.testing.assert_close(found.x, minima, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.loss, torch.arange(4.0), atol=1e-8, rtol=0)
    assert found.converged.all()


def test_rows_do_not_know_of_each_other():
    objective, _ = quadratics([1.0, 10.0, 1e3, 1e5])
    whole = minimise(objective, torch.zeros(4, 4), 15, 1e-9)
    for row in range(4):
        alone = minimise(lambda x, rows, row=row: objective(x, rows + row), torch.zeros(1, 4), 15, 1e-9)
        torch.testing.assert_close(alone.x[0], whole.x[row], atol=1e-9, rtol=1e-9)
        assert alone.converged[0] == whole.converged[row]


def test_only_a_row_that_ended_early_has_converged():
    objective, _ = quadratics([1.0, 1e5])
    found = minimise(objective, torch.zeros(2, 4), 8, 1e-12)
    assert found.converged.tolist() == [True, False]
    at_once = minimise(objective, torch.zeros(2, 4), 0, 1e-12)
    assert not at_once.converged.any()


def test_a_start_at_the_minimum_stays_there():
    objective, minima = quadratics([1.0, 1e3])
    for steps in (0, 10):
        found = minimise(objective, minima, steps, 0.0)
        assert torch.equal(found.x, minima)
        assert found.converged.all()
        torch.testing.assert_close(found.loss, torch.arange(2.0))


def test_a_start_with_one_coordinate_at_its_minimum_goes_on():
    found = minimise(lambda x, rows: x.square().sum(1), torch.tensor([[0.0, 1.0], [1.0, 0.0]]), 20, 0.0)
    torch.testing.assert_close(found.x, torch.zeros(2, 2), atol=1e-8, rtol=0)


def test_a_start_without_a_gradient_is_left_alone():
    found = minimise(lambda x, rows: x[:, 0].sqrt() + x[:, 1].square(), torch.tensor([[0.0, 1.0]]), 20, 0.0)
    assert found.loss.isinf().all()
    assert not found.converged.any()
    assert found.x.tolist() == [[0.0, 1.0]]


def test_a_valley_that_is_not_quadratic():
    found = minimise(rosenbrock, torch.tensor([[-1.2, 1.0], [2.0, -1.0]]), 200, 0.0)
    torch.testing.assert_close(found.x, torch.ones(2, 2), atol=1e-5, rtol=0)


def test_a_row_that_is_not_finite_is_left_alone():
    objective, minima = quadratics([1.0, 10.0, 10.0])

    def partly(x, rows):
        return torch.where(rows == 1, torch.nan, objective(x, rows))

    found = minimise(partly, torch.zeros(3, 4), 100, 0.0)
    assert found.loss.isinf().tolist() == [False, True, False]
    assert found.converged.tolist() == [True, False, True]
    assert torch.equal(found.x[1], torch.zeros(4))
    torch.testing.assert_close(found.x[[0, 2]], minima[[0, 2]], atol=1e-6, rtol=0)


def test_a_step_never_enters_where_the_objective_is_not_finite():
    def barrier(x, rows):
        return x[:, 0] - x[:, 0].log()

    found = minimise(barrier, torch.tensor([[0.01], [30.0]]), 100, 0.0)
    torch.testing.assert_close(found.x, torch.ones(2, 1), atol=1e-5, rtol=0)
