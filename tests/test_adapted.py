import pytest
import torch

from lib.measures.land import Land
from lib.protocols import adapted


def flat(z):
    """A flat decoder that stretches area sixfold."""
    return z * torch.tensor([2.0, 3.0])


def normal(n, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(n, 2, generator=draws) @ torch.tensor([[1.0, 0.6], [0.0, 0.5]]) + torch.tensor([0.5, -1.0])


def adapt(decoder=flat, components=1, codes=None, held_out=None, side=40):
    codes = normal(60) if codes is None else codes
    held_out = normal(30, 1) if held_out is None else held_out
    return adapted.adapt(decoder, codes, held_out, components=components, nodes=128, side=side, seed=0)


def judged(adapted_log_p, gaussian_log_p, ess):
    nothing = torch.zeros(1)
    mixture = Land(nothing, nothing[None], nothing[None, None], nothing, torch.tensor(ess), nothing, 0)
    maps = adapted.Maps(nothing[None], nothing[None], [], (1.0, 1.0))
    return adapted.Adapted(mixture, torch.tensor(gaussian_log_p), torch.tensor(adapted_log_p), maps)


def test_with_a_flat_decoder_it_is_the_normal_distribution_whatever_the_stretch():
    codes = normal(60)
    exact = torch.distributions.MultivariateNormal(codes.mean(0), torch.cov(codes.T, correction=0))
    found = adapt(codes=codes)
    torch.testing.assert_close(found.gaussian, exact.log_prob(normal(30, 1)), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.adapted, found.gaussian, atol=0.1, rtol=0)
    assert abs(float((found.adapted - found.gaussian).mean())) < 0.03


def test_both_densities_integrate_to_one_over_a_fine_map():
    codes = torch.cat([normal(60), torch.randn(1, 2) + 8, torch.randn(1, 2) - 8])  # which make the map wide
    assert adapt(codes=codes, components=1).maps.totals == pytest.approx((1, 1), abs=0.05)


def test_the_maps_show_the_densities_at_the_middles_of_their_cells():
    codes = torch.tensor([[0.0, 0.0], [2.0, 4.0], [1.0, 1.0], [0.5, 3.0], [1.5, 1.5]])
    left, right, bottom, top = -0.7, 2.7, -0.7, 4.7
    found = adapt(codes=codes, held_out=torch.tensor([[left + 3.4 * 2.5 / 8, bottom + 5.4 * 6.5 / 8]] * 3), side=8)
    assert found.maps.extent == pytest.approx([left, right, bottom, top])
    torch.testing.assert_close(found.maps.gaussian[2, 6], found.gaussian[0])
    torch.testing.assert_close(found.maps.land[2, 6], found.adapted[0])


def test_a_wall_round_the_codes_is_worth_adapting_to():
    """Codes on a bent line, with a decoder that stretches across the line and not along it."""

    def bent(z):
        across = z[:, 1:] - z[:, :1].square() / 2
        return torch.cat([z[:, :1], 20 * across.tanh()], 1)

    draws = torch.Generator().manual_seed(0)
    along = torch.randn(90, 1, generator=draws)
    codes = torch.cat([along, along**2 / 2 + 0.05 * torch.randn(90, 1, generator=draws)], 1)
    found = adapt(bent, codes=codes[:60], held_out=codes[60:], side=4)
    assert (found.adapted - found.gaussian).nanmean() > 0.3


def test_the_comparison_averages_codes_over_models_and_adds_the_constants_error():
    first = judged([1.0, 2.0, 3.0, 2.0], [0.0, 1.0, 1.0, 1.0], [100.0, 25.0])  # 1, 1, 2, 1 and (.01 + .04) / 2
    second = judged([5.0, 5.0, 5.0, 5.0], [2.0, 2.0, 2.0, 4.0], [40.0])  # 3, 3, 3, 1 and .025
    found = adapted.compare([first, second], seed=0)
    assert [gain.value for gain in found.models] == [1.25, 2.5]
    assert found.gain.value == found.over_codes.value == 1.875  # 2, 2, 2.5, 1
    error = 1.96 * (0.05 / 4) ** 0.5
    assert found.over_codes.low - found.gain.low == pytest.approx(error)
    assert found.gain.high - found.over_codes.high == pytest.approx(error)


def test_a_code_that_one_model_has_no_path_to_is_missing():
    first = judged([1.0, 2.0, torch.nan, 2.0, 1.5], [0.0] * 5, [100.0])
    found = adapted.compare([first, first], seed=0)
    assert (found.gain.n, found.gain.missing) == (4, 1)
