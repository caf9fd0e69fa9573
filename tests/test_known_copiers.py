"""Samplers whose truth is known by construction: what the tests must say of them."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.mixture import GaussianMixture

from lib.measures import copying
from lib.measures.intervals import share
from lib.protocols import copier_summaries, copier_sweeps, copy_tests, known_copiers
from lib.protocols.copy_tests import LEVEL, MEASURES, Plan, Rules
from lib.protocols.known_copiers import Draw

RULES = Rules(dimension=4.0, cells=1, exchanges=99)
PLAN = Plan(60, 3, (0.05, 1.0), narrow=0.5, wide=2.0, blurred=1.0, noise=0.1)


def drawn(repetition=0, n=60, d=4):
    """Normal points in place of images."""
    points = torch.from_numpy(np.random.default_rng([7, repetition]).standard_normal((3, n, d)))
    return Draw(torch.zeros(n, 1, 2, 2), *points, (7, repetition))


@pytest.fixture(scope="module")
def source():
    images = torch.rand(500, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return known_copiers.source(images, 150, 5, 2, seed=0)


@pytest.fixture(scope="module")
def table(source):
    return copy_tests.table(source, PLAN, RULES, seed=0)


# the samplers


def test_components_are_orthonormal_and_of_images_that_no_sampler_is_measured_with(source):
    torch.testing.assert_close(source.axes.T @ source.axes, torch.eye(5))
    assert len(source.images) == 350


def test_images_of_few_dimensions_are_their_components():
    images = (torch.randn(300, 3) @ torch.randn(3, 16) + 1).view(300, 1, 4, 4)
    flat = known_copiers.source(images, 100, 3, 2, seed=0)
    assert flat.explained == pytest.approx(1)
    torch.testing.assert_close(flat.pictures(flat.coordinates(flat.images)), flat.images)
    assert known_copiers.source(images, 100, 2, 2, seed=0).explained < 0.99


def test_pictures_have_the_coordinates_that_they_were_made_of(source):
    points = torch.randn(4, 5)
    torch.testing.assert_close(source.coordinates(source.pictures(points)), points)


def test_training_held_out_and_fresh_images_are_disjoint_and_of_their_repetition(source):
    first, again, other = (known_copiers.draw(source, 100, repetition, seed=0) for repetition in (0, 0, 1))
    assert len(torch.cat([first.train, first.held_out, first.fresh]).unique(dim=0)) == 300
    assert torch.equal(first.train, again.train)
    assert not torch.equal(first.train, other.train)
    assert torch.equal(source.coordinates(first.images), first.train)


def test_too_few_images_are_refused(source):
    with pytest.raises(ValueError, match="three times 200 images are needed, and 350 are left"):
        known_copiers.draw(source, 200, 0, seed=0)
    with pytest.raises(ValueError, match="500 of 350 images of 64 pixels cannot give 5 components"):
        known_copiers.source(source.images, 500, 5, 2, seed=0)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_a_wider_mixture_has_the_same_means_and_a_covariance_by_the_square(scale):
    mixture = GaussianMixture(1)
    mixture.weights_, mixture.means_ = np.ones(1), np.array([[3.0, -1.0]])
    mixture.covariances_ = np.array([[[2.0, 0.6], [0.6, 1.0]]])
    points = known_copiers.drawn(mixture, 40_000, scale, rng=np.random.default_rng(0))
    torch.testing.assert_close(points.mean(0), torch.tensor([3.0, -1.0]), atol=0.06 * scale, rtol=0)
    expected = scale**2 * torch.from_numpy(mixture.covariances_[0])
    torch.testing.assert_close(points.T.cov(), expected, atol=0.06 * scale**2, rtol=0)


def test_a_memoriser_that_never_copies_is_the_innocent_one_and_the_other_extreme_only_copies():
    images = drawn()
    assert torch.equal(known_copiers.memoriser(images, images.fresh, 0.0, images.train), images.fresh)
    made = known_copiers.memoriser(images, images.fresh, 1.0, images.train)
    assert copying.neighbour_ratio(made, images.train).max() == 0


def test_copies_of_a_lower_probability_are_among_those_of_a_higher_one():
    images = drawn(n=500)
    few, many = (
        (known_copiers.memoriser(images, images.fresh, p, images.train) != images.fresh).any(1) for p in (0.1, 0.4)
    )
    assert (many | ~few).all()
    assert few.double().mean().item() == pytest.approx(0.1, abs=0.05)
    assert many.double().mean().item() == pytest.approx(0.4, abs=0.08)


def test_noise_in_pixels_is_as_large_in_orthonormal_coordinates(source):
    images = known_copiers.draw(source, 100, 0, seed=0)
    made = known_copiers.copies(source, images, 1.0, 0.3)
    assert torch.equal(made["exact"], images.train)
    assert (made["noised"] - images.train).std().item() == pytest.approx(0.3, rel=0.1)
    assert made["blurred"].var(0).sum() < made["exact"].var(0).sum()


# the tests of copying


def test_every_measure_accuses_a_sampler_that_only_copies():
    images = drawn()
    found = {name: measure(images.train, images, RULES) for name, measure in MEASURES.items()}
    values = {name: reading.value for name, reading in found.items() if name != "$C_T$"}
    assert values == {name: float(name != "authenticity") for name in values}
    assert found["$C_T$"].value < -8
    assert all(reading.p <= 1 / (RULES.exchanges + 1) for reading in found.values())


def test_the_surplus_is_the_share_nearer_to_training_images_in_other_units():
    images = drawn()
    value = copy_tests.exchanged(images.fresh, images, RULES).value
    assert value == pytest.approx(2 * copying.nearer_to_training(images.fresh, images.train, images.held_out) - 1)


def test_near_copies_are_counted_where_they_belong():
    train, held_out = torch.tensor([[0.0], [10.0]]), torch.tensor([[4.0], [16.0]])
    images = Draw(torch.zeros(2, 1, 1, 1), train, held_out, train, (0, 0))
    samples = torch.tensor([[0.5], [-0.5], [2.5], [15.0]])
    train_counts, other_counts = copy_tests.near_counts(samples, images, 1 / 3)
    assert (train_counts.tolist(), other_counts.tolist()) == ([2, 0], [0, 1])
    train_counts, other_counts = copy_tests.near_counts(samples, images, 1.0)
    assert (train_counts.tolist(), other_counts.tolist()) == ([2, 0], [1, 1])


def constant(images):
    return torch.zeros_like(images.fresh)


def far(images):
    return 5 * images.fresh


def narrow(images):
    return 0.2 * images.fresh


@pytest.mark.parametrize("sampler", [lambda images: images.fresh, narrow, far, constant])
def test_p_of_the_exchange_is_uniform_for_every_innocent_sampler(sampler):
    repetitions, p = 400, []
    for repetition in range(repetitions):
        images = drawn(repetition, n=30, d=2)
        p.append(copy_tests.exchanged(sampler(images), images, RULES).p)
    for level in (0.05, 0.2, 0.5):
        error = (level * (1 - level) / repetitions) ** 0.5
        assert np.mean(np.array(p) <= level) <= level + 4 * error
    if sampler(images) is images.fresh:  # many different neighbours, so hardly any ties
        assert np.mean(np.array(p) <= 0.5) >= 0.35


def test_samples_as_if_independent_are_accused_more_often_than_the_level_where_they_share_neighbours():
    repetitions = 300
    draws = [drawn(repetition) for repetition in range(repetitions)]
    p = {
        name: [MEASURES[name](0.2 * images.fresh, images, RULES).p for images in draws]
        for name in ("nearer to training", "exchange: nearer")
    }
    alarms = {name: share(int((np.array(values) <= LEVEL).sum()), repetitions) for name, values in p.items()}
    assert alarms["nearer to training"].low > 2 * LEVEL
    assert alarms["exchange: nearer"].low <= LEVEL


def test_held_out_images_instead_of_training_images_are_no_copies_to_an_exchange():
    images = drawn()
    assert copy_tests.exchanged(images.held_out, images, RULES).p == 1


# the table, and what is read from it


def test_the_table_has_a_row_for_every_measure_sampler_and_repetition(table):
    samplers = 5 + 4 * len(PLAN.probabilities)
    assert len(table) == PLAN.repetitions * samplers * len(MEASURES)
    assert table[["value", "p"]].notna().all(axis=None)
    assert table.p.between(0, 1).all()


def test_the_same_seed_gives_the_same_table(source, table):
    pd.testing.assert_frame_equal(copy_tests.table(source, PLAN, RULES, seed=0), table)


def test_without_copies_the_row_is_that_of_the_innocent_sampler(table):
    kinds = [copier_summaries.of(table, "fresh images", kind, 0.0, "$C_T$") for kind in ("exact", "blurred", "none")]
    assert all(each.equals(kinds[0]) for each in kinds)
    assert len(kinds[0]) == PLAN.repetitions


def test_only_copies_are_seen_by_all_and_the_summaries_agree(table):
    power = copier_summaries.power(table, "fresh images", "exact", (0.0, 1.0))
    assert (power[:, 1] == 1).all()
    doses = copier_summaries.smallest_doses(table, [("fresh images", "exact")])
    assert set(doses["exact, fresh images"]) <= {"5 %", "100 %"}
    accused = copier_summaries.accusations(table, ["fresh images"])["fresh images"]
    assert [each.value for each in accused] == pytest.approx(power[:, 0].tolist())
    values = copier_summaries.responses(table, "fresh images", "exact", [1.0])["π = 100 %"]
    assert values[1].value == 0
    assert copier_summaries.excess(table, RULES).value == pytest.approx(
        copier_summaries.response(table, "fresh images", "none", 0.0, "authenticity").value
        - copying.authenticity_null(RULES.dimension)
    )


def made_up(values):
    """A table of one measure, whose value and p are given for every dose."""
    rows = [
        (r, "fresh images", "exact" if dose else "none", dose, "authenticity", value, p)
        for dose, pairs in values.items()
        for r, (value, p) in enumerate(pairs)
    ]
    return pd.DataFrame(rows, columns=["repetition", "emits", "copies", "probability", "measure", "value", "p"])


def test_alarms_and_the_smallest_dose_of_a_table_made_up():
    of = partial(copier_summaries.smallest, emits="fresh images", copies="exact", measure="authenticity")
    found = made_up({0.0: [(0.5, 0.05), (0.6, 0.5)], 0.1: [(0.4, 0.04), (0.55, 0.3)], 0.5: [(0.3, 0.01), (0.2, 0.02)]})
    rates = [copier_summaries.alarms(found, "fresh images", "exact", d, "authenticity") for d in (0.0, 0.1, 0.5)]
    assert [rate.value for rate in rates] == [0.5, 0.5, 1]
    assert of(copier_summaries.alarms, found) == 0.5
    assert of(copier_summaries.beyond_innocent, found) == 0.5  # low authenticity is what is suspicious
    assert of(copier_summaries.beyond_innocent, found, power=0.5) == 0.1
    assert of(copier_summaries.alarms, made_up({0.0: [(0.5, 0.5)], 0.5: [(0.5, 0.5)]})) is None


def test_innocents_of_one_repetition_are_one_case():
    found = made_up({0.0: [(0.5, 0.01), (0.6, 0.5), (0.5, 0.01)]})
    again = found.assign(emits="mixture")
    two = copier_summaries.alarms_of_innocents(pd.concat([found, again]), ["fresh images", "mixture"], "authenticity")
    assert (two.value, two.n) == (pytest.approx(2 / 3), 3)


# the sweeps


def test_uniform_images_are_accused_by_the_formula_of_their_dimension(source):
    square = source._replace(images=torch.rand(2000, 1, 1, 3), mean=torch.zeros(3), axes=torch.eye(3), explained=1.0)
    two, three = copier_sweeps.by_dimension(square, PLAN._replace(count=300, repetitions=12), [2, 3], seed=0)
    for each, d in ((two, 2), (three, 3)):
        assert each.third.value == pytest.approx(copying.neighbour_ratio_null(1 / 3, d), abs=0.02)
        assert each.authentic.value == pytest.approx(copying.authenticity_null(d), abs=0.05)
        assert each.two_neighbours == pytest.approx(d, abs=0.5)


def test_a_mixture_without_width_is_accused_by_the_test_of_copying_and_not_by_the_exchange(source):
    found = copier_sweeps.by_width(source, PLAN, RULES, [0.01, 1.0], 1.0, seed=0)
    assert found["$C_T$", 0.0][0].value == 1
    assert [rate.value for rate in found["exchange: nearer", 1.0]] == [1, 1]
    assert {rate.n for rates in found.values() for rate in rates} == {PLAN.repetitions}
