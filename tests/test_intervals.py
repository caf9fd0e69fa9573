import numpy as np
import pytest
import torch
from conftest import defaults
from scipy.stats import beta, bootstrap, cauchy

from lib.measures import intervals
from lib.measures.intervals import (
    Estimate,
    by_model,
    difference,
    difference_of_means,
    estimate,
    mean_of_few,
    number,
    over_models,
    paired,
    share,
    with_left_out,
)


def test_the_interval_of_a_normal_mean_is_the_textbooks():
    values = torch.from_numpy(np.random.default_rng(0).normal(3, 2, 400))
    found = estimate(values)
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean().item())
    assert found.low == pytest.approx(found.value - half.item(), abs=0.02)
    assert found.high == pytest.approx(found.value + half.item(), abs=0.02)
    assert (found.n, found.missing) == (400, 0)


@pytest.mark.parametrize("statistic", [np.mean, np.median])
def test_the_interval_is_scipys(statistic):
    values = np.random.default_rng(0).normal(size=25) / 10
    expected = bootstrap((values,), statistic, n_resamples=2000, method="BCa", rng=np.random.default_rng(0))
    assert estimate(torch.from_numpy(values), statistic)[1:3] == pytest.approx(tuple(expected.confidence_interval))


def test_the_interval_of_a_difference_is_scipys():
    a, b = np.random.default_rng(0).normal(size=25) / 10, np.random.default_rng(1).normal(size=14) / 10
    gap = lambda a, b, axis=-1: a.mean(axis) - b.mean(axis)  # noqa: E731
    expected = bootstrap((a, b), gap, n_resamples=2000, batch=200, method="percentile", rng=np.random.default_rng(0))
    found = difference(torch.from_numpy(a), torch.from_numpy(b))
    assert found[:3] == pytest.approx((a.mean() - b.mean(), *expected.confidence_interval))


def test_a_difference_from_a_constant_has_the_other_groups_error():
    values = torch.randn(50)
    found = difference(values, torch.full((9,), 3.0))
    assert found.high - found.low == pytest.approx(estimate(values).high - estimate(values).low, rel=0.1)


def test_the_median_is_stuck_where_no_single_value_moves_it():
    draws = np.random.default_rng(0)
    verdicts = []
    for _ in range(400):
        values = draws.integers(0, 4, draws.integers(3, 10)).astype(float)
        others = [np.median(np.delete(values, i)) for i in range(len(values))]
        verdicts.append(np.ptp(others) == 0)
        assert intervals._median_is_stuck(values) == verdicts[-1]
    assert 100 < sum(verdicts) < 300


def test_a_mean_is_never_stuck():
    values = torch.tensor([0.0] * 11 + [1.0] * 9)  # whose median is
    found, shifted = estimate(values), estimate(torch.cat([values, torch.tensor([5.0])]))
    expected = bootstrap((values.numpy(),), np.mean, n_resamples=2000, method="BCa", rng=np.random.default_rng(0))
    assert found[1:3] == pytest.approx(tuple(expected.confidence_interval))
    assert shifted.high > found.high


def test_three_values_are_enough():
    assert estimate(torch.tensor([1.0, 2.0, 4.0])).n == 3


def test_every_seed_is_zero_unless_told():
    assert defaults(estimate) == {"statistic": np.mean, "seed": 0}
    assert defaults(difference)["seed"] == defaults(paired)["seed"] == 0


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    estimates = [estimate(torch.from_numpy(rng.exponential(1, 60)), seed=i) for i in range(120)]
    assert 0.88 <= np.mean([e.low <= 1 <= e.high for e in estimates]) <= 1


def test_equal_values_have_a_mean_without_error():
    assert estimate(torch.full((5,), 2.0))[:3] == (2, 2, 2)


def test_the_same_seed_gives_the_same_interval():
    values = torch.randn(30)
    assert estimate(values, seed=3) == estimate(values, seed=3) != estimate(values, seed=4)


def test_missing_values_are_counted():
    values = torch.tensor([1.0, torch.nan, 2.0, 3.0, torch.nan])
    found = estimate(values, np.median)
    assert (found.value, found.n, found.missing) == (2, 3, 2)


