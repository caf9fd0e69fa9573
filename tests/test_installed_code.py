"""What installed code computes where the answer is known. Each function does what the named lines do, on arrays.

Where a library disagrees with the paper that it implements, the test states both answers.
"""

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree

from lib.measures.copying import authenticity, authenticity_null, nearer_to_training


def nearest(x, among, count=1):
    """Distances and indices, as of sklearn's kneighbors."""
    distances, indices = KDTree(among).query(x, k=[*range(1, count + 1)])
    return distances, indices


# Authenticity


def synthcity_authenticity(real, synthetic):
    """Lines 593 to 602, 627 and 628 of synthcity's metrics/eval_statistical.py at 23f322f.

    The authors' own code has the same: ahmedmalaa/evaluating-generative-models at 0939104, metrics/evaluation.py, line 80.
    """
    real_to_real = nearest(real, real, 2)[0][:, 1]
    real_to_synth, real_to_synth_args = (found[:, 0] for found in nearest(real, synthetic))
    authen = real_to_real[real_to_synth_args] < real_to_synth  # an index of synthetic rows, into distances of real rows
    return np.mean(authen)


def test_authenticity_depends_on_the_order_of_rows_there():
    """Nine real points side by side and one far away; one sample near the nine, which is authentic, nine near the one."""
    real = np.array([*np.arange(9) / 10, 100.0])[:, None]
    synthetic = np.array([2.0, *100.5 + np.arange(9) / 100])[:, None]
    assert authenticity(torch.from_numpy(synthetic), torch.from_numpy(real)) == 0.1
    assert authenticity(torch.from_numpy(synthetic[::-1].copy()), torch.from_numpy(real)) == 0.1
    assert synthcity_authenticity(real, synthetic) == 1.0
    assert synthcity_authenticity(real, synthetic[::-1]) == 0.1


@pytest.mark.parametrize("d", [1, 2])
def test_fresh_samples_are_authentic_half_of_the_time_there_and_less_often_by_definition(d):
    """Two unrelated nearest distances are compared, each the larger half of the time, whatever the dimension."""
    rng = np.random.default_rng(0)
    theirs, ours = [], []
    for _ in range(10):
        real, synthetic = rng.random((2, 1500, d))
        theirs.append(synthcity_authenticity(real, synthetic))
        ours.append(authenticity(torch.from_numpy(synthetic), torch.from_numpy(real)))
    assert np.mean(theirs) == pytest.approx(0.5, abs=0.02)
    assert np.mean(ours) == pytest.approx(authenticity_null(d), abs=0.02)
    assert authenticity_null(d) < 0.4


# The memorisation distance of MiFID


def cosine_distance(first, second, eps=0.1):
    """Lines 39 to 48 of torchmetrics' image/mifid.py at dab0333, and lines 157 to 171 of the benchmark's code.

    jybai/generative-memorization-benchmark at 3d999d8, src/competition_scoring.py: the same but for the caller.
    """
    first, second = (features[features.sum(1) != 0] for features in (first, second))
    first, second = (features / np.linalg.norm(features, axis=1, keepdims=True) for features in (first, second))
    mean_min_d = np.mean(np.min(1 - np.abs(first @ second.T), axis=1))
    return mean_min_d if mean_min_d < eps else 1.0


def bai(real, fake):
    """Generated images first: the mean over them (Bai et al. 2021, and the benchmark's code)."""
    return cosine_distance(fake, real)


def torchmetrics(real, fake):
    """Real images first: lines 62 and 229 to 236. Its own test, against the benchmark's code, exchanges them there, too."""
    return cosine_distance(real, fake)


def test_a_generator_that_makes_one_training_image_is_not_punished_there():
    real = np.eye(10)
    fake = real[:1].repeat(50, axis=0)
    assert bai(real, fake) == 0  # nothing but copies: the score is divided by zero
    assert torchmetrics(real, fake) == 1  # nine of ten training images have no sample near: no penalty


def test_new_images_do_not_excuse_copies_there():
    """A copy of every training image amid nine times as many new images, each at right angles to all."""
    real, fake = np.eye(100)[:10], np.eye(100)
    assert bai(real, fake) == 1
    assert torchmetrics(real, fake) == 0


def test_both_agree_on_as_many_copies_as_images():
    real = np.random.default_rng(0).random((20, 5))
    assert bai(real, real) == pytest.approx(0, abs=1e-12)
    assert torchmetrics(real, real[::-1]) == pytest.approx(0, abs=1e-12)


# The distance to the closest record


def closest_record(dataset, reference):
    """calculate_dcr in SDMetrics' privacy/dcr_utils.py at 54362a3 for numbers: lines 26 to 30, 48, and 87."""
    ranges = reference.max(0) - reference.min(0)  # of the reference set, so of training and held-out rows separately
    difference = np.abs(dataset[:, None] - reference[None])
    return np.minimum(difference / ranges, 1.0).mean(2).min(1)


def overfitting_protection(train, synthetic, held_out):
    """Lines 135 to 152 of SDMetrics' privacy/dcr_overfitting_protection.py: the share and the score."""
    nearer = closest_record(synthetic, train) < closest_record(synthetic, held_out)
    percentage_close_to_real = np.where(nearer, 1.0, 0.0).sum() / nearer.size
    return percentage_close_to_real, min((1.0 - percentage_close_to_real) * 2, 1.0)


def mean_protection(n, m):
    rng = np.random.default_rng(0)
    sets = [(rng.random((n, 2)), rng.random((300, 2)), rng.random((m, 2))) for _ in range(60)]
    return np.mean([overfitting_protection(*three) for three in sets], axis=0)


def test_fresh_rows_have_a_score_of_two_thirds_with_the_half_size_hold_out_that_is_let_pass():
    """The warning of lines 61 to 67 begins below half; at half, two of three neighbours are training rows by chance."""
    share, score = mean_protection(200, 100)
    assert share == pytest.approx(2 / 3, abs=0.02)
    assert score == pytest.approx(2 / 3, abs=0.04)


def test_equal_sizes_give_one_half_and_unequal_ones_are_refused_here():
    assert mean_protection(150, 150)[0] == pytest.approx(1 / 2, abs=0.02)
    with pytest.raises(ValueError, match="with unequal sizes chance is not 1/2"):
        nearer_to_training(torch.rand(5, 2), torch.rand(200, 2), torch.rand(100, 2))


def test_ties_count_as_held_out_there_and_as_half_here():
    """Copies of rows that are in both sets, as categories often are: full protection there, chance here."""
    rows = np.array([[0.0], [1.0], [2.0]])
    assert overfitting_protection(rows, rows, rows) == (0.0, 1.0)
    assert nearer_to_training(*map(torch.from_numpy, (rows, rows, rows))) == 0.5


def baseline_protection(real, synthetic, rng):
    """Lines 120 to 136 of SDMetrics' privacy/dcr_baseline_protection.py, with the random rows of lines 215 to 218."""
    random = rng.uniform(real.min(0), real.max(0), size=synthetic.shape)
    return min(np.median(closest_record(synthetic, real)) / np.median(closest_record(random, real)), 1.0)


def test_the_baseline_has_no_hold_out_and_fails_fresh_rows_of_dependent_columns():
    """Two equal columns: fresh rows are on a line, uniform ones are not, so their ratio says nothing of copies."""
    rng = np.random.default_rng(0)
    real, fresh = (np.repeat(rng.random((200, 1)), 2, axis=1) for _ in range(2))
    assert baseline_protection(real, fresh, rng) < 0.05
    assert baseline_protection(rng.random((200, 2)), rng.random((200, 2)), rng) > 0.85
