import math

import pytest
import torch

from lib.protocols import doubt
from lib.protocols.doubt import Doubt
from lib.protocols.embeddings import lattice


class Wall:
    """A mean that is the latent itself, and a deviation that rises from 0.1 to 10 at a radius of two."""

    @staticmethod
    def generate(z):
        return z

    @staticmethod
    def deviation(z):
        radius = z.norm(dim=1, keepdim=True)
        return (10 ** (2 * torch.sigmoid(40 * (radius - 2)) - 1)).expand(-1, 3)


CODES = torch.tensor([[0.0, 0.0], [0.5, 0.0], [0.0, 0.5]], dtype=torch.float64)


def test_a_wall_between_codes_and_emptiness_is_found_with_its_height():
    far = torch.tensor([[5.0, 0.0], [0.0, 6.0], [0.3, 0.3]])  # the third is near
    found = doubt.doubt(Wall.deviation, CODES, far)
    assert found.far_over_near == pytest.approx(2.0, abs=1e-6)
    assert found.surer == 0.0


def test_a_deviation_that_is_lowest_far_away_is_surer_there():
    found = doubt.doubt(lambda z: 1 / Wall.deviation(z), CODES, torch.tensor([[5.0, 0.0], [0.0, 6.0]]))
    assert found == pytest.approx((-2.0, 1.0), abs=1e-6)


def test_a_place_near_one_of_several_codes_is_left_out():
    codes = torch.tensor([[0.0, 0.0], [9.0, 0.0]])
    found = doubt.doubt(lambda z: (z[:, :1] - 4).abs(), codes, torch.tensor([[0.9, 0.0], [4.1, 0.0]]))
    assert found.far_over_near == pytest.approx(-1 - math.log10(4 * 5) / 2)  # of the second place alone


def test_as_sure_as_the_median_code_is_not_surer():
    found = doubt.doubt(lambda z: torch.ones(len(z), 1), torch.zeros(1, 2), torch.tensor([[5.0, 0.0]]))
    assert found == (0.0, 0.0)


def test_the_ratio_is_of_geometric_means():
    found = doubt.doubt(lambda z: z[:, :1].abs() + 1, torch.zeros(1, 2), torch.tensor([[9.0, 0.0], [99.0, 0.0]]))
    assert found.far_over_near == pytest.approx(1.5)


def test_places_that_are_all_near_decide_nothing():
    with pytest.raises(ValueError, match="none of 3 places"):
        doubt.doubt(Wall.deviation, CODES, CODES)


def test_a_map_shows_the_measure_of_mean_and_deviation_with_its_origin_below():
    class Growing(Wall):
        @staticmethod
        def generate(z):
            return torch.stack([z[:, 0].exp(), z[:, 1]], 1)

        @staticmethod
        def deviation(z):
            return torch.full((len(z), 1), 0.01) * z[:, 1:].exp()

    found = doubt.latent_map(Growing(), torch.tensor([[0.0, 0.0], [1.0, 2.0]]), 5, margin=1.0)
    assert found.extent == [-1.0, 2.0, -1.0, 3.0]
    x = torch.linspace(-1, 2, 5)
    y = torch.linspace(-1, 3, 5)
    torch.testing.assert_close(found.deviation, (y / math.log(10) - 2)[:, None].expand(5, 5))
    measure = (x.exp() * (1 + (0.01 * y.exp()[:, None]).square()).sqrt()).log10()
    torch.testing.assert_close(found.measure, measure)


def test_models_are_averaged_and_compared_in_pairs():
    first, second = [Doubt(2.0, 0.0), Doubt(4.0, 0.2)], [Doubt(1.0, 0.5), Doubt(3.0, 0.5)]
    found = doubt.over_models(first)
    assert (found.far_over_near.value, found.surer.value) == pytest.approx((3.0, 0.1))
    assert tuple(doubt.gain(first, second)[:3]) == (1.0, 1.0, 1.0)


def test_a_wall_is_seen_from_the_maps_of_all_models():
    shifted = [CODES, CODES + 0.1]
    found = doubt.doubts([Wall(), Wall()], shifted, 30)
    assert len(found) == 2
    assert found[0] != found[1]
    assert found[1] == doubt.doubt(Wall.deviation, shifted[1], lattice(shifted[1], 30).nodes)
