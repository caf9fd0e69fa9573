from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from lib.protocols import likelihoods


class Linear(NamedTuple):
    """x = A z + e with normal noise of deviation s: everything is known in closed form."""

    matrix: torch.Tensor
    noise: float
    widened: float = 1.0
    """factor on the deviations of the encoder, which is the exact posterior at one"""

    def decode(self, z):
        return Independent(Normal((z @ self.matrix.T).unflatten(1, (1, 1, -1)), self.noise), 3)

    def encode(self, x):
        precision = torch.eye(2) + self.matrix.T @ self.matrix / self.noise**2
        mean = x.flatten(1) @ self.matrix / self.noise**2 @ precision.inverse()
        return MultivariateNormal(mean, self.widened**2 * precision.inverse())

    def log_p(self, x):
        covariance = self.matrix @ self.matrix.T + self.noise**2 * torch.eye(len(self.matrix))
        return MultivariateNormal(torch.zeros(len(self.matrix)), covariance).log_prob(x.flatten(1))


MATRIX = torch.tensor([[1.0, 0.3], [-0.5, 0.8], [0.2, 0.2]], dtype=torch.float64)


def images(n=6):
    return (torch.randn(n, 2) @ MATRIX.T + 0.5 * torch.randn(n, 3)).view(n, 1, 1, 3)


def judge(models, x, samples=20):
    rngs = [torch.Generator().manual_seed(k) for k in range(len(models))]
    with ThreadPoolExecutor(2) as executor:
        return likelihoods.judge(models, x, samples=samples, rngs=rngs, executor=executor)


def test_of_a_linear_gaussian_model_both_evidences_are_exact():
    models, x = [Linear(MATRIX, 0.5), Linear(2 * MATRIX, 0.7)], images()
    found = judge(models, x)
    exact = torch.stack([model.log_p(x) for model in models])
    torch.testing.assert_close(found.log_p, exact, atol=4e-3, rtol=0)
    torch.testing.assert_close(found.sampled, exact)  # from the exact posterior
    torch.testing.assert_close(found.ess, torch.full((2, 6), 20.0))
    assert (found.change < 1e-2).all()
    assert likelihoods.sampling_error(found).value == pytest.approx(0, abs=4e-3)


def test_an_encoder_that_is_wrong_is_seen_in_the_sampling_alone():
    x = images()
    found = judge([Linear(MATRIX, 0.1, widened=0.3), Linear(MATRIX, 0.1, widened=0.2)], x)
    torch.testing.assert_close(found.log_p[0], Linear(MATRIX, 0.1).log_p(x), atol=1e-2, rtol=0)
    assert (found.ess < 15).any()
    assert likelihoods.sampling_error(found).value < -0.1
    assert likelihoods.sampling_error(found).n == 2  # over models


def test_every_model_draws_its_own_samples():
    x, wrong = images(), Linear(MATRIX, 0.5, widened=2.0)
    found = judge([wrong, wrong], x)
    torch.testing.assert_close(found.log_p[0], found.log_p[1])
    assert not torch.equal(found.sampled[0], found.sampled[1])


def test_a_gain_is_paired_and_has_two_intervals():
    second = 1000 * torch.randn(3, 5)
    difference = torch.tensor([[1.0, 2.0, 3.0, 4.0, -9.0], [1.0, 2.0, 3.0, 4.0, 5.0], [4.0, 5.0, 6.0, 7.0, 1.0]])
    found = likelihoods.gain(second + difference, second, seed=0)
    assert found.over_images.value == pytest.approx(39 / 15)
    assert (found.over_images.n, found.over_models.n) == (5, 3)
    means = torch.tensor([0.2, 3.0, 4.6])
    assert found.over_models.value == pytest.approx(2.6)
    half = 4.302652729749464 * float(means.std()) / 3**0.5
    assert found.over_models.high == pytest.approx(2.6 + half)
    assert found.higher == 0.8  # images 2, 3, 4, 5 and -1


def test_an_image_is_higher_by_any_amount():
    second = torch.randn(3, 4)
    found = likelihoods.gain(second + torch.tensor([0.1, 0.5, 2.0, -0.1]), second, seed=0)
    assert found.higher == 0.75


def test_equal_evidences_are_no_gain():
    same = torch.randn(2, 5)
    found = likelihoods.gain(same, same, seed=0)
    assert (found.over_images.value, found.over_models.value, found.higher) == (0, 0, 0)


def test_finer_cells_change_little_and_a_planted_error_is_seen():
    model, x = Linear(MATRIX, 0.5), images()
    exact = model.log_p(x)
    assert likelihoods.coarseness(model.decode, x, exact) < 4e-3
    exact[2] -= 0.5
    exact[4] += 0.2
    assert likelihoods.coarseness(model.decode, x, exact) == pytest.approx(0.5, abs=4e-3)
