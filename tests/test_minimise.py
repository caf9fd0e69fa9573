import torch

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
    found = minimise(objective, minima, 10, 0.0)
    assert torch.equal(found.x, minima)
    assert found.converged.all()


def test_a_valley_that_is_not_quadratic():
    def rosenbrock(x, rows):
        return (1 - x[:, 0]).square() + 100 * (x[:, 1] - x[:, 0].square()).square()

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
