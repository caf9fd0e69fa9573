import itertools
import math

import pytest
import torch

from lib.measures.memorization import (
    balanced_score,
    gaussian_null,
    nearest_neighbour_ratio,
    null_split,
    score,
    scores,
    split,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_equal_models_give_the_difference_of_their_log_probabilities():
    torch.testing.assert_close(score(torch.full((9, 4), -80.0), torch.full((1, 4), -85.0)), torch.full((4,), 5.0))


def test_the_score_is_a_log_of_means():
    p_in, p_out = torch.rand(9, 6) + 0.1, torch.rand(3, 6) + 0.1
    torch.testing.assert_close(score(p_in.log(), p_out.log()), (p_in.mean(0) / p_out.mean(0)).log())


def test_the_score_does_not_overflow():
    torch.testing.assert_close(score(torch.full((2, 1), -9e4), torch.full((2, 1), -9.5e4)), torch.tensor([5e3]))


def test_a_constant_added_to_all_models_does_not_matter_nor_does_their_order():
    log_p = torch.randn(12, 5)
    one = score(log_p[:9], log_p[9:])
    torch.testing.assert_close(score(log_p[:9] - 300, log_p[9:] - 300), one)
    torch.testing.assert_close(score(log_p[:9].flip(0), log_p[9:].flip(0)), one)


def test_swapping_the_sides_swaps_the_sign():
    a, b = torch.randn(4, 5), torch.randn(4, 5)
    torch.testing.assert_close(score(a, b), -score(b, a))
    torch.testing.assert_close(balanced_score(a, b), score(a, b))


@pytest.mark.parametrize(("spread", "median"), [(3.0, 1.1), (4.0, 1.9), (6.0, 3.6)])
def test_the_published_sizes_give_a_positive_median_without_any_memorisation(spread, median):
    assert gaussian_null(spread, 90, 10, 40_000, rng=seeded()).median() == pytest.approx(median, abs=0.1)


def test_the_null_vanishes_with_the_spread():
    assert gaussian_null(0.0, 90, 10, 10, rng=seeded()).abs().max() < 1e-12
    # To second order log mean exp has the mean s^2/2 (1 - 1/n): the null's mean is s^2/2 (1/10 - 1/90).
    found = gaussian_null(0.1, 90, 10, 400_000, rng=seeded())
    assert found.mean() == pytest.approx(0.005 * (1 / 10 - 1 / 90), abs=4 * found.std().item() / 400_000**0.5)


def test_the_balanced_score_has_no_bias_where_the_score_has():
    log_p = 4 * torch.randn(100, 20_000)
    standard_error = 4 / 20_000**0.5
    assert score(log_p[:90], log_p[90:]).mean() > 50 * standard_error
    assert abs(balanced_score(log_p[:90], log_p[90:]).mean()) < 4 * standard_error


def test_both_scores_recover_a_planted_memorisation():
    planted = torch.tensor([0.0, 5.0, 50.0])
    log_p = torch.randn(100, 3) * 0.01
    log_p[:90] += planted
    for measure in (score, balanced_score):
        torch.testing.assert_close(measure(log_p[:90], log_p[90:]), planted, atol=0.05, rtol=0)


def test_models_left_over_by_the_groups_do_not_count():
    log_p_in, log_p_out = torch.randn(7, 5), torch.randn(3, 5)
    spoilt = log_p_in.clone()
    spoilt[6] = 1e6
    torch.testing.assert_close(balanced_score(spoilt, log_p_out), balanced_score(log_p_in, log_p_out))
    groups = [score(log_p_in[:3], log_p_out), score(log_p_in[3:6], log_p_out)]
    torch.testing.assert_close(balanced_score(log_p_in, log_p_out), sum(groups) / 2)


def test_one_model_without_the_image_is_enough():
    log_p_in, log_p_out = torch.randn(4, 5), torch.randn(1, 5)
    torch.testing.assert_close(balanced_score(log_p_in, log_p_out), log_p_in.mean(0) - log_p_out[0])


def test_rows_are_ordered_by_the_fold_after_the_images_own():
    for repeats, folds in ((3, 4), (2, 2)):
        held_out = torch.randint(folds, (repeats, 6), generator=seeded())
        log_p = torch.randn(repeats, folds, 6)
        log_p_in, log_p_out = split(log_p, held_out)
        for i, repeat in itertools.product(range(6), range(repeats)):
            assert log_p_out[repeat, i] == log_p[repeat, held_out[repeat, i], i]
            for g in range(folds - 1):
                assert log_p_in[g * repeats + repeat, i] == log_p[repeat, (held_out[repeat, i] + g + 1) % folds, i]


def test_split_puts_every_model_on_its_side():
    repeats, folds, n = 3, 4, 10
    held_out = torch.randint(folds, (repeats, n), generator=seeded())
    # Each number says which model made it.
    log_p = (torch.arange(repeats)[:, None, None] * 10.0 + torch.arange(folds)[:, None]).expand(-1, -1, n)
    log_p_in, log_p_out = split(log_p, held_out)
    assert log_p_in.shape == (9, n)
    torch.testing.assert_close(log_p_out, torch.arange(repeats)[:, None] * 10.0 + held_out)
    for i in range(n):
        assert sorted([*log_p_in[:, i].tolist(), *log_p_out[:, i].tolist()]) == sorted(
            log_p[:, :, i].flatten().tolist()
        )
    for group in log_p_in.split(repeats):
        assert (group // 10 == torch.arange(repeats)[:, None]).all()  # one of every repeat


def test_the_null_split_uses_every_model_with_the_image_once_and_no_other():
    log_p_in = torch.arange(12.0)[:, None].expand(-1, 50).contiguous()  # 4 groups of 3 repeats
    null_in, null_out = null_split(log_p_in, 3, rng=seeded())
    assert (null_in.shape, null_out.shape) == ((9, 50), (3, 50))
    torch.testing.assert_close(torch.cat([null_in, null_out]).sort(0).values, log_p_in)
    assert (null_out % 3 == torch.arange(3)[:, None]).all()
    assert len(null_out.unique(dim=1).T) > 10  # each image draws for itself


def test_of_single_repeats_one_model_is_relabelled():
    log_p_in = torch.arange(3.0)[:, None].expand(-1, 90).contiguous()
    kept, relabelled = null_split(log_p_in, 1, rng=seeded())
    torch.testing.assert_close(torch.cat([kept, relabelled]).sort(0).values, log_p_in)
    assert (relabelled.unique(return_counts=True)[1] > 15).all()


def test_the_null_sees_no_memorisation_and_the_score_does():
    held_out = torch.stack([torch.arange(2000) % 5 for _ in range(4)])
    log_p = torch.randn(4, 5, 2000)
    log_p.scatter_add_(1, held_out[:, None], torch.full((4, 1, 2000), -20.0))  # without the image: 20 nats less
    log_p_in, log_p_out = split(log_p, held_out)
    null = null_split(log_p_in, 4, rng=seeded())
    assert balanced_score(log_p_in, log_p_out).mean() == pytest.approx(20, abs=0.1)
    assert balanced_score(*null).mean() == pytest.approx(0, abs=0.1)


def test_the_ratio_of_known_distances():
    x = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    validation = torch.tensor([[0.0, 3.0], [10.0, 8.0]])
    samples = torch.tensor([[0.0, -2.0], [14.0, 0.0], [100.0, 100.0]])
    torch.testing.assert_close(nearest_neighbour_ratio(x, validation, samples), torch.tensor([3 / 2, 8 / 4]))


def test_each_image_is_measured_against_its_own_row():
    x, validation, samples = torch.rand(600, 1, 4, 4), torch.rand(40, 1, 4, 4), torch.rand(40, 1, 4, 4)
    whole = nearest_neighbour_ratio(x, validation, samples)
    alone = torch.cat([nearest_neighbour_ratio(image[None], validation, samples) for image in x])
    torch.testing.assert_close(whole, alone)
    order = torch.randperm(600, generator=seeded())
    torch.testing.assert_close(nearest_neighbour_ratio(x[order], validation, samples), whole[order])


@pytest.mark.parametrize("among", [200, 3000])
def test_a_copy_among_many_samples_is_a_copy(among):
    """In float32 and from 26 rows on, distances from an expanded square would be small and not zero."""
    x, samples = (torch.rand(100, 784, generator=seeded(s), dtype=torch.float32) for s in range(2))
    samples = torch.cat([samples, x[17:18], torch.rand(among - 101, 784, generator=seeded(2), dtype=torch.float32)])
    with pytest.raises(ValueError, match="1 of 100 images equal a sample"):
        nearest_neighbour_ratio(x, torch.rand(among, 784, generator=seeded(3), dtype=torch.float32), samples)


def test_images_of_the_same_kind_have_a_ratio_of_about_one():
    x, validation, samples = (torch.randn(1000, 8, generator=seeded(s)) for s in range(3))
    assert math.log(nearest_neighbour_ratio(x, validation, samples).median()) == pytest.approx(0, abs=0.05)


def test_bad_input_is_refused():
    good = torch.zeros(4, 3)
    for empty in (0, 1):
        sides = [good, good]
        sides[empty] = good[:0]
        with pytest.raises(ValueError, match="no model with"):
            score(*sides)
    spoilt = good.clone()
    spoilt[1, 2], spoilt[2, 2] = torch.nan, torch.inf
    with pytest.raises(ValueError, match=r"NaN or infinite in 2 of 12 numbers of models with the image \(1 images\)"):
        score(spoilt, good)
    with pytest.raises(ValueError, match="models without the image"):
        score(good, spoilt)
    with pytest.raises(ValueError, match=r"1\.\.4 models without the image, got 5"):
        balanced_score(good, torch.zeros(5, 3))
    with pytest.raises(ValueError, match=r"1\.\.4 models without the image, got 0"):
        balanced_score(good, good[:0])
    with pytest.raises(ValueError, match="2 or more groups"):
        null_split(good, 4, rng=seeded())
    with pytest.raises(ValueError, match="2 or more groups"):
        null_split(good, 3, rng=seeded())
    with pytest.raises(ValueError, match="2 or more groups of out models with the image, got 4 and out=0"):
        null_split(good, 0, rng=seeded())
    with pytest.raises(ValueError, match="at least 2 folds"):
        split(torch.zeros(2, 1, 3), torch.zeros(2, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="nothing to compare"):
        nearest_neighbour_ratio(good, good[:0], good)
    with pytest.raises(ValueError, match="nothing to compare with: 4 validation images and 0 samples"):
        nearest_neighbour_ratio(good, good, good[:0])
    with pytest.raises(ValueError, match="1 of 4 images equal a sample"):
        nearest_neighbour_ratio(good + torch.arange(4.0)[:, None], good + 9, good)
    with pytest.raises(ValueError, match="4 of 4 images equal a sample"):
        nearest_neighbour_ratio(good, good + 1, good)


def test_all_scores_at_once_are_the_same_scores():
    held_out = torch.randint(3, (2, 30), generator=seeded())
    log_p = torch.randn(2, 3, 30)
    found = scores(log_p, held_out, rng=seeded(1))
    log_p_in, log_p_out = split(log_p, held_out)
    kept, played = null_split(log_p_in, 2, rng=seeded(1))
    expected = {
        "score": score(log_p_in, log_p_out),
        "balanced": balanced_score(log_p_in, log_p_out),
        "matched": score(kept, log_p_out),
        "null": score(kept, played),
        "balanced_matched": balanced_score(kept, log_p_out),
        "balanced_null": balanced_score(kept, played),
    }
    assert all(torch.equal(getattr(found, name), values) for name, values in expected.items())


def test_the_null_and_its_match_are_the_same_where_no_image_matters():
    log_p = 5 * torch.randn(4, 4, 20_000)
    held_out = torch.randint(4, (4, 20_000), generator=seeded())
    found = scores(log_p, held_out, rng=seeded(1))
    assert found.matched.median() == pytest.approx(found.null.median().item(), abs=0.15)
    assert found.null.median() > 1
    assert (found.balanced_matched > found.balanced_null.quantile(0.95)).double().mean() == pytest.approx(
        0.05, abs=0.006
    )
