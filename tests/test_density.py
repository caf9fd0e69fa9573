import math

import pytest
import torch
from conftest import affine, sphere, torus
from torch.distributions import MultivariateNormal

from lib.measures.density import (
    check_rank,
    log_density,
    log_density_by_rank,
    log_density_by_threshold,
    log_density_from,
    log_prior,
)
from lib.measures.jacobian import singular_values


@pytest.mark.parametrize(("pixels", "latent"), [(1, 1), (4, 4), (9, 4)])
def test_the_image_of_an_affine_map_carries_a_gaussian(pixels, latent):
    decoder, matrix = affine(pixels, latent)
    z = torch.randn(20, latent)
    r = torch.linalg.qr(matrix)[1]
    gaussian = MultivariateNormal(torch.zeros(latent), r @ r.T)
    torch.testing.assert_close(log_density(decoder, z), gaussian.log_prob(z @ r.T))


@pytest.mark.parametrize(("chart", "log_volume"), [
    (sphere, lambda z: z[:, 0].sin().log()),
    (torus, lambda z: (0.5 * (2 + 0.5 * z[:, 1].cos())).log()),
])  # fmt: skip
def test_curved_charts_have_their_closed_form_volume(chart, log_volume):
    z = torch.rand(20, 2) * 2 + 0.2
    torch.testing.assert_close(log_density(chart, z), log_prior(z) - log_volume(z))


def test_the_density_on_a_torus_integrates_to_one():
    grid = torch.linspace(-8, 8, 257)
    u, v = (axis.flatten() for axis in torch.meshgrid(grid, grid, indexing="ij"))
    z = torch.stack([u, v], dim=1)
    area = 0.5 * (2 + 0.5 * v.cos()) * (grid[1] - grid[0]) ** 2  # of each cell on the surface, covered again and again
    assert (log_density(torus, z).exp() * area).sum().item() == pytest.approx(1, abs=1e-6)


def test_a_wide_map_counts_its_pixels_only():
    decoder, matrix = affine(2, 5)
    z = torch.randn(3, 5)
    torch.testing.assert_close(log_density(decoder, z), log_prior(z) - torch.linalg.svdvals(matrix).log().sum())


def test_the_rank_keeps_the_largest_singular_values():
    decoder, matrix = affine(6, 4)
    z = torch.randn(3, 4)
    values = torch.linalg.svdvals(matrix)
    for rank in (1, 3, 4):
        torch.testing.assert_close(log_density(decoder, z, rank), log_prior(z) - values[:rank].log().sum())


def test_scaling_the_output_shifts_the_log_density_by_the_rank():
    z = torch.randn(5, 2)
    for rank in (1, 2):
        shift = log_density(lambda z: 10 * torus(z), z, rank) - log_density(torus, z, rank)
        torch.testing.assert_close(shift, torch.full((5,), -rank * math.log(10)))


def test_rotating_output_and_latent_changes_nothing():
    decoder, _ = affine(6, 4)
    turn, _ = torch.linalg.qr(torch.randn(4, 4))
    z = torch.randn(5, 4)
    torch.testing.assert_close(log_density(lambda z: decoder(z @ turn), z), log_density(decoder, z @ turn))


def test_single_precision_agrees_with_double_where_the_spectrum_is_wide():
    scale = torch.logspace(0, -3, 6)
    decoder, _ = affine(30, 6)
    z = torch.randn(4, 6)
    double = log_density(lambda z: decoder(z * scale.to(z)), z)
    single = log_density(lambda z: decoder(z * scale.to(z)), z.float())
    torch.testing.assert_close(single.double(), double, atol=1e-4, rtol=1e-5)


def test_all_ranks_at_once_are_the_ranks_one_by_one():
    decoder, _ = affine(6, 4)
    z = torch.randn(3, 4)
    by_rank = log_density_by_rank(z, singular_values(decoder, z))
    for rank in (1, 2, 3, 4):
        torch.testing.assert_close(by_rank[:, rank - 1], log_density(decoder, z, rank))


def test_a_threshold_picks_a_rank_for_each_point():
    z = torch.zeros(2, 3)
    spectrum = torch.tensor([[4.0, 2.0, 1.1], [1.0, 0.2, 0.1]])
    prior = log_prior(z)
    relative = log_density_by_threshold(z, spectrum, 0.3, relative=True)
    torch.testing.assert_close(relative, prior - torch.tensor([4.0 * 2.0, 1.0]).log())
    absolute = log_density_by_threshold(z, spectrum, 0.15, relative=False)
    torch.testing.assert_close(absolute, prior - torch.tensor([4.0 * 2.0 * 1.1, 0.2]).log())


def test_a_singular_value_at_the_threshold_counts_as_zero():
    z, spectrum = torch.zeros(1, 3), torch.tensor([[4.0, 2.0, 0.7]])
    for threshold, relative in ((0.5, True), (2.0, False)):
        found = log_density_by_threshold(z, spectrum, threshold, relative=relative)
        torch.testing.assert_close(found, log_prior(z) - math.log(4))


EPS = torch.finfo(torch.float64).eps


@pytest.mark.parametrize(("pixels", "sizes"), [(100, 100), (1, 2)])
def test_rounding_is_a_share_of_the_largest_value_and_grows_with_the_larger_side(pixels, sizes):
    spectrum = torch.tensor([[4.0, 4.0], [4.0, 4.04 * sizes * EPS]])
    check_rank(spectrum, 2, pixels=pixels)
    for smaller in (1.0, 0.99):  # at the floor, and below it
        spectrum[1, 1] = 4 * sizes * EPS * smaller
        with pytest.raises(ValueError, match="rank 1 at the worst of 1 of 2 points; rank=2 was asked for"):
            check_rank(spectrum, 2, pixels=pixels)
        check_rank(spectrum, 1, pixels=pixels)


def test_the_larger_side_is_that_of_the_decoders_outputs():
    z, hundred = torch.zeros(3, 2), lambda z: z.repeat(1, 50)
    spectrum = torch.tensor([[1.0, 150 * EPS]]).expand(3, 2)
    torch.testing.assert_close(log_density_from(spectrum, hundred, z, None), log_prior(z) - math.log(150 * EPS))
    with pytest.raises(ValueError, match="3 of 3 points"):
        log_density_from(spectrum * torch.tensor([1.0, 0.6]), hundred, z, None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_degenerate_map_has_no_density_of_full_rank(dtype):
    decoder, _ = affine(8, 5, rank=3)
    z = torch.randn(4, 5, dtype=dtype)
    log_density(decoder, z, rank=3)
    with pytest.raises(ValueError, match=r"rank 3 at the worst of 4 of 4 points; rank=4 was asked for"):
        log_density(decoder, z, rank=4)
    with pytest.raises(ValueError, match="rank=5 was asked for"):
        log_density(decoder, z)


@pytest.mark.parametrize("rank", [0, -1, 3])
def test_an_impossible_rank_is_refused(rank):
    with pytest.raises(ValueError, match=rf"rank must be in 1\.\.2 for this decoder .*, got {rank}"):
        log_density(torus, torch.ones(1, 2), rank)
