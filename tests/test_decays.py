import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from conftest import affine, sphere
from torch.distributions import Normal

from lib.measures.paths import decay_by_radius
from lib.models.convolutional import Convolutional, ConvVAEFit
from lib.models.data import Dataset
from lib.protocols import decays

SETTINGS = {"radii": (0.5, 1.0), "reach": 50.0}


@pytest.mark.parametrize("direction", [0, 1, -1])
def test_the_decay_of_an_affine_map_is_the_priors_in_every_direction(direction):
    decoder, matrix = affine(6, 3)
    sigma = torch.linalg.svdvals(matrix)[direction]
    found = decays.along(decoder, decays.measure(decoder, torch.randn(4, 3)), direction, rank=2, **SETTINGS)
    torch.testing.assert_close(found, torch.stack([-0.5 / sigma**2, -1 / sigma**2]).expand(4, 2))


def test_over_directions_is_the_mean_over_radii():
    decoder, matrix = affine(6, 3)
    found = decays.over_directions(decoder, decays.measure(decoder, torch.randn(4, 3)), [2, 0], rank=3, **SETTINGS)
    expected = -0.75 / torch.linalg.svdvals(matrix)[[2, 0]] ** 2
    torch.testing.assert_close(found, expected[:, None].expand(2, 4))


def test_the_decay_of_an_affine_map_does_not_depend_on_the_rank():
    decoder, matrix = affine(6, 3)
    found = decays.over_ranks(decoder, decays.measure(decoder, torch.randn(4, 3)), **SETTINGS)
    torch.testing.assert_close(found, (-0.75 / torch.linalg.svdvals(matrix)[0] ** 2).expand(3))


@pytest.mark.parametrize("rank", [1, 2])
def test_over_ranks_is_the_decay_at_each(rank):
    z = torch.tensor([[0.9, 0.1], [1.2, -1.0]])
    settings = {"radii": (0.1, 0.3), "reach": 2.0}
    found = decays.over_ranks(sphere, decays.measure(sphere, z), **settings)
    expected = decay_by_radius(sphere, z, rank=rank, **settings)
    assert found[rank - 1].item() == pytest.approx(expected.mean().item())
    assert found[0].item() != pytest.approx(found[1].item())


def test_a_radius_that_is_not_travelled_does_not_enter_the_mean_over_ranks():
    peaks = decays.measure(torch.tanh, torch.tensor([[0.0], [1.0], [0.1]]))
    settings = {"radii": (0.2, 0.5), "reach": 8.0}
    by_radius = decays.along(torch.tanh, peaks, 0, rank=1, **settings)
    assert by_radius.isnan().tolist() == [[False, False], [False, True], [False, False]]
    found = decays.over_ranks(torch.tanh, peaks, **settings)
    assert found.item() == pytest.approx(by_radius.nanmean(0).mean().item())


def test_the_profile_of_a_plane_is_a_parabola_as_far_as_the_radius():
    decoder, matrix = affine(6, 3)
    z = torch.randn(1, 3)
    found = decays.profile(decoder, z, 1, rank=2, radius=1.5, reach=50.0, n=41, shown=3)
    sigma = torch.linalg.svdvals(matrix)[1]
    torch.testing.assert_close(found.s, torch.linspace(-1.5, 1.5, 41))
    torch.testing.assert_close(found.log_p + found.log_p.flip(0), -((found.s / sigma) ** 2))
    torch.testing.assert_close(found.images[1:2], decoder(z))
    assert (found.images[2] - found.images[0]).norm().item() == pytest.approx(3)


def test_a_profile_that_does_not_travel_the_radius_ends_at_the_reach():
    found = decays.profile(lambda z: 0.1 * z, torch.ones(1, 1), 0, rank=1, radius=5.0, reach=2.0)
    assert (found.s[0].item(), found.s[-1].item()) == pytest.approx((-0.2, 0.2))
    assert found.s[20].item() == pytest.approx(0)


def test_a_profile_that_is_short_on_one_side_is_centred_on_its_point():
    found = decays.profile(torch.tanh, torch.ones(1, 1), 0, rank=1, radius=0.5, reach=4.0, n=401)
    assert found.s[0].item() * found.s[-1].item() < 0
    assert min(-found.s[0].item(), found.s[-1].item()) == pytest.approx(math.tanh(5) - math.tanh(1), abs=2e-3)
    assert max(-found.s[0].item(), found.s[-1].item()) == pytest.approx(0.5, abs=6e-3)


