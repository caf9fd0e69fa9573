import math

import planted
import pytest
import torch

from lib.measures.intervals import Estimate, mean_of_few
from lib.measures.memorization import Scores, scores
from lib.protocols import null

rng = torch.Generator().manual_seed


def simulated(folds=5, gain=0.0, spread=2.0, n=1000):
    """Scores of models with a planted gain."""
    return scores(*planted.log_p(4, folds, n, gain=gain, spread=spread), rng=rng(2))


def test_the_normal_null_rises_from_zero_and_is_its_own_inverse():
    curve = null.normal_null([0, 1, 2, 4, 8], 90, 10, rng=rng(0))
    assert curve.medians[0] == pytest.approx(0, abs=1e-9)
    assert curve.medians == sorted(curve.medians)
    assert curve.bias(4) == curve.medians[3]
    assert curve.needed(curve.bias(3.0)) == pytest.approx(3.0, abs=0.1)
    assert curve.bias(6.0) == pytest.approx(3.6, abs=0.15)  # as the published sizes give by simulation


def test_equal_numbers_of_models_have_no_bias():
    curve = null.normal_null([0, 3, 6], 10, 10, rng=rng(0))
    assert curve.medians == pytest.approx([0, 0, 0], abs=0.1)


def test_the_bias_of_an_interval_goes_from_end_to_end():
    curve = null.NormalNull([0, 1, 2, 3], [0.0, 1.0, 2.0, 3.0])
    assert curve.bias_of(Estimate(2, 1, 3, 50)) == Estimate(2, 1, 3, 50)


def test_the_spread_is_the_standard_deviation_over_models():
    log_p = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    torch.testing.assert_close(null.spread(log_p), torch.tensor([math.sqrt(2), 0.0]))


def test_medians_and_their_changes_are_of_the_same_images():
    values = torch.linspace(0, 10, 101)
    assert null.median(values, seed=0).value == 5
    change = null.median_change(values + 3, values, seed=0)
    assert change.value == 3
    assert change.high - change.low < 1.0  # paired: the images' own differences cancel but for the grid


def test_a_gain_that_grows_is_found_beyond_the_null_and_spread_that_grows_is_not():
    first, grown, spread = simulated(), simulated(gain=3.0), simulated(spread=4.0)
    assert null.growth(first, grown, seed=0).value == pytest.approx(3.0, abs=0.8)
    assert null.growth(grown, first, seed=0).value == pytest.approx(-3.0, abs=0.8)
    assert abs(null.growth(first, spread, seed=0).value) < 0.8


def test_the_share_of_unequal_numbers_is_one_without_memorisation_and_small_with_much():
    assert null.unequal_share(simulated(), seed=0).value == pytest.approx(1, abs=0.15)
    much = null.unequal_share(simulated(gain=20.0), seed=0)
    assert 0.01 < much.value < 0.1


def test_the_share_of_unequal_numbers_is_of_the_medians():
    flat = [torch.full((9,), value) + torch.linspace(-0.1, 0.1, 9) for value in (4.0, 3.0)]
    share = null.unequal_share(Scores(flat[0], flat[1], *flat, *flat), seed=0)
    assert share.value == pytest.approx(0.25)


def test_one_image_in_twenty_is_beyond_the_null_by_chance_and_all_with_a_planted_gain():
    assert null.beyond_null(simulated()) == pytest.approx(0.05, abs=0.025)
    assert null.beyond_null(simulated(gain=30.0)) == 1


def test_with_three_folds_the_null_has_equal_sides_and_no_bias():
    found, biased = simulated(folds=3), simulated(folds=5)
    torch.testing.assert_close(found.null, found.balanced_null)
    error = float(found.null.std()) / len(found.null) ** 0.5
    assert abs(found.null.mean()) < 3 * error
    assert biased.null.mean() > 4 * error


def test_halves_share_no_repeat_and_leave_out_the_last_of_an_odd_number():
    log_p, held_out = planted.log_p(5, 3, 8, gain=1.0)
    log_p[2:4] += 10 * (torch.arange(3)[None, :, None] != held_out[2:4, None])
    log_p[4] += 1e6
    first, second = null.halves(log_p, held_out)
    torch.testing.assert_close(first, torch.full((8,), 1.0))
    torch.testing.assert_close(second, torch.full((8,), 11.0))
    with pytest.raises(ValueError, match="at least 2 repeats, got 1"):
        null.halves(log_p[:1], held_out[:1])


def test_a_gain_of_the_image_is_reliable_and_noise_is_not():
    log_p, held_out = planted.log_p(6, 3, 400, spread=1.0)
    half, whole, more = null.reliability_by_repeats(log_p, held_out, (3, 6, 60), seed=0)
    assert abs(half.value) < 0.15
    inside = torch.arange(3)[None, :, None] != held_out[:, None]
    half, whole, more = null.reliability_by_repeats(
        log_p + inside * torch.linspace(0, 4, 400), held_out, (3, 6, 60), seed=0
    )
    assert 0.5 < half.value < whole.value < more.value < 1
    assert whole.value == pytest.approx(2 * half.value / (1 + half.value))


def simulated_models(repeats, folds, n):
    """Fits with a log p(x) for every model."""
    numbers, _ = planted.log_p(repeats, folds, n, spread=2.0)
    return planted.models(None, repeats, folds, n)._replace(log_p=numbers[None])


def test_every_repeat_is_left_out_in_turn():
    fits = simulated_models(4, 3, 40)
    seen = []

    def statistic(models):
        seen.append(models.held_out)
        return float(models.log_p[-1].mean())

    over_images = Estimate(1.0, 0.9, 1.1, 40)
    found = null.with_repeats(over_images, statistic, fits)
    assert [len(each) for each in seen] == [3] * 4
    assert torch.equal(seen[1], fits.held_out[[0, 2, 3]])
    by_repeat = mean_of_few(fits.log_p[-1].mean((1, 2)))  # the jackknife of a mean
    half = by_repeat.high - by_repeat.value
    assert found[:5] == pytest.approx((1, 1 - math.hypot(0.1, half), 1 + math.hypot(0.1, half), 40, 0))


def test_two_learning_rates_lose_the_same_repeat():
    first = second = simulated_models(3, 3, 40)
    zero = Estimate(0.0, 0.0, 0.0, 40)
    difference = null.with_repeats(zero, lambda a, b: (a.log_p - b.log_p).mean(), first, second)
    assert (difference.low, difference.high) == (0, 0)


def test_the_number_of_growth_is_that_of_its_estimate():
    first, grown = simulated(), simulated(gain=3.0)
    assert null.growth_of(first, grown) == pytest.approx(null.growth(first, grown, seed=0).value)
