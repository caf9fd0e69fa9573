"""Attacks by many models, on models that can be solved: log p is normal, with known means with and without an item."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch.distributions import Normal

from lib.measures import memorization, statistics
from lib.measures.intervals import share
from lib.measures.membership import calibrated_error, difference_of_means, lira, lira_offline, roc


def planted(models, n, gain, spread=1.0):
    """log p with ``gain`` more nats under models with the item; half of the models are without each item."""
    held_out = torch.rand(models, n).argsort(0) < models // 2
    return spread * torch.randn(models, n) + torch.randn(n) * 100 + gain * ~held_out, held_out


def by_hand(log_p, held_out, target, item):
    """Means and standard deviations of the other models with and without the item, in numpy."""
    others = np.arange(len(log_p)) != target
    column, out = log_p[others, item].numpy(), held_out[others, item].numpy()
    return [(side.mean(), side.std()) for side in (column[~out], column[out])]


# the difference of means


def test_the_difference_of_known_means():
    log_p = torch.tensor([[1.0, 10.0], [2.0, 20.0], [6.0, 60.0]])
    held_out = torch.tensor([[True, False], [False, True], [False, True]])
    torch.testing.assert_close(difference_of_means(log_p, held_out), torch.tensor([3.0, -30.0]))
    torch.testing.assert_close(difference_of_means(log_p, ~held_out), torch.tensor([-3.0, 30.0]))


def test_with_one_model_on_either_side_it_is_the_score():
    log_p = torch.randn(2, 5)
    held_out = torch.tensor([[False], [True]]).expand(2, 5)
    torch.testing.assert_close(difference_of_means(log_p, held_out), memorization.score(log_p[:1], log_p[1:]))


def test_it_has_no_bias_where_the_score_has():
    """Nine models with the item and one without, that differ by four nats: the item does not matter."""
    log_p = 4 * torch.randn(10, 20_000)
    held_out = (torch.arange(10) == 0)[:, None].expand(10, 20_000)
    standard_error = 4 * (1 / 9 + 1) ** 0.5 / 20_000**0.5
    assert abs(difference_of_means(log_p, held_out).mean()) < 4 * standard_error
    assert memorization.score(log_p[1:], log_p[:1]).mean() > 50 * standard_error


# the likelihood-ratio attack


def test_it_is_the_ratio_of_normals_of_the_other_models():
    log_p, held_out = planted(9, 4, gain=2.0)
    scores, offline = lira(log_p, held_out), lira_offline(log_p, held_out)
    for target, item in [(0, 0), (8, 3), (4, 1)]:
        within, without = by_hand(log_p, held_out, target, item)
        value = log_p[target, item].item()
        assert scores[target, item].item() == pytest.approx(norm.logpdf(value, *within) - norm.logpdf(value, *without))
        assert norm.cdf(offline[target, item].item()) == pytest.approx(1 - norm.sf(value, *without))


def test_the_target_has_no_part_in_its_own_normals():
    log_p, held_out = planted(8, 5, gain=1.0)
    moved = log_p.clone()
    moved[3] += 1e3
    far = lira_offline(moved, held_out)[3] - lira_offline(log_p, held_out)[3]
    for item in range(5):
        assert far[item].item() == pytest.approx(1e3 / by_hand(log_p, held_out, 3, item)[1][1])


def test_a_pooled_variance_is_that_within_items():
    log_p, held_out = planted(12, 3000, gain=5.0, spread=0.7)
    scores = lira(log_p, held_out, pooled=True, correction=1)
    sides = [
        ((log_p * side).sum(0) - log_p[0] * side[0]) / (side.sum(0) - side[0].int()) for side in (~held_out, held_out)
    ]
    exact = Normal(sides[0], 0.7).log_prob(log_p[0]) - Normal(sides[1], 0.7).log_prob(log_p[0])
    torch.testing.assert_close(scores[0], exact, rtol=0.05, atol=0.05)


def test_with_a_pooled_variance_one_other_model_is_enough():
    log_p = torch.tensor([[3.0, 30.0], [1.0, 10.0], [2.0, 12.0], [5.0, 14.0], [7.0, 40.0]])
    held_out = torch.tensor([[True, True], [False, False], [False, False], [True, False], [True, True]])
    # For model 1, the others are 2 with the first item and 3, 5, 7 without; 12, 14 with the second and 30, 40 without.
    within, without = norm.logpdf([1, 10], [2, 13], (2 / 3) ** 0.5), norm.logpdf([1, 10], [5, 35], (58 / 5) ** 0.5)
    torch.testing.assert_close(lira(log_p, held_out, pooled=True)[1], torch.from_numpy(within - without))
    with pytest.raises(ValueError, match=r"1 of 2 items have fewer than 2 \(other\) models without the item"):
        lira(log_p, held_out)


def test_correction_is_what_is_taken_off_the_number_of_models():
    log_p, held_out = planted(9, 4, gain=2.0)
    larger, smaller = (lira_offline(log_p, held_out, correction=c) for c in (0, 1))
    count = held_out.sum(0) - held_out.int()  # other models without the item
    torch.testing.assert_close(larger / smaller, (count / (count - 1)).sqrt())


@pytest.mark.parametrize("attack", [lira, lira_offline])
@pytest.mark.parametrize("pooled", [False, True])
def test_shift_scale_and_order_do_not_matter(attack, pooled):
    log_p, held_out = planted(10, 6, gain=1.0)
    expected = attack(log_p, held_out, pooled=pooled)
    torch.testing.assert_close(attack(3 * log_p - 40, held_out, pooled=pooled), expected)
    order = torch.randperm(10)
    torch.testing.assert_close(attack(log_p[order], held_out[order], pooled=pooled), expected[order])
    items = torch.randperm(6)
    torch.testing.assert_close(attack(log_p[:, items], held_out[:, items], pooled=pooled), expected[:, items])


def test_exchanging_with_and_without_changes_the_sign():
    log_p, held_out = planted(10, 6, gain=1.0)
    torch.testing.assert_close(lira(log_p, ~held_out), -lira(log_p, held_out))


def test_with_many_models_both_attacks_reach_the_best_that_is_possible():
    """Two normals of the same variance, a gain apart: the area is Phi(gain / (sqrt(2) spread)) for any attack."""
    log_p, held_out = planted(60, 400, gain=1.5)
    best = norm.cdf(1.5 / 2**0.5)
    for attack in (lira, lira_offline):
        scores = attack(log_p, held_out, pooled=True)
        assert roc(scores[~held_out], scores[held_out]).auc == pytest.approx(best, abs=0.02)
    assert roc(log_p[~held_out], log_p[held_out]).auc < 0.55  # log p without calibration


def test_without_memorisation_attacks_are_at_chance():
    log_p, held_out = planted(16, 1500, gain=0.0)
    for attack in (lira, lira_offline):
        scores = attack(log_p, held_out)
        assert roc(scores[~held_out], scores[held_out]).auc == pytest.approx(0.5, abs=0.01)


def test_a_difference_of_spreads_alone_is_seen_online_and_not_by_means():
    """Models with the item agree more: sd 1 against 3, with equal means."""
    held_out = torch.rand(60, 300).argsort(0) < 30
    log_p = torch.where(held_out, 3.0, 1.0) * torch.randn(60, 300)
    online, offline = lira(log_p, held_out), lira_offline(log_p, held_out)
    assert roc(online[~held_out], online[held_out]).auc > 0.7
    assert roc(offline[~held_out], offline[held_out]).auc == pytest.approx(0.5, abs=0.03)
    assert difference_of_means(log_p, held_out).mean().abs() < 0.2


def test_offline_attack_needs_no_model_with_the_item():
    log_p = torch.randn(5, 3)
    held_out = torch.ones(5, 3, dtype=torch.bool)
    held_out[0] = False
    assert lira_offline(log_p, held_out)[0].isfinite().all()
    with pytest.raises(ValueError, match=r"3 of 3 items have fewer than 2 \(other\) models with the item"):
        lira(log_p, held_out)


# what the public code of the attack does


def test_the_public_fixed_variance_is_that_between_items_as_well():
    """Lines 79 to 87 of research/mi_lira_2021/plot.py of tensorflow/privacy at 03035d5, with a known answer.

    Within items the standard deviation is 1, between items 100; the code's is 100, and that of models *with* an item on
    both sides, whatever that of models without it.
    """
    held_out = torch.rand(40, 500).argsort(0) < 20
    log_p = 100 * torch.randn(500) + torch.where(held_out, 5.0, 1.0) * torch.randn(40, 500)
    dat_in = np.array([log_p[~held_out[:, j], j].numpy() for j in range(500)])
    std_in = np.std(dat_in)
    std_out = np.std(dat_in)
    assert std_in == std_out == pytest.approx(100, rel=0.1)


def test_the_public_offline_score_is_as_small_far_below_as_far_above():
    """Line 132 of the same file: the density at 10 standard deviations on either side of the models without an item."""
    above, below = scipy_logpdf(10.0), scipy_logpdf(-10.0)
    assert above == below
    held_out = torch.tensor([True, True, True, True, False, False])[:, None]
    log_p = torch.tensor([-1.0, 1.0, -1.0, 1.0, 10.0, -10.0])[:, None]
    assert lira_offline(log_p, held_out)[4:].flatten().tolist() == [10, -10]


def scipy_logpdf(value):
    return norm.logpdf(value, 0.0, 1.0 + 1e-30)


# recovery errors beside those of a reference


def test_calibrated_errors_are_differences_and_diverged_searches_stay_missing():
    error, reference = torch.tensor([1.0, 2.0, torch.nan]), torch.tensor([0.5, 3.0, 1.0])
    found = calibrated_error(error, reference)
    torch.testing.assert_close(found, torch.tensor([0.5, -1.0, torch.nan]), equal_nan=True)
    torch.testing.assert_close(calibrated_error(reference, error), -found, equal_nan=True)


def test_calibration_removes_how_hard_an_item_is():
    hard, member = 10 * torch.rand(2000), torch.arange(2000) % 2 == 0
    error = hard + 0.2 * torch.rand(2000) + 0.3 * ~member
    reference = hard + 0.2 * torch.rand(2000)
    calibrated = -calibrated_error(error, reference)
    assert roc(calibrated[member], calibrated[~member]).auc > 0.98
    assert roc(-error[member], -error[~member]).auc < 0.6


# the curve


def test_the_curve_of_known_scores():
    curve = roc(torch.tensor([3.0, 2.0]), torch.tensor([2.0, 1.0]))
    assert curve.threshold.tolist() == [math.inf, 3, 2, 1]
    assert (curve.tpr.tolist(), curve.fpr.tolist()) == ([0, 0.5, 1, 1], [0, 0, 0.5, 1])
    assert (curve.auc, curve.members, curve.others) == (0.875, 2, 2)


def test_every_point_is_what_its_threshold_gives_and_the_area_is_that_of_pairs():
    members, others = torch.randint(12, (70,)).double() + 1, torch.randint(12, (50,)).double()
    curve = roc(members, others)
    for threshold, tpr, fpr in zip(curve.threshold, curve.tpr, curve.fpr, strict=True):
        assert tpr == (members >= threshold).double().mean()
        assert fpr == (others >= threshold).double().mean()
    assert curve.auc == pytest.approx(statistics.auc(members.numpy(), others.numpy()))
    assert roc(others, members).auc == pytest.approx(1 - curve.auc)
    assert roc(members, members).auc == pytest.approx(0.5)


def test_monotone_changes_of_scores_do_not_matter():
    members, others = torch.randn(30) + 1, torch.randn(40)
    one, other = roc(members, others), roc(members.exp() * 5, others.exp() * 5)
    assert one.auc == pytest.approx(other.auc)
    torch.testing.assert_close(one.tpr, other.tpr)


def test_normal_scores_a_distance_apart_have_the_curve_of_normals():
    curve = roc(torch.randn(20_000) + 2, torch.randn(20_000))
    assert curve.auc == pytest.approx(norm.cdf(2 / 2**0.5), abs=0.005)
    for level in (0.01, 0.1):
        expected = norm.sf(norm.isf(level) - 2)
        assert curve.tpr_at(level).value == pytest.approx(expected, abs=0.03)


def test_the_rate_at_a_level_is_a_share_of_members_with_its_exact_interval():
    members, others = torch.arange(100.0) + 0.5, torch.arange(200.0) - 150  # the largest others are 49, 48, ...
    found = roc(members, others).tpr_at(0.05)  # ten others may pass, those from 40 on; and members down to 39.5
    assert found == share(61, 100)


def test_a_level_is_reached_where_it_is_a_whole_number_of_others():
    curve = roc(torch.arange(100.0) + 0.5, torch.arange(100.0))
    single = roc(torch.arange(100.0).float() + 0.5, torch.arange(100.0).float())
    for percent in range(2, 100):
        for one in (curve, single):
            assert one.tpr_at(percent / 100).value == (percent + 1) / 100


def test_levels_that_the_others_cannot_resolve_are_refused():
    members = torch.arange(10.0)
    roc(members, torch.arange(200.0)).tpr_at(0.01)
    with pytest.raises(ValueError, match=r"0\.01 needs at least 200 items that are no members, .* got 199"):
        roc(members, torch.arange(199.0)).tpr_at(0.01)
    for level in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=r"must be in \(0, 1\)"):
            roc(members, members).tpr_at(level)


# what cannot be measured


def test_bad_input_is_refused():
    log_p, held_out = planted(6, 3, gain=0.0)
    for measure in (difference_of_means, lira, lira_offline):
        with pytest.raises(ValueError, match="log p is NaN or infinite in 1 of 18 numbers"):
            measure(torch.where(torch.arange(18).view(6, 3) == 4, torch.nan, log_p), held_out)
    with pytest.raises(ValueError, match=r"2 of 3 items have fewer than 1 \(other\) models without the item"):
        difference_of_means(log_p, held_out & (torch.arange(3) == 0))
    with pytest.raises(ValueError, match=r"1 of 3 items have fewer than 1 \(other\) models with the item"):
        difference_of_means(log_p, held_out | (torch.arange(3) == 0))
    few = torch.arange(6)[:, None].expand(6, 3) < 2  # two models without the items, of which one can be the target
    with pytest.raises(ValueError, match=r"3 of 3 items have fewer than 2 \(other\) models without the item"):
        lira(log_p, few)
    with pytest.raises(ValueError, match="models with the item do not differ at all in 3 of 3 variances"):
        lira(torch.zeros(6, 3), held_out)
    with pytest.raises(ValueError, match="models without the item do not differ at all in 1 of 1 variances"):
        lira_offline(torch.zeros(6, 3), held_out, pooled=True)
    with pytest.raises(ValueError, match="2 of 6 errors are negative or infinite"):
        calibrated_error(torch.tensor([-1.0, 1.0, 2.0]), torch.tensor([torch.inf, 1.0, 1.0]))
    with pytest.raises(ValueError, match="1 of 2 scores of members are not finite"):
        roc(torch.tensor([1.0, torch.inf]), torch.zeros(3))
    with pytest.raises(ValueError, match="0 of 0 scores of others are not finite"):
        roc(torch.zeros(2), torch.zeros(0))