def test_the_last_direction_shows_the_priors_parabola_over_its_own_arclength():
    decoder, matrix = affine(6, 3)
    sigma = torch.linalg.svdvals(matrix)[-1].item()
    found = decays.last_direction(decoder, torch.randn(4, 3), rank=2, span=3.0)
    torch.testing.assert_close(found.travelled, torch.full((4,), 3 * sigma))
    torch.testing.assert_close(found.decay, torch.full((4,), -9 / (3 * sigma)))
    default = decays.last_direction(decoder, torch.randn(1, 3), rank=2)
    assert default.travelled.item() == pytest.approx(2 * sigma)


def test_positions_where_fewer_than_three_points_have_a_decay_are_left_out():
    nan = math.nan
    found = decays.means([0.1, 0.5, 1.0], torch.tensor([[1.0, 2.0, 6.0], [1.0, nan, 2.0], [5.0, 5.0, 5.0]]), seed=0)
    assert found.positions == [0.1, 1.0]
    assert [mean.value for mean in found.decays] == [3, 5]


def test_a_direction_counts_where_it_moves_the_output_in_every_model():
    first = torch.tensor([[10.0, 4.0, 2.0, 0.1], [10.0, 4.0, 1.0, 0.1]])
    second = torch.tensor([[1.0, 0.12, 0.15, 0.01]])
    assert decays.non_degenerate([first, second], [0, 1, 3], share=0.1) == [0, 1]
    assert decays.non_degenerate([first, second], [2, 0, 1], share=0.15) == [0, 1]


def test_decays_are_combined_over_the_directions_that_have_one():
    nan = math.nan
    found = decays.combine(torch.tensor([[-1.0, nan, nan], [-3.0, -2.0, nan]]))
    torch.testing.assert_close(found.mean, torch.tensor([-2.0, -2.0, nan]), equal_nan=True)
    torch.testing.assert_close(found.strongest, torch.tensor([-3.0, -2.0, nan]), equal_nan=True)


def test_separation_is_one_where_every_point_of_the_memorised_model_decays_more():
    low, high = torch.arange(5.0) - 10, torch.arange(6.0)
    assert decays.separation(low, high, seed=0)[:4] == (1, 1, 1, 11)
    assert decays.separation(high, low, seed=0).value == 0
    mixed = decays.separation(torch.tensor([0.0, 2.0, 4.0, 6.0]), torch.tensor([1.0, 3.0, 5.0, 7.0]), seed=0)
    assert mixed.value == pytest.approx(10 / 16)
    assert mixed.low < mixed.value < mixed.high


class Still(NamedTuple):
    """A stand-in for a network whose codes are its images, two latents each, and whose generator is given."""

    generate: Callable

    def parameters(self):
        return iter([torch.zeros(1)])

    def encode(self, x):
        return Normal(x.flatten(1), 1.0)


def fitted(decoder, count):
    return ConvVAEFit(Convolutional(count), torch.arange(count), torch.zeros(1), Still(decoder))


def test_both_models_of_a_pair_are_measured_at_points_of_their_own():
    train = torch.rand(8, 1, 1, 2)
    data = Dataset("planted", train, torch.zeros(8, dtype=torch.long), train, torch.zeros(8, dtype=torch.long), "")
    matrix = torch.diag(torch.tensor([2.0, 1.0]))
    fits = {
        "memorised": fitted(lambda z: z @ matrix, 3),
        "well trained": fitted(lambda z: z @ matrix / 2, 8),
    }
    how = {"directions": [0, 1], "smallest": 0.1, "rank": 2, "reach": 50.0, "radii": (0.5, 1.0)}
    found = decays.of_pair(fits, data, 5, 2, **how)
    assert {name: len(each.mean) for name, each in found.items()} == {"memorised": 3, "well trained": 5}
    for name, sigma in (("memorised", (2, 1)), ("well trained", (1, 0.5))):
        expected = {"mean": -0.75 / sigma[0] ** 2, "smallest": -0.1 / sigma[0] ** 2, "others": -0.75 / sigma[1] ** 2}
        for what, value in expected.items():
            values = getattr(found[name], what)
            assert len(values) == (2 if what == "others" else len(found[name].mean))
            torch.testing.assert_close(values, torch.full_like(values, value))
        # Two latent units travel 2 σ, over which the prior alone falls by four nats.
        torch.testing.assert_close(found[name].last, torch.full((2,), -4 / (2 * sigma[1])))
    assert decays.of_pair(fits, data, 5, 2, **(how | {"directions": [0]}))["memorised"].others is None


def test_what_decays_more_is_told_apart():
    assert decays.told_apart(np.array([-3.0, -2.0]), np.array([-1.0, 0.0])) == 1
    assert decays.told_apart(np.array([-1.0, 0.0]), np.array([-1.0, 0.0])) == 0.5
