from concurrent.futures import ThreadPoolExecutor

import planted
import pytest
import torch

from lib.measures.memorization import score, split
from lib.protocols import evidence


def ask(fits, samples, **options):
    with ThreadPoolExecutor(2) as executor:
        return evidence.ask_again(fits, samples, executor=executor, **options)


def weights(*seed):
    return torch.randn(4, 2, generator=torch.Generator().manual_seed(sum(seed)))


def exact(repeat, fold):
    return planted.Linear(weights(repeat, fold))


def test_a_model_with_its_true_posterior_is_exact_with_any_number_of_samples():
    fits = planted.models(exact)
    asked = ask(fits, 3, images=4)
    expected = [[exact(repeat, fold).log_p(fits.x[:4]) for fold in range(3)] for repeat in range(2)]
    torch.testing.assert_close(asked.log_p, torch.stack([torch.stack(row) for row in expected]))
    torch.testing.assert_close(asked.ess, torch.full((2, 3, 4), 3.0))
    assert torch.equal(asked.held_out, fits.held_out[:, :4])
    assert not evidence.flagged(asked.ess).any()


def test_every_model_has_random_numbers_of_its_own_which_do_not_depend_on_the_workers():
    fits = planted.models(lambda *_: planted.Linear(weights(0), wide=1.5))
    asked = ask(fits, 3, images=6)
    assert len(asked.log_p[..., 0].unique()) == 6
    with ThreadPoolExecutor(1) as executor:
        again = evidence.ask_again(fits, 3, images=6, executor=executor)
    assert torch.equal(asked.log_p, again.log_p)


def test_redrawn_pixels_differ_between_models_that_are_the_same():
    fits = planted.models(lambda *_: planted.Linear(weights(0)))
    same, other = ask(fits, 2, images=6).log_p, ask(fits, 2, images=6, redraw=True).log_p
    torch.testing.assert_close(same.flatten(0, 1).std(0), torch.zeros(6))
    assert (other.flatten(0, 1).std(0) > 0).all()
    pixels = evidence.kfold.observed(fits.spec, fits.shown, evidence.kfold.REDRAWN + 5)
    torch.testing.assert_close(other[1, 2], planted.Linear(weights(0)).log_p(pixels))


@pytest.mark.parametrize("gain", [0.0, 3.0])
def test_the_gap_is_the_mean_gain_whatever_single_models_say(gain):
    log_p, held_out = planted.log_p(4, 3, 2000, gain=gain, spread=2.0)
    assert evidence.gap(log_p, held_out).mean() == pytest.approx(gain, abs=0.2)
    inside, outside = split(log_p, held_out)
    assert score(inside, outside).mean() > gain + 0.2  # which the score is not


def test_a_share_of_flagged_estimates_counts_those_below_two():
    ess = torch.full((2, 3, 5), 2.0)
    assert evidence.flagged_share(ess, seed=0).value == 0
    ess[0, 0] = 1.9
    assert evidence.flagged_share(ess, seed=0).value == pytest.approx(1 / 6)


def test_more_samples_of_a_wide_encoder_are_less_far_below_the_truth():
    fits = planted.models(lambda *_: planted.Linear(weights(0), wide=3.0), n=200)
    truth = float(planted.Linear(weights(0)).log_p(fits.x).mean())
    few, many = (evidence.precision(ask(fits, count, images=200), count, seed=0) for count in (2, 50))
    assert few.inside < many.inside < truth + 0.05
    assert few.outside < many.outside
    assert many.inside == pytest.approx(truth, abs=0.1)
    assert few.flagged.value > many.flagged.value
    assert (few.samples, many.samples) == (2, 50)


def test_precision_is_of_the_sides_that_it_names():
    log_p, held_out = planted.log_p(2, 3, 30, gain=4.0)
    asked = evidence.Asked(log_p, torch.full(log_p.shape, 8.0), held_out)
    row = evidence.precision(asked, 8, seed=0)
    assert (row.inside, row.outside) == (-76.0, -80.0)
    assert row.gap.value == pytest.approx(4)
    assert row.score.value == pytest.approx(4)


def test_a_shift_is_what_more_samples_add_to_the_gap():
    few, many = (
        evidence.Asked(*planted.log_p(2, 3, 30, gain=gain)[:1], torch.ones(2, 3, 30), planted.held_out(2, 3, 30))
        for gain in (1.0, 3.0)
    )
    assert evidence.shift(few, many, seed=0).value == pytest.approx(2)
