"""How near samples come to training images, against what can be derived for points of constant density."""

import math

import pytest
import torch

from lib.measures.copying import (
    authentic,
    authenticity,
    authenticity_null,
    calibrated_distance,
    nearer_to_training,
    neighbour_ratio,
    neighbour_ratio_null,
)


def images(n, shape=(1, 4, 4)):
    return torch.randn(n, *shape)


def locally_uniform(repeats, points, d):
    """The origin, which is fresh, in the middle of uniform points of a ball: [repeats, points, d]."""
    directions = torch.nn.functional.normalize(torch.randn(repeats, points, d), dim=2)
    return directions * torch.rand(repeats, points, 1) ** (1 / d)


MEASURES = (neighbour_ratio, authentic, lambda *sets: calibrated_distance(*sets, neighbours=5))


@pytest.mark.parametrize("measure", MEASURES)
def test_translation_rotation_scale_and_order_do_not_matter(measure):
    samples, train = torch.randn(30, 6), torch.randn(50, 6)
    expected = measure(samples, train)
    turn = torch.linalg.qr(torch.randn(6, 6))[0]
    for change in (lambda x: x + 3, lambda x: 7 * x, lambda x: x @ turn):
        torch.testing.assert_close(measure(change(samples), change(train)), expected)
    torch.testing.assert_close(measure(samples, train[torch.randperm(50)]), expected)
    order = torch.randperm(30)
    torch.testing.assert_close(measure(samples[order], train), expected[order])


@pytest.mark.parametrize("measure", [neighbour_ratio, authentic, authenticity, calibrated_distance])
def test_images_are_vectors_and_blocks_do_not_matter(measure):
    samples, train = images(20), images(60)
    expected = measure(samples, train)
    for found in (measure(samples.flatten(1), train.flatten(1)), measure(samples, train, chunk=3)):
        assert torch.equal(torch.as_tensor(found), torch.as_tensor(expected))


# the ratio of the two nearest


def test_the_ratio_of_known_distances():
    train = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 30.0]])
    torch.testing.assert_close(
        neighbour_ratio(torch.tensor([[1.0, 0.0], [2.0, 0.0]]), train), torch.tensor([1 / 3, 1.0])
    )


def test_the_ratio_of_a_copy_is_zero_and_of_the_middle_one():
    train = images(9)
    assert neighbour_ratio(train[:4].float(), train.float()).tolist() == [0] * 4
    torch.testing.assert_close(neighbour_ratio(train[:2].mean(0, keepdim=True), train[:2]), torch.ones(1))


@pytest.mark.parametrize("d", [2, 5])
def test_the_ratio_of_fresh_images_is_below_r_with_the_probability_r_to_the_d(d):
    repeats = 4000
    points = locally_uniform(repeats, 20, d)
    ratio = torch.cat([neighbour_ratio(torch.zeros(1, d), train) for train in points])
    for r in (1 / 3, 0.5, 0.8, 0.95):
        expected = neighbour_ratio_null(r, d)
        error = (expected * (1 - expected) / repeats) ** 0.5
        assert (ratio < r).double().mean().item() == pytest.approx(expected, abs=4 * error)


def test_the_level_of_one_third():
    assert neighbour_ratio_null(1 / 3, 2) == pytest.approx(1 / 9)
    assert neighbour_ratio_null(1 / 3, 13) == pytest.approx(6.27e-7, rel=1e-3)
    assert [neighbour_ratio_null(r, 4) for r in (0, 1)] == [0, 1]


# authenticity


def test_one_sample_is_authentic_if_its_neighbour_has_a_nearer_one():
    train = torch.tensor([[0.0], [2.0], [10.0]])
    samples = torch.tensor([[-1.9], [-2.0], [-2.1], [4.1], [9.0], [17.9], [18.1]])
    assert authentic(samples, train).tolist() == [False, False, True, True, False, False, True]
    assert authenticity(samples, train) == pytest.approx(3 / 7)


def test_copies_are_not_authentic_nor_what_is_nearer_than_any_neighbour():
    train = images(50)
    assert authenticity(train, train) == 0
    assert authenticity(train + 1e-3 * images(50), train) == 0
    assert authenticity(train + 1e3, train) == 1
    assert authenticity(train, torch.cat([train, train])) == 0  # a double is as near as a copy, not nearer


CAP = {1: 1 / 2, 2: 2 / 3 - 3**0.5 / (2 * math.pi), 3: 5 / 16}
"""the part of a ball that another of the same radius covers, whose centre is on its surface"""


@pytest.mark.parametrize("d", [1, 2, 3])
def test_chance_for_authenticity_by_elementary_geometry(d):
    assert authenticity_null(d) == pytest.approx(1 - 1 / (2 - CAP[d]))


