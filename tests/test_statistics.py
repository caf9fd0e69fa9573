import itertools

import numpy as np
import pytest
import torch
from conftest import defaults
from scipy.stats import permutation_test as scipy_permutation_test
from scipy.stats import spearmanr

from lib.measures.intervals import difference, paired, share
from lib.measures.statistics import (
    auc,
    largest_of_many,
    permutation_p,
    permutation_test,
    rank_correlation,
    reliability,
    spearman_brown,
)


def shift(first, second, axis=0):
    return first.mean(axis) - second.mean(axis)


def random(*key):
    return np.random.default_rng(key)


def test_rank_correlation_is_spearmans():
    a, b = random(0).normal(size=(2, 40))
    b[:20] += 2 * a[:20]
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert rank_correlation(a, np.exp(a)) == pytest.approx(1)
    np.testing.assert_allclose(rank_correlation(np.stack([a, b]), np.stack([b, a])), rank_correlation(a, b))
    np.testing.assert_allclose(
        rank_correlation(np.stack([a, b], 1), np.stack([b, a], 1), axis=0), rank_correlation(a, b)
    )


def test_rank_correlation_has_an_interval():
    a = random(1).normal(size=80)
    found = paired(rank_correlation, torch.from_numpy(a), torch.from_numpy(a + random(2).normal(size=80)))
    assert 0 < found.low < found.value < found.high < 1


def test_auc_counts_the_pairs_in_which_the_positive_is_larger():
    positive, negative = random(0).integers(0, 6, (2, 30)).astype(float)
    positive = positive[:20] + 1
    pairs = [(p > q) + (p == q) / 2 for p, q in itertools.product(positive, negative)]
    assert auc(positive, negative) == pytest.approx(np.mean(pairs))
    assert auc(negative, positive) == pytest.approx(1 - np.mean(pairs))
    assert auc(np.ones(4), np.ones(3)) == 0.5
    assert auc(np.arange(3) + 9, np.arange(4)) == 1


def test_auc_works_along_an_axis_and_has_an_interval():
    positive, negative = random(0).normal(size=(30, 5)) + 1, random(1).normal(size=(40, 5))
    expected = [auc(positive[:, k], negative[:, k]) for k in range(5)]
    np.testing.assert_allclose(auc(positive, negative, axis=0), expected)
    found = difference(torch.from_numpy(positive[:, 0]), torch.from_numpy(negative[:, 0]), auc)
    assert found.low < found.value < found.high <= 1


def test_spearman_brown_is_the_correlation_of_longer_averages():
    truth = random(0).normal(size=(1, 20_000))
    once = truth + 2 * random(1).normal(size=(8, 20_000))
    correlation = np.corrcoef(once[0], once[1])[0, 1]
    longer = np.corrcoef(once[:4].mean(0), once[4:].mean(0))[0, 1]
    assert spearman_brown(correlation, 4) == pytest.approx(longer, abs=0.02)
    assert spearman_brown(0.3, 1) == 0.3
    assert spearman_brown(spearman_brown(0.3, 4), 1 / 4) == pytest.approx(0.3)


def test_reliability_is_the_projected_rank_correlation_of_two_halves():
    first, second = torch.randn(2, 60)
    second += first
    plain, longer = reliability(first, second), reliability(first, second, 5)
    assert plain == paired(rank_correlation, first, second)
    assert longer.value == pytest.approx(spearman_brown(plain.value, 5))
    assert longer.n == 60
    assert reliability(first, second, seed=1).low != plain.low


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_a_permutation_test_agrees_with_scipys(kind):
    first, second = random(0).normal(size=20) + 0.5, random(1).normal(size=15)
    found = permutation_test(shift, kind(first), kind(second), draws=4000, rng=random(2))
    exact = scipy_permutation_test((first, second), shift, alternative="greater", n_resamples=4000, rng=3)
    assert found.value == pytest.approx(shift(first, second))
    assert found.null.shape == (4000,)
    assert found.p.low - 0.01 < exact.pvalue < found.p.high + 0.01
    assert found.null.std() == pytest.approx(exact.null_distribution.std(), rel=0.05)


def test_each_exchange_is_one_permutation_of_all_members():
    first, second, orders = np.arange(3.0), np.arange(5.0) + 10, random(7)
    found = permutation_test(lambda a, b: a[0] + 100 * b[-1], first, second, draws=6, rng=random(7))
    both = np.concatenate([first, second])
    expected = [both[order[0]] + 100 * both[order[-1]] for order in (orders.permutation(8) for _ in range(6))]
    assert found.null.tolist() == expected
    assert found.value == 0 + 100 * 14


