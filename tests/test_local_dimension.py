"""FLIPD against sets whose dimension is known."""

import pytest
import torch

from lib.measures.flows import blurred_velocity, mixture_velocity, optimal_velocity
from lib.measures.local_dimension import flipd


def flat(scales):
    """The velocity of a normal distribution with a standard deviation for each coordinate, some of them zero."""
    s = torch.tensor(scales)
    return lambda y, t: y * (t * s**2 - (1 - t)) / ((t * s) ** 2 + (1 - t) ** 2)


def test_a_normal_distribution_has_a_dimension_for_every_direction_that_is_wider_than_the_noise():
    x, t = torch.zeros(2, 4), 0.8
    s = torch.tensor([2.0, 1.0, 0.1, 0.0])
    shares = (t * s) ** 2 / ((t * s) ** 2 + (1 - t) ** 2)
    torch.testing.assert_close(flipd(flat([2.0, 1.0, 0.1, 0.0]), x, t), shares.sum().expand(2))


def test_it_is_the_change_of_the_log_density_with_the_noise():
    velocity = mixture_velocity([1, 2], torch.tensor([[1.0, 0, 0], [-1.0, 2, 0]]), [0.3, 0.7])
    x, t = torch.tensor([[0.2, 0.1, -0.4], [1.0, 0.0, 0.0]]), 0.7

    def log_p(log_sigma):
        v = torch.tensor([0.3, 0.7]) ** 2 + torch.exp(2 * log_sigma)
        squares = (x[:, None] - torch.tensor([[1.0, 0, 0], [-1.0, 2, 0]])).square().sum(2)
        return (torch.tensor([1.0, 2.0]).log() - squares / (2 * v) - 1.5 * v.log()).logsumexp(1)

    at, step = torch.tensor((1 - t) / t).log(), 1e-5
    slope = (log_p(at + step) - log_p(at - step)) / (2 * step)
    torch.testing.assert_close(flipd(velocity, x, t), 3 + slope, rtol=1e-6, atol=1e-6)


def test_a_memorised_image_is_a_point_of_no_dimension():
    data = 5 * torch.randn(6, 10, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(flipd(optimal_velocity(data), data, 0.9), torch.zeros(6), rtol=0, atol=1e-6)
    share = (0.9 * 0.05) ** 2 / ((0.9 * 0.05) ** 2 + 0.1**2)  # what is left of the noise on images
    torch.testing.assert_close(flipd(blurred_velocity(data, 0.05), data, 0.9), torch.full((6,), 10 * share))


@pytest.mark.parametrize("t", [0.0, 1.0])
def test_times_without_noise_or_without_image_are_refused(t):
    with pytest.raises(ValueError, match="between 0 and 1"):
        flipd(flat([1.0]), torch.zeros(1, 1), t)
