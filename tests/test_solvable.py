import math

import numpy as np
import pytest
import torch
from conftest import affine
from scipy.stats import norm

from lib.protocols import solvable


def test_the_formula_is_the_normal_density_on_a_plane():
    z = torch.tensor([[1.0], [-2.0]])
    found = solvable.against_normal(torch.tensor([[0.0], [2.0]]), torch.tensor([5.0, 1.0]), z)
    assert found.mean == pytest.approx(norm(scale=2).logpdf([2.0, -4.0]).mean())
    assert found.error < 1e-14


def test_a_planted_error_of_the_formula_is_found(monkeypatch):
    right = solvable.log_density
    monkeypatch.setattr(solvable, "log_density", lambda decoder, z: right(decoder, z) + torch.tensor([0.0, -0.5, 0.1]))
    found = solvable.against_normal(torch.randn(5, 2), torch.randn(5), torch.randn(3, 2))
    assert found.error == pytest.approx(0.5)


def test_the_arclength_of_the_parabola_grows_with_its_speed():
    z = torch.linspace(-3, 3, 7, requires_grad=True)
    s = solvable.parabola_arclength(z)
    torch.testing.assert_close(torch.autograd.grad(s.sum(), z)[0], (1 + z**2).sqrt())
    assert s[3].item() == 0


def test_the_law_of_the_arclength_is_the_latents_normal_law():
    z = torch.linspace(-4, 4, 33)
    found = solvable.parabola_cdf(solvable.parabola_arclength(z).numpy())
    np.testing.assert_allclose(found, norm.cdf(z.numpy()), atol=1e-9)


def test_the_formula_keeps_the_prior_of_a_dead_direction_and_the_output_does_not():
    _, matrix = affine(5, 3, rank=2)
    t = torch.linspace(-2, 2, 9)
    found = solvable.dead_direction(matrix, torch.tensor([0.5, -0.3]), t)
    torch.testing.assert_close(found.formula - found.truth, -t.square() / 2 - math.log(2 * math.pi) / 2)
    values = torch.linalg.svdvals(matrix)[:2]
    exact = norm.logpdf([0.5, -0.3]).sum() - values.log().sum().item()
    torch.testing.assert_close(found.truth, torch.full((9,), exact))


def test_central_differences_err_with_the_square_of_their_step_and_forward_mode_does_not():
    z = torch.tensor([[2.0]])
    exact = torch.full((1, 1, 1), 12.0)  # of z cubed; differences give 3 z² + step²
    found = solvable.difference_errors(lambda z: z**3, z, exact, [0.1, 1.0])
    np.testing.assert_allclose(found, [0.01 / 12, 1 / 12])
    assert solvable.forward_error(lambda z: z**3, z, exact) < 1e-15
    assert solvable.forward_error(lambda z: z**3, z, 2 * exact) == pytest.approx(0.5)


def test_the_error_is_measured_in_the_precision_of_the_latents():
    z = torch.tensor([[2.0]], dtype=torch.float32)
    error = solvable.difference_errors(lambda z: z**3, z, torch.full((1, 1, 1), 12.0), [1e-6])[0]
    assert error > 1e-4
