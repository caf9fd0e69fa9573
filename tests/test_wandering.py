import math

import pytest
import torch
from conftest import affine

from lib.protocols import wandering


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def planted(*distance):
    """Walkers at the given distances, ``[times, walkers]``, from a code at the origin."""
    found = torch.tensor(distance)
    return wandering.Wander(torch.stack([found, torch.zeros_like(found)], 2), found, torch.ones(found.shape[1]))


def test_the_scale_of_a_flat_map_makes_the_wanted_step():
    z = torch.randn(20, 2)
    assert wandering.equal_step(lambda z: z, z, 0.15) == pytest.approx(0.15)
    assert wandering.equal_step(lambda z: 7 * z, z, 0.15) == pytest.approx(7 * 0.15)
    # lengths 1 and 2: the inverse metric has the trace 1 + 1/4
    assert wandering.equal_step(lambda z: z * torch.tensor([1.0, 2.0]), z, 1.0) == pytest.approx((2 / 1.25) ** 0.5)


def test_the_typical_code_is_the_median():
    z = torch.tensor([[0.0], [1.0], [9.0]])
    assert wandering.equal_step(lambda z: z**2 / 2 + z, z, 1.0) == pytest.approx(2)  # slopes 1, 2, 10


def test_walks_on_any_flat_map_have_the_same_typical_step():
    decoder, _ = affine(9, 2)
    for f in (lambda z: z, decoder):
        starts = torch.zeros(5000, 2)
        found = wandering.wander(f, torch.randn(50, 2), starts, steps=10, step=0.15, rng=seeded())
        assert found.z[1].square().sum(1).mean() == pytest.approx(10 * 2 * 0.15**2, rel=0.05)


def test_the_distance_is_that_to_the_nearest_code():
    codes = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    starts = torch.tensor([[1.0, 0.0], [7.0, 0.0], [10.0, 4.0]])
    found = wandering.wander(lambda z: z, codes, starts, steps=10, step=1e-9, rng=seeded())
    torch.testing.assert_close(found.distance, torch.tensor([1.0, 3.0, 4.0]).repeat(2, 1), atol=1e-6, rtol=0)


def test_a_walker_that_is_lost_is_infinitely_far():
    def flat_beyond_one(z):
        return torch.where(z < 1, z, torch.ones_like(z))

    codes = torch.zeros(5, 2)
    found = wandering.wander(flat_beyond_one, codes, torch.zeros(50, 2), steps=20, step=0.3, rng=seeded())
    lost = found.z.isnan().any(2)
    assert 0 < lost[-1].sum() < 50
    assert (found.distance.isinf() == lost).all()
    assert wandering.far_after(found, 20, 1e9).value == pytest.approx(float(lost[-1].double().mean()))


def test_on_a_flat_map_all_four_walks_are_the_same():
    found = wandering.four_walks(
        lambda z: 3 * z, lambda z: 5 * z, torch.randn(30, 2), torch.randn(8, 2), steps=20, step=0.1, rng=seeded
    )
    assert list(found) == ["Euclidean", "metric of the mean", "metric with RBF variance", "Metropolis"]
    first = found["Euclidean"]
    for kind in list(found)[1:3]:
        torch.testing.assert_close(found[kind].z, first.z)
    assert found["Metropolis"].accepted.tolist() == [1] * 8


def test_only_the_last_walk_refuses_steps_and_only_the_mean_lacks_the_deviation():
    def whole(z):
        return torch.cat([z, 2 * z.square()], 1)

    found = wandering.four_walks(
        lambda z: z, whole, torch.randn(30, 2), torch.randn(40, 2), steps=50, step=0.5, rng=seeded
    )
    torch.testing.assert_close(found["metric of the mean"].z, found["Euclidean"].z)
    assert not torch.equal(found["metric with RBF variance"].z, found["Euclidean"].z)
    assert all((found[kind].accepted == 1).all() for kind in list(found)[:3])
    assert (found["Metropolis"].accepted < 1).any()


def test_shares_beyond_a_limit_are_those_planted():
    found = planted([0.0, 0.0, 0.0, 0.0], [9.0, 0.0, 0.0, 0.0], [9.0, 1.0, 0.5, 0.0])
    assert wandering.far_after(found, 0, 0.5).value == 0
    assert wandering.far_after(found, 10, 0.5).value == 0.25
    assert wandering.far_after(found, 20, 0.5).value == 0.5  # what lies on the limit is not beyond it
    assert wandering.far_after(found, 20, 0.5).n == 4


def test_time_far_away_counts_the_second_half_alone():
    found = planted([9.0, 0.0], [9.0, 0.0], [0.0, 9.0], [0.0, 9.0], [1.0, 0.0])
    torch.testing.assert_close(wandering.time_far(found, 0.5), torch.tensor([1 / 3, 2 / 3]))


def test_walkers_of_several_models_are_joined_side_by_side():
    found = wandering.joined([planted([0.0, 1.0], [2.0, 3.0]), planted([4.0], [5.0])])
    assert found.distance.tolist() == [[0, 1, 4], [2, 3, 5]]
    assert found.z[1, :, 0].tolist() == [2, 3, 5]
    assert len(found.accepted) == 3


def test_the_measure_is_that_where_the_walkers_are():
    def stretched(z):
        return torch.cat([z[:, :1] ** 2 / 2, z[:, 1:]], 1)  # the measure is the first latent

    found = planted([1.0, 1.0], [1.0, 1.0], [100.0, torch.nan], [1.0, 1.0], [1.0, 1.0])
    torch.testing.assert_close(wandering.measure_there(stretched, found), torch.tensor([2.0]))


def test_the_measure_is_taken_at_every_fiftieth_step_of_the_second_half():
    found = planted(*([float(time + 1)] for time in range(21)))  # the second half begins at the eleventh
    values = wandering.measure_there(lambda z: torch.cat([z[:, :1] ** 2 / 2, z[:, 1:]], 1), found)
    torch.testing.assert_close(10**values, torch.tensor([11.0, 16.0, 21.0]))


def test_the_first_codes_are_the_typical_ones():
    codes = torch.cat([torch.zeros(wandering.TYPICAL, 1), torch.full((wandering.TYPICAL + 1, 1), 9.0)])
    starts = torch.full((4000, 1), 0.0)

    def steep_away(z):
        return torch.where(z < 5, z, 100 * z)  # a walk by the typical codes has steps of the wanted size

    found = wandering.wander(steep_away, codes, starts, steps=10, step=0.1, rng=seeded())
    assert found.z[1].square().mean() == pytest.approx(10 * 0.1**2, rel=0.1)
    assert len(found.z) == 2


def test_on_a_circle_the_measure_of_a_radial_map_is_constant():
    def radial(z):
        return z * z.square().sum(1, keepdim=True)  # the determinant is 3 r^4

    found = wandering.measure_on_circle(radial, 10.0, torch.zeros(1))
    torch.testing.assert_close(found, torch.full((60,), math.log10(3) + 4))
