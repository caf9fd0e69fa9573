import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm

from lib.models import data
from lib.protocols.exchangeable import separation, sides


def gaussians(count, seed, shift=0.0, spread=1.0):
    """Images of 2 x 3 independent normal pixels, of which the first is moved."""
    images = spread * torch.randn((count, 1, 2, 3), generator=torch.Generator().manual_seed(seed))
    images[:, 0, 0, 0] += shift
    return images


def p_of(first, second, seed, draws=99):
    return separation(first, second, rng=np.random.default_rng(seed), draws=draws)[0].p.value


def test_p_is_uniform_where_the_sides_are_alike():
    found = [p_of(gaussians(25, 2 * seed), gaussians(25, 2 * seed + 1), seed, draws=49) for seed in range(200)]
    assert kstest(found, "uniform").pvalue > 0.01
    assert np.mean(np.array(found) <= 0.1) < 0.16  # three standard errors above a tenth


def test_p_is_uniform_for_sides_of_different_sizes():
    found = [p_of(gaussians(40, 2 * seed), gaussians(20, 2 * seed + 1), seed, draws=49) for seed in range(100)]
    assert kstest(found, "uniform").pvalue > 0.01


def test_power_grows_with_the_shift():
    power = [
        np.mean([p_of(gaussians(60, seed), gaussians(60, 500 + seed, shift), seed) <= 0.05 for seed in range(20)])
        for shift in (0.0, 0.8, 2.0)
    ]
    assert power[0] <= 0.25 < 0.4 < power[1] < power[2] == 1


def test_the_area_is_that_of_two_normals():
    """The best classifier of N(0, I) and N(d e_1, I) has the AUC Phi(d / sqrt 2)."""
    found = sides(gaussians(2000, 0), gaussians(2000, 1, 1.0), rng=np.random.default_rng(0), draws=99)
    assert found.auc.value == pytest.approx(norm.cdf(1 / 2**0.5), abs=0.03)
    assert found.auc.low < found.auc.value < found.auc.high
    assert found.differ
    assert found.p == 0.01
    assert found.brightness.value == pytest.approx(-1 / 6, abs=0.05)  # one pixel of six is moved
    assert found.sizes == (2000, 2000)
    assert "differ without any model" in found.notes[0]
    assert f"their mean brightness differs by {found.brightness}" in found.notes


def test_sides_of_one_mean_and_two_spreads_are_told_apart():
    found = sides(gaussians(300, 0), gaussians(300, 1, spread=1.5), rng=np.random.default_rng(0), draws=99)
    assert found.differ
    assert found.auc.value > 0.7
    assert found.contrast.high < 0


def test_alike_sides_say_what_would_have_been_noticed():
    found = sides(gaussians(200, 0), gaussians(200, 1), rng=np.random.default_rng(0), draws=199)
    assert not found.differ
    assert "cannot be told apart" in found.notes[0]
    assert 0.5 < found.noticed < 0.65
    assert f"an AUC of {found.noticed:.3g} or more would have been noticed" in found.notes[0]


def test_the_official_test_digits_differ_from_the_training_digits():
    """They are of other writers; digits drawn from the training pool are not."""
    mnist = data.load("mnist")
    order = torch.randperm(len(mnist.train), generator=torch.Generator().manual_seed(0))
    train, drawn = mnist.train[order[:1000]], mnist.train[order[1000:2000]]
    official = sides(train, mnist.test[:1000], rng=np.random.default_rng(0), draws=99)
    assert official.differ
    assert official.auc.low > 0.55
    pool = sides(train, drawn, rng=np.random.default_rng(0), draws=99)
    assert not pool.differ
    assert pool.auc.value < official.auc.low


def test_no_more_images_than_asked_for_are_compared():
    found = sides(gaussians(200, 0), gaussians(30, 1), rng=np.random.default_rng(0), draws=9, maximum=50)
    assert found.sizes == (50, 30)


def test_the_same_source_of_random_numbers_gives_the_same():
    first, second = (
        sides(gaussians(50, 0), gaussians(50, 1), rng=np.random.default_rng(3), draws=19) for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (torch.zeros(19, 1, 2, 3), torch.zeros(30, 1, 2, 3), "at least 20 images a side are needed .* 19 and 30"),
        (
            torch.zeros(20, 1, 2, 3),
            torch.zeros(20, 1, 3, 2),
            r"training images are \[1, 2, 3\], held-out images \[1, 3, 2\]",
        ),
        (torch.full((20, 1, 2, 3), torch.nan), torch.zeros(20, 1, 2, 3), "20 of 40 images are not finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(first, second, said):
    with pytest.raises(ValueError, match=said):
        sides(first, second, rng=np.random.default_rng(0))
