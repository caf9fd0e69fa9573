import math

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu, norm

from lib.measures import copying
from lib.measures.three_sample import ct, ct_by_cell


def to_train(x, train):
    return torch.cdist(x, train).amin(1)


def test_it_can_be_called_where_the_other_measures_of_copying_are():
    assert copying.ct is ct


def test_one_cell_is_the_standardised_mann_whitney_statistic():
    train, held_out, samples = torch.randn(50, 3), torch.randn(40, 3), 1.2 * torch.randn(30, 3)
    distances = to_train(samples, train), to_train(held_out, train)
    p = mannwhitneyu(*distances, alternative="greater", method="asymptotic", use_continuity=False).pvalue
    assert ct(train, held_out, samples, cells=1, rng=0) == pytest.approx(norm.isf(p))


def test_ties_are_corrected_as_scipy_does():
    train = torch.zeros(5, 1)
    held_out, samples = torch.tensor([[0.0], [1.0], [1.0], [2.0]]), torch.tensor([[0.0], [0.0], [1.0], [3.0], [3.0]])
    p = mannwhitneyu(
        samples[:, 0], held_out[:, 0], alternative="greater", method="asymptotic", use_continuity=False
    ).pvalue
    assert ct(train, held_out, samples, cells=1, rng=0, least=5) == pytest.approx(norm.isf(p))


def test_all_samples_nearer_is_the_lowest_score():
    """U = 0, so that z = -sqrt(3 n m / (n + m + 1)) without ties."""
    train = torch.zeros(4, 1)
    n, m = 30, 25
    held_out, samples = 1 + torch.rand(n, 1), torch.rand(m, 1)
    lowest = -math.sqrt(3 * n * m / (n + m + 1))
    assert ct(train, held_out, samples, cells=1, rng=0) == pytest.approx(lowest)
    assert ct(train, samples, held_out, cells=1, rng=0) == pytest.approx(-lowest)


def test_the_statistic_is_the_mean_by_the_share_of_held_out_images():
    """Two islands; in one all samples are nearer, in the other none."""
    train = torch.tensor([[0.0], [1000.0]]).repeat(10, 1) + 1e-3 * torch.rand(20, 1)
    held_out = torch.cat([1 + torch.rand(30, 1), 1010 + torch.rand(10, 1)])
    samples = torch.cat([torch.rand(20, 1) / 2 + 0.1, 1020 + torch.rand(40, 1)])
    by_hand = 0.75 * -math.sqrt(3 * 30 * 20 / 51) + 0.25 * math.sqrt(3 * 10 * 40 / 51)
    assert ct(train, held_out, samples, cells=2, rng=0) == pytest.approx(by_hand)
    cells = ct_by_cell(train, held_out, samples, cells=2, rng=0)
    assert sorted(cells.weight.tolist()) == pytest.approx([0.25, 0.75])
    assert cells.spread() == pytest.approx(math.hypot(0.25, 0.75))
    # A cell with too few samples does not count, and its held-out images are not in the weights.
    fewer = ct_by_cell(train, held_out, samples, cells=2, rng=0, least=21)
    assert (fewer.weight.tolist(), fewer.left_out) == ([1], 1)
    assert fewer.mean() == pytest.approx(math.sqrt(3 * 10 * 40 / 51))


def test_distances_are_to_training_images_of_the_own_cell():
    """Near the border of two cells the nearest training image is in the other one, and does not count."""
    train = torch.tensor([[0.0], [0.1], [-0.1], [10.0], [10.1], [9.9], [14.0], [7.0]])
    held_out, samples = torch.rand(20, 1) + 3.5, torch.rand(20, 1) + 3.5
    others = torch.tensor([[12.0]])  # a held-out image in the other cell
    cells = ct_by_cell(train, torch.cat([held_out, others]), samples, cells=2, rng=0)
    own = to_train(samples, train[:3]), to_train(held_out, train[:3])
    p = mannwhitneyu(*own, alternative="greater", method="asymptotic", use_continuity=False).pvalue
    assert (cells.left_out, len(cells.z)) == (1, 1)
    assert cells.mean() == pytest.approx(norm.isf(p))


