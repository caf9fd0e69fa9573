import torch
from conftest import affine

from lib.protocols import random_metrics
from lib.protocols.embeddings import stream

CPU = torch.device("cpu")


def rng(*identity):
    return stream(0, CPU, *identity)


def independent(pixels):
    """A random decoder whose pixels are alike: a mean of no slope, and deviations of slope one."""
    return (lambda z: 0 * z.sum(1, keepdim=True).expand(-1, pixels)), (
        lambda z: z.sum(1, keepdim=True).expand(-1, pixels)
    )


def test_the_mean_metric_of_known_noise_is_that_of_mean_and_deviation():
    (mean, a), (deviation, b) = affine(50, 2, seed=1), affine(50, 2, seed=2)
    z = torch.randn(3, 2)
    found = random_metrics.mean_metric(mean, deviation, z, 1000, rng)
    assert found.draws == [10, 30, 100, 300, 1000]
    assert found.error[-1].max() < 0.05
    assert (found.excess.abs() < 0.03).all()
    drawn = torch.randn(3, 50, generator=rng(random_metrics.Stream.NOISE, 999))
    j = a + drawn[..., None] * b
    torch.testing.assert_close(random_metrics.random_jacobian(mean, deviation, z).draw(drawn), j)


def test_the_error_of_the_mean_metric_falls_with_the_root_of_the_draws():
    (mean, _), (deviation, _) = affine(50, 2, seed=1), affine(50, 2, seed=2)
    error = random_metrics.mean_metric(mean, deviation, torch.randn(40, 2), 1000, rng).error.square().mean(1).sqrt()
    exponent = (error[-1] / error[0]).log() / torch.tensor(100.0).log()
    assert -0.65 < exponent < -0.35


def test_without_noise_the_mean_metric_is_the_metric_of_the_mean():
    (mean, _), z = affine(8, 2), torch.randn(3, 2)
    found = random_metrics.mean_metric(mean, lambda z: torch.full((len(z), 8), 0.3), z, 10, rng)
    torch.testing.assert_close(found.error, torch.zeros(1, 3))
    torch.testing.assert_close(found.excess, torch.zeros(3))


def test_the_formula_is_the_derivative_of_the_random_decoder():
    def mean(z):
        return torch.cat([z.sin(), z.exp()], 1)

    def deviation(z):
        return torch.cat([z.cosh(), 1 / z.cosh()], 1)

    z = torch.randn(4, 2)
    assert random_metrics.formula_error(mean, deviation, z, rng(1)) < 1e-12


def test_the_relative_spread_of_independent_pixels_falls_with_the_root_of_their_number():
    mean, deviation = independent(1000)
    found = random_metrics.relative_spread(mean, deviation, torch.randn(5, 2), 300, rng)
    assert found.pixels == [8, 16, 32, 64, 128, 256, 512, 1000]
    torch.testing.assert_close(found.exponent, torch.full((5,), -0.5), atol=0.03, rtol=0)
    # the trace is twice a chi-squared of as many degrees as pixels: its spread is the root of two over their number
    wanted = (2 / torch.tensor(found.pixels, dtype=torch.float64)).sqrt()
    torch.testing.assert_close(found.relative.mean(1), wanted, rtol=0.1, atol=0)


def test_no_more_pixels_are_asked_for_than_there_are():
    mean, deviation = independent(20)
    assert random_metrics.relative_spread(mean, deviation, torch.randn(2, 2), 20, rng).pixels == [8, 16, 20]
