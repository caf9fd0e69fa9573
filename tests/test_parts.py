import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch.distributions import MultivariateNormal

from lib.models.generative import Generative, GeneratorFit
from lib.protocols import parts
from lib.protocols.parts import compare, errors, smallest_gap
from lib.protocols.zoo import Search


def rng(seed=0):
    return np.random.default_rng(seed)


def sides(count=60, parts=16):
    """Errors of two sides that differ in nothing."""
    return torch.rand(2, count, parts).exp()


@pytest.fixture
def blank():
    """A generator that makes the same grey image of everything."""
    codes = MultivariateNormal(torch.zeros(2), torch.eye(2))
    return GeneratorFit(
        Generative("glo", 3),
        torch.arange(3),
        torch.zeros(1, 1),
        lambda z: 0.5 + 0 * z.sum(1).view(-1, 1, 1, 1).expand(-1, 2, 8, 8),
        None,
        codes,
    )


def test_an_error_in_one_part_stands_there_as_its_mean_square(blank):
    images = torch.full((2, 2, 8, 8), 0.5)
    images[0, 0, 2, 5] += 0.4  # second row of parts, third column: one of 2 x 2 pixels, in one of two channels
    images[1] += 0.1
    found = errors(blank, images, Search(seed=0, steps=3, start=1.0))
    expected = torch.zeros(16)
    expected[1 * 4 + 2] = 0.4**2 / 8
    torch.testing.assert_close(found, torch.stack([expected, torch.full((16,), 0.01)]))


def test_a_planted_gap_is_found_in_its_part():
    train, test = sides()
    train[:, 9] *= 0.4
    local = compare(train, test, rng=rng())
    assert np.unravel_index(local.gaps.argmax(), (4, 4)) == (2, 1)
    assert local.gaps[2, 1] == pytest.approx(1 - np.median(train[:, 9]) / np.median(test[:, 9]))
    assert local.compared.all()
    assert local.chance.value == pytest.approx(1 / 501)


def test_held_out_images_with_smaller_errors_are_no_overfitting():
    train, test = sides()
    test[:, 9] *= 0.4
    assert compare(train, test, rng=rng()).chance.value > 0.1


def test_a_part_without_errors_is_not_compared():
    train, test = sides()
    train[:, 0] = test[:, 0] = 0
    train[:, 3], test[:, 3] = 1e-9, 0.04 * test.median(0).values.max()
    local = compare(train, test, draws=19, rng=rng())
    assert (~local.compared).nonzero()[0].tolist() == [0, 0]
    assert (~local.compared).nonzero()[1].tolist() == [0, 3]
    assert np.isnan(local.gaps[~local.compared]).all()
    assert np.isfinite(local.gaps[local.compared]).all()
    assert local.chance.value > 0.05


def test_sides_that_differ_in_nothing_give_uniform_chances():
    chances = [compare(*sides(20), draws=19, rng=rng(repeat)).chance.value for repeat in range(100)]
    assert np.mean(np.array(chances) <= 0.05 + 1e-9) < 0.1
    jittered = np.array(chances) - rng().random(100) / 20  # a chance is one of 1/20, ..., 20/20
    assert kstest(jittered, "uniform").pvalue > 0.01


def test_exchanges_follow_from_their_source():
    train, test = sides()
    first, again, other = (compare(train, test, draws=50, rng=rng(seed)).chance for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert compare(train, test, draws=50, rng=rng()).chance.n == 51


def test_a_planted_gap_is_seen_if_it_is_large_and_not_if_it_is_none():
    train, test = sides(200)
    assert smallest_gap(train, test, [0.0, 0.05, 0.6], rng=rng()) == 0.6
    assert smallest_gap(train, test, [0.0], rng=rng()) == np.inf


def test_a_gap_is_planted_where_parts_are_compared_though_most_are_black():
    train, test = sides(200)
    black = torch.arange(16) % 4 != 0
    train[:, black], test[:, black] = train[:, black] * 1e-3, test[:, black] * 1e-3
    assert compare(train, test, rng=rng()).compared.sum() == 4
    assert smallest_gap(train, test, [0.6], rng=rng()) == 0.6


def test_the_planted_gap_is_what_it_says_in_its_part(monkeypatch):
    train, test = sides(200)
    seen = []
    monkeypatch.setattr(parts, "compare", lambda train, test, rng: seen.append(train) or compare(train, test, rng=rng))
    smallest_gap(train, test, [0.25], rng=rng())
    medians = seen[0].median(0).values / test.median(0).values
    changed = (seen[0] != train).any(0)
    assert changed.sum() == 1
    assert medians[changed].item() == pytest.approx(0.75)