def test_copies_are_far_below_zero_and_blurred_ones_as_well():
    train, held_out = torch.randn(2, 300, 4)
    for samples in (train, train + 0.05 * torch.randn(300, 4)):
        assert ct(train, held_out, samples, cells=3, rng=0) < -8


def test_an_underfitted_model_is_above_zero():
    train, held_out = torch.randn(2, 300, 4)
    assert ct(train, held_out, 2 * torch.randn(300, 4), cells=3, rng=0) > 3


@pytest.mark.parametrize("cells", [1, 4])
def test_fresh_samples_give_zero_with_the_spread_that_is_stated(cells):
    found = []
    for seed in range(150):
        train, held_out, samples = torch.randn(3, 200, 2)
        result = ct_by_cell(train, held_out, samples, cells=cells, rng=seed)
        found.append((result.mean(), result.spread()))
    values, spreads = torch.tensor(found).T
    standard = values / spreads
    assert standard.mean().item() == pytest.approx(0, abs=4 / 150**0.5)
    assert standard.std().item() == pytest.approx(1, abs=4 / (2 * 150) ** 0.5)
    assert spreads.mean() == pytest.approx(cells**-0.5, abs=0.05)


def test_scale_translation_order_and_blocks_do_not_matter():
    train, held_out, samples = torch.randn(3, 120, 2, 2)
    found = ct(train, held_out, samples, cells=1, rng=0)
    assert ct(3 * train + 5, 3 * held_out + 5, 3 * samples + 5, cells=1, rng=0) == pytest.approx(found)
    assert ct(train.flip(0), held_out.flip(0), samples.flip(0), cells=1, rng=0) == pytest.approx(found)
    assert ct(train.flatten(1), held_out.flatten(1), samples.flatten(1), cells=1, rng=0, chunk=7) == found


def test_a_seed_or_a_source_of_random_numbers_start_the_cells():
    train, held_out, samples = torch.randn(3, 300, 2)
    samples.requires_grad_()  # of a model
    by_seed, by_source = (ct(train, held_out, samples, cells=5, rng=rng) for rng in (3, np.random.default_rng(3)))
    assert by_seed == by_source


def test_the_public_codes_score_is_larger_by_half_a_pair():
    """Zu in data_copying_tests.py of casey-meehan/data-copying at a0ba2db, lines 36 to 39."""
    train, held_out, samples = torch.randn(3, 60, 2)
    n, m = len(held_out), len(samples)
    u, _ = mannwhitneyu(to_train(samples, train), to_train(held_out, train), alternative="less")
    theirs = (u - ((n * m / 2) - 0.5)) / np.sqrt(n * m * (n + m + 1) / 12)
    half = 0.5 / math.sqrt(n * m * (n + m + 1) / 12)
    assert theirs == pytest.approx(ct(train, held_out, samples, cells=1, rng=0) + half)


def test_bad_input_is_refused():
    x = torch.randn(30, 2)
    with pytest.raises(ValueError, match="31 or more training images are needed, got 30"):
        ct(x, x, x, cells=31, rng=0)
    with pytest.raises(ValueError, match="20 or more samples are needed, got 19"):
        ct(x, x, x[:19], cells=1, rng=0)
    with pytest.raises(ValueError, match="cells and least must be at least 1, got 0 and 20"):
        ct(x, x, x, cells=0, rng=0)
    with pytest.raises(ValueError, match="none of 3 cells has 20 of the 30 samples"):
        ct(x, x, x, cells=3, rng=0)
    with pytest.raises(ValueError, match="of 2 has no training or no held-out image"):
        ct(torch.cat([x, x + 1000]), x, x, cells=2, rng=0)
    with pytest.raises(ValueError, match="all 60 distances in a cell are equal"):
        ct(x, x, x, cells=1, rng=0)
    with pytest.raises(ValueError, match="k-means found an empty cell among 3"):
        ct(torch.zeros(30, 2), x, x, cells=3, rng=0)