def test_a_difference_of_means_is_antisymmetric():
    a, b = torch.randn(40) + 1, torch.randn(50)
    forth, back = difference(a, b), difference(b, a)
    assert forth.value == pytest.approx(-back.value)
    assert forth.low < forth.value < forth.high
    assert forth.n == 90


@pytest.mark.parametrize("values", [[], [1.0, 2.0], [1.0, 2.0, torch.inf], [torch.nan] * 5])
def test_too_few_or_infinite_values_are_refused(values):
    with pytest.raises(ValueError, match="at least 3 values and all finite"):
        estimate(torch.tensor(values))


def test_a_paired_interval_sees_that_points_go_together():
    base = 10 * torch.randn(300)
    shifted = base + 1 + 0.01 * torch.randn(300)

    def gain(a, b, axis=-1):
        return b.mean(axis) - a.mean(axis)

    together = paired(gain, base, shifted)
    assert together.value == pytest.approx(1, abs=0.01)
    assert together.high - together.low < 0.01
    assert difference(shifted, base).high - difference(shifted, base).low > 1


def test_a_pair_that_lacks_a_number_is_missing():
    first, second = torch.randn(2, 50)
    first[3], second[4] = torch.nan, torch.nan
    found = paired(lambda a, b, axis=-1: (a * b).mean(axis), first, second)
    assert (found.n, found.missing) == (48, 2)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (2, "2"),
        (0.5, "0.5"),
        (-0.12345, "−0.123"),
        (12.345, "12.3"),
        (99.5, "99.5"),
        (99.96, "100"),
        (123.4, "123"),
        (999.6, "1,000"),
        (-1050.0, "−1,050"),
        (123_456, "123,000"),
        (999_499, "999,000"),
        (999_500, "1 × 10⁶"),
        (-2.5e12, "−2.5 × 10¹²"),
        (1e-4, "0.0001"),
        (0.000123456, "0.000123"),
        (9.999e-5, "0.0001"),
        (9.994e-5, "9.99 × 10⁻⁵"),
        (-3.2e-15, "−3.2 × 10⁻¹⁵"),
        (float("nan"), "–"),
        (float("-inf"), "−∞"),
        (np.float32(0.1), "0.1"),
        (torch.tensor(1.5), "1.5"),
    ],
)
def test_numbers_have_three_digits_a_true_minus_and_no_exponent(value, text):
    assert number(value) == text


def test_a_number_is_within_half_a_unit_of_its_third_digit():
    rng = np.random.default_rng(0)
    for digits, exponent in zip(rng.uniform(1, 9.9, 200), rng.integers(-4, 6, 200), strict=True):
        back = float(number(-digits * 10.0**exponent).replace("−", "-").replace(",", ""))
        assert abs(back / 10.0**exponent + digits) <= 0.00501


def test_an_estimate_is_written_with_its_interval():
    assert str(Estimate(-1050.0, -2e7, 0.25, 3)) == "−1,050 [−2 × 10⁷, 0.25]"


def test_a_share_is_a_quotient_with_the_exact_interval():
    found = share(30, 40)
    assert (found.value, found.n, found.missing) == (0.75, 40, 0)
    assert (found.low, found.high) == pytest.approx((beta.ppf(0.025, 30, 11), beta.ppf(0.975, 31, 10)))
    assert share(0, 200)[:5] == (0.0, 0.0, pytest.approx(1 - 0.025 ** (1 / 200)), 200, 0)
    assert share(3, 3).low == pytest.approx(0.025 ** (1 / 3))


def test_the_mean_of_a_few_has_the_t_interval():
    found = mean_of_few(torch.tensor([1.0, 2.0, 3.0]))
    assert found[:5] == pytest.approx((2, 2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5, 3, 0), abs=1e-5)


def test_two_cases_have_the_interval_of_a_cauchy_distribution():
    assert mean_of_few(torch.tensor([1.0, 3.0]))[:3] == pytest.approx((2, 2 - cauchy.ppf(0.975), 2 + cauchy.ppf(0.975)))


@pytest.mark.parametrize("cases", [[1.0], [1.0, torch.inf, 2.0], [torch.nan, 1.0]])
def test_one_case_or_one_that_is_not_finite_has_no_interval(cases):
    with pytest.raises(ValueError, match="at least 2 cases, all finite"):
        mean_of_few(torch.tensor(cases))