def test_chance_for_authenticity_approaches_a_half_from_a_third():
    values = [authenticity_null(d) for d in (1, 2, 3, 8, 20, 100)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(1 / 3)
    assert values[-1] == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize(("d", "points"), [(1, 40), (2, 60), (3, 80), (8, 600)])
def test_fresh_images_are_authentic_as_often_as_derived(d, points):
    """Ten balls of points at a time, far from each other, with a fresh image in the middle of each."""
    found, places = [], 100 * torch.arange(10.0)[:, None, None]
    for _ in range(800):
        train = (locally_uniform(10, points, d) + places).flatten(0, 1)
        found.append(authentic(places[:, 0].expand(10, d), train))
    found = torch.cat(found).double()
    assert found.mean().item() == pytest.approx(authenticity_null(d), abs=4 * found.std().item() / len(found) ** 0.5)


def test_chance_for_authenticity_is_not_that_of_constant_density_where_the_density_falls_within_a_distance():
    """Normal data in 32 dimensions: the nearest training image lies farther inwards and has neighbours of its own there."""
    train, fresh = torch.randn(2, 1500, 32)
    assert authenticity(fresh, train) > authenticity_null(32) + 0.15


# held-out images


def test_nearer_to_training_counts_ties_as_half():
    train, held_out = torch.tensor([[0.0], [10.0]]), torch.tensor([[2.0], [20.0]])
    assert nearer_to_training(torch.tensor([[0.5]]), train, held_out) == 1
    assert nearer_to_training(torch.tensor([[1.5]]), train, held_out) == 0
    assert nearer_to_training(torch.tensor([[1.0], [0.0], [10.0], [9.0]]), train, held_out) == 0.875


def test_exchanging_the_sets_gives_the_rest():
    samples, train, held_out = images(40), images(25), images(25)
    share = nearer_to_training(samples, train, held_out)
    assert nearer_to_training(samples, held_out, train) == pytest.approx(1 - share)
    assert nearer_to_training(samples, train, held_out, chunk=7) == share
    assert nearer_to_training(samples, train, train) == 0.5
    assert nearer_to_training(train, train, held_out) == 1


def test_chance_is_one_half_and_the_share_scatters_more_than_independent_cases_do():
    shares = []
    for _ in range(300):
        every, samples = torch.randn(40, 3), torch.randn(200, 3)
        shares.append(nearer_to_training(samples, every[:20], every[20:]))
    shares = torch.tensor(shares)
    assert shares.mean().item() == pytest.approx(0.5, abs=4 * shares.std().item() / 300**0.5)
    assert shares.std() > 1.5 * (0.25 / 200) ** 0.5


def test_unequal_sizes_are_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"got 10 and 20: with unequal sizes chance is not 1/2 .* here 0\.667"):
        nearer_to_training(images(5), images(20), images(10))


# the calibrated distance


def test_the_calibrated_distance_of_known_points():
    train = torch.tensor([[0.0], [1.0], [3.0], [100.0]])
    samples = torch.tensor([[-0.5], [104.0]])
    # The neighbours of 0 are 1 and 3; those of 100 are 3 and 1.
    torch.testing.assert_close(
        calibrated_distance(samples, train, neighbours=2), torch.tensor([0.5 / (0.5 * 2), 4 / (0.5 * 98)])
    )
    torch.testing.assert_close(calibrated_distance(samples, train, neighbours=2, alpha=1), torch.tensor([0.25, 4 / 98]))


def test_defaults_are_those_of_the_paper():
    samples, train = images(5), images(60)
    torch.testing.assert_close(
        calibrated_distance(samples, train), calibrated_distance(samples, train, neighbours=50, alpha=0.5)
    )


def test_a_training_image_is_at_zero_and_not_its_own_neighbour():
    train = images(6)
    assert calibrated_distance(train, train, neighbours=5).tolist() == [0] * 6
    others = torch.stack([(train[0] - train[j]).norm() for j in range(1, 6)]).mean()
    near = train[:1] + 1e-3
    torch.testing.assert_close(
        calibrated_distance(near, train, neighbours=5), ((near[0] - train[0]).norm() / others / 0.5)[None]
    )


# what cannot be measured


def test_bad_input_is_refused():
    samples, train = images(4), images(9)
    for measure in (neighbour_ratio, authentic, authenticity):
        with pytest.raises(ValueError, match="2 or more training images are needed, got 1"):
            measure(samples, train[:1])
        with pytest.raises(ValueError, match="1 or more samples are needed, got 0"):
            measure(samples[:0], train)
        with pytest.raises(ValueError, match="9 of 9 training images are not finite"):
            measure(samples, train * torch.nan)
    with pytest.raises(ValueError, match="4 of 4 samples equal two training images or more"):
        neighbour_ratio(train[:4], torch.cat([train, train]))
    with pytest.raises(ValueError, match="51 or more training images are needed, got 9"):
        calibrated_distance(samples, train)
    with pytest.raises(ValueError, match="neighbours must be at least 1 and alpha positive, got 2 and 0"):
        calibrated_distance(samples, train, neighbours=2, alpha=0)
    with pytest.raises(ValueError, match="1 training images equal all of their 2 neighbours"):
        calibrated_distance(samples, train[:1].repeat(3, 1, 1, 1), neighbours=2)
    for dimension in (0, -1, math.nan):
        with pytest.raises(ValueError, match="the dimension must be positive"):
            authenticity_null(dimension)
        with pytest.raises(ValueError, match="the dimension must be positive"):
            neighbour_ratio_null(0.5, dimension)
    for ratio in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"the ratio must be in \[0, 1\]"):
            neighbour_ratio_null(ratio, 2)