def test_the_given_division_counts_and_so_do_ties():
    far = permutation_test(shift, np.arange(8.0) + 90, np.arange(8.0), draws=49, rng=random(0))
    assert far.p == share(1, 50)
    tied = permutation_test(lambda a, b: 1.0, np.arange(8.0), np.arange(8.0), draws=49, rng=random(0))
    assert tied.p == share(50, 50)
    near = permutation_test(shift, np.arange(8.0), np.arange(8.0) + 90, draws=49, rng=random(0))
    assert near.p == share(50, 50)


def test_one_draw_is_enough_for_a_p_value_of_a_half_or_one():
    found = permutation_test(shift, np.arange(8.0) + 90, np.arange(8.0), draws=1, rng=random(0))
    assert found.p == share(1, 2)


def test_a_half_of_the_repeats_is_not_projected_unless_told():
    assert defaults(reliability) == {"factor": 1, "seed": 0}


def test_without_a_difference_every_p_value_is_as_likely():
    values = [
        permutation_test(shift, *random(seed).normal(size=(2, 12)), draws=39, rng=random(seed, 1)).p.value
        for seed in range(300)
    ]
    assert 0.02 < np.mean(np.array(values) <= 0.05) < 0.09
    assert np.mean(values) == pytest.approx(0.5, abs=0.05)


def test_a_planted_difference_in_one_of_many_is_seen():
    first, second = random(0).normal(size=(2, 40, 9))
    first[:, 4] += 1.5
    found = largest_of_many(shift, first, second, draws=199, rng=random(1))
    np.testing.assert_allclose(found.value, shift(first, second))
    assert found.null.shape == (199, 9)
    assert found.value.argmax() == 4
    assert found.p == share(1, 200)


def test_the_noisiest_entry_does_not_decide():
    first, second = random(0).normal(size=(2, 40, 2))
    first[:, 0] += 1.5
    loud = first * [1, 1000], second * [1, 1000]
    quiet = largest_of_many(shift, first, second, draws=199, rng=random(1))
    assert largest_of_many(shift, *loud, draws=199, rng=random(1)).p == quiet.p == share(1, 200)


def test_many_statistics_do_not_make_more_false_alarms():
    values = [
        largest_of_many(shift, *random(seed).normal(size=(2, 12, 9)), draws=39, rng=random(seed, 1)).p.value
        for seed in range(200)
    ]
    assert 0.01 < np.mean(np.array(values) <= 0.05) < 0.1


def test_one_of_many_is_the_test_of_one():
    first, second = random(0).normal(size=(2, 20))
    one = permutation_test(shift, first, second, draws=199, rng=random(1))
    many = largest_of_many(shift, first[:, None], second[:, None], draws=199, rng=random(1))
    assert many.p == one.p
    np.testing.assert_allclose(many.null[:, 0], one.null)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: permutation_test(shift, x, x, draws=0, rng=random(0)), "draws must be at least 1, got 0"),
        (lambda x: permutation_test(lambda a, b: np.nan, x, x, draws=3, rng=random(0)), "infinite in 4 of 4 numbers"),
        (lambda x: permutation_test(shift, x[:, None], x[:, None], draws=3, rng=random(0)), r"one number, got \[1\]"),
        (lambda x: largest_of_many(shift, x, x, draws=3, rng=random(0)), r"must be a vector, got \[\]"),
        (
            lambda x: largest_of_many(lambda a, b: np.array([a[0], 1.0]), x, x, draws=3, rng=random(0)),
            "1 of 2 entries are the same after every exchange",
        ),
    ],
)
def test_bad_requests_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.arange(6.0))


def test_the_p_value_alone_is_uniform_without_a_difference_and_small_with_one():
    rng = np.random.default_rng(0)
    given = {"draws": 39, "rng": rng}

    def shift(a, b):
        return a.mean() - b.mean()

    draws = rng.normal(size=(400, 2, 12))
    found = np.array([permutation_p(shift, *pair, **given) for pair in draws])
    assert np.mean(found <= 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean(found <= 0.5) == pytest.approx(0.5, abs=0.07)
    assert permutation_p(shift, draws[0, 0] + 9, draws[0, 1], **given) == 1 / 40