def test_an_interval_over_models_is_that_of_their_statistics_and_counts_models():
    models = [torch.tensor([0.0, 2.0, torch.nan]), torch.tensor([2.0]), torch.tensor([3.0, 3.0, 3.0, 3.0])]
    found = over_models(np.mean, models)
    assert found == mean_of_few(torch.tensor([1.0, 2.0, 3.0]))._replace(missing=1)
    assert by_model(np.max, models) == [2, 2, 3]


def test_a_statistic_of_two_columns_is_taken_model_by_model():
    first, second = [torch.tensor([1.0, 3.0]), torch.tensor([5.0])], [torch.tensor([1.0]), torch.tensor([0.0, 2.0])]
    assert by_model(difference_of_means, first, second) == [1, 4]
    assert over_models(difference_of_means, first, second) == mean_of_few(torch.tensor([1.0, 4.0]))
    with pytest.raises(ValueError, match="zip"):
        over_models(difference_of_means, first, second[:1])


def test_models_that_differ_are_covered_and_points_alone_do_not_cover_them():
    """Models whose means are normal about zero: the t interval over models holds zero in 95 % of the cases."""
    rng, over, within = torch.Generator().manual_seed(0), [], []
    for _ in range(500):
        models = torch.randn(4, 1, generator=rng) + 0.3 * torch.randn(4, 30, generator=rng)
        found, one = over_models(np.mean, list(models)), mean_of_few(models[0])
        over.append(found.low < 0 < found.high)
        within.append(one.low < 0 < one.high)
    assert sum(over) / 500 == pytest.approx(0.95, abs=0.03)
    assert sum(within) / 500 < 0.2


def test_the_jackknife_of_a_mean_is_the_t_interval():
    cases = torch.randn(7)
    without = [float(cases[torch.arange(7) != k].mean()) for k in range(7)]
    found = mean_of_few(cases)
    of_points = Estimate(found.value, found.value, found.value, 7)
    assert with_left_out(of_points, without)[:3] == pytest.approx(found[:3])
    with pytest.raises(ValueError, match="at least 2"):
        with_left_out(of_points, [1.0])


def test_an_estimate_in_units_of_another():
    assert Estimate(2.0, 1.0, 3.0, 50, 4).over(-2.0) == Estimate(-1.0, -1.5, -0.5, 50, 4)


def test_beyond_some_thousand_points_the_interval_is_the_percentiles(monkeypatch):
    values = torch.randn(400).exp()
    accelerated = estimate(values)
    monkeypatch.setattr(intervals, "MANY", 399)
    plain = estimate(values)
    rng = np.random.default_rng(0)
    expected = bootstrap((values.double().numpy(),), np.mean, n_resamples=2000, batch=200, method="percentile", rng=rng)
    assert plain[1:3] == pytest.approx(expected.confidence_interval)
    assert plain != accelerated


def test_independent_errors_add_by_their_squares():
    assert Estimate(1.0, -2.0, 5.0, 9, 1).widened(3.0)[:5] == (1, 1 - 18**0.5, 6, 9, 1)
    assert Estimate(1.0, 0.5, 2.0, 9).widened(0.0)[:5] == (1, 0.5, 2, 9, 0)


def test_an_interval_is_cut_to_what_is_possible_and_the_value_stays():
    assert Estimate(0.02, -0.1, 0.2, 9, 1).within(0.0, 1.0)[:5] == (0.02, 0, 0.2, 9, 1)
    assert Estimate(0.5, 0.4, 0.6, 9).within(0.0, 1.0)[:5] == (0.5, 0.4, 0.6, 9, 0)


def test_an_estimate_under_a_function_keeps_the_order_of_its_ends():
    assert Estimate(1.0, 0.0, 2.0, 9, 1).under(lambda x: 2 * x)[:5] == (2, 0, 4, 9, 1)
    assert Estimate(1.0, 0.0, 2.0, 9).under(lambda x: -x)[:5] == (-1, -2, 0, 9, 0)


def test_a_median_among_equal_values_has_an_interval():
    for values in ([0.0] * 11 + [1.0] * 9, [-3.0, -2.0, -1.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0]):
        found = estimate(torch.tensor(values), np.median)
        assert found.low <= found.value == 0 <= found.high
