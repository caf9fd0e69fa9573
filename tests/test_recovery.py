import math
from itertools import cycle, pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import affine, counted, defaults
from scipy.stats import ks_2samp, norm

from lib.measures import recovery
from lib.measures.recovery import false_alarms, frechet_distance, overfitting, recover


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def basins(z):
    """One latent; the output 1 is met at z = 2, and nearly at z = -2."""
    value = 1 - (z - 2).square() * ((z + 2).square() + 0.3) / 40
    return torch.cat([value, 0 * z], 1)


def test_a_linear_generator_is_recovered_to_its_least_squares_residual():
    decoder, matrix = affine(12, 4)
    y = torch.randn(30, 12)
    offset = decoder(torch.zeros(1, 4))
    exact = torch.linalg.lstsq(matrix, (y - offset).T).solution.T
    found = recover(decoder, y, latent=4, rng=seeded())
    torch.testing.assert_close(found.z, exact, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.error, (decoder(exact) - y).square().mean(1))
    assert found.converged.all()


def test_an_image_that_the_generator_made_is_found_again():
    decoder, _ = affine(12, 4)
    z = torch.randn(10, 4)
    found = recover(
        lambda z: decoder(z).tanh().view(-1, 3, 4),
        decoder(z).tanh().view(-1, 3, 4),
        latent=4,
        steps=400,
        restarts=8,
        rng=seeded(),
    )
    assert found.error.median() < 1e-8


def test_restarts_find_the_better_basin():
    y = torch.tensor([[1.0, 0.0]]).expand(20, 2)
    one = recover(basins, y, latent=1, scale=2.0, steps=100, rng=seeded())
    many = recover(basins, y, latent=1, scale=2.0, steps=100, restarts=8, rng=seeded())
    assert (one.error > 1e-6).any()
    assert (many.error < 1e-9).all()
    assert (many.error <= one.error + 1e-12).all()


def test_images_do_not_know_of_each_other():
    decoder, _ = affine(12, 4)
    y = torch.randn(6, 12)
    whole = recover(lambda z: decoder(z).sin(), y, latent=4, rng=seeded())
    starts = torch.randn(1, 6, 4, generator=seeded())
    for i in range(6):
        # The same start, alone: a scale of zero and the start inside the decoder.
        alone = recover(lambda z, i=i: decoder(z + starts[0, i]).sin(), y[i : i + 1], latent=4, scale=0.0)
        torch.testing.assert_close(whole.z[i], alone.z[0] + starts[0, i], atol=1e-6, rtol=1e-6)


def test_more_steps_never_raise_the_error():
    decoder, _ = affine(12, 4)
    y = torch.rand(20, 12)
    errors = [
        recover(lambda z: decoder(z).sigmoid(), y, latent=4, steps=n, rng=seeded()).error for n in (1, 5, 25, 100)
    ]
    for fewer, more in pairwise(errors):
        assert (more <= fewer + 1e-12).all()


def test_it_is_no_worse_than_torchs_own_a_row_at_a_time():
    decoder, _ = affine(12, 4)
    y, starts = torch.rand(15, 12), torch.randn(1, 15, 4, generator=seeded())[0]
    ours = recover(lambda z: decoder(z).sigmoid(), y, latent=4, rng=seeded()).error
    theirs = []
    for target, start in zip(y, starts, strict=True):
        z = start.clone()[None].requires_grad_()
        optimizer = torch.optim.LBFGS([z], max_iter=50, history_size=10, line_search_fn="strong_wolfe")

        def closure(z=z, target=target, optimizer=optimizer):
            optimizer.zero_grad()
            loss = (decoder(z).sigmoid() - target).square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        theirs.append((decoder(z).sigmoid() - target).square().mean().detach())
    assert ours.median() <= torch.stack(theirs).median() * 1.01


def test_what_the_transform_hides_does_not_count_in_the_search_but_in_the_error():
    decoder, _ = affine(12, 4)
    y = decoder(torch.randn(5, 4))
    damaged = y.clone()
    damaged[:, 6:] = 100.0
    found = recover(decoder, damaged, latent=4, transform=lambda images: images[:, :6], rng=seeded())
    torch.testing.assert_close(decoder(found.z), y, atol=1e-3, rtol=1e-3)
    assert (found.error > 1000).all()


def test_a_search_that_diverges_is_reported_and_not_dropped():
    def broken(z):
        return torch.where(z[:, :1] > 0, torch.nan, z)

    found = recover(broken, torch.zeros(200, 2), latent=2, rng=seeded())
    diverged = found.error.isnan()
    assert 50 < diverged.sum() < 150
    assert not found.converged[diverged].any()
    assert (found.error[~diverged] < 1e-6).all()
    assert not recover(broken, torch.zeros(50, 2), latent=2, restarts=12, rng=seeded()).error.isnan().any()


def test_overfitting_is_signed_and_has_an_interval():
    rng = np.random.default_rng(0)
    train, test = (torch.from_numpy(scale * rng.lognormal(size=400)) for scale in (1.0, 2.0))
    found = overfitting(train, test)
    assert found.gap == pytest.approx(0.5, abs=0.1)
    assert found.interval.low < found.gap < found.interval.high
    assert found.detected
    assert found.p_value == pytest.approx(ks_2samp(train.numpy(), test.numpy()).pvalue)
    assert overfitting(test, train).gap < -0.5
    assert not overfitting(train[:200], train[200:]).p_value < 0.01


@pytest.mark.parametrize(("gap", "detected"), [(0.06, False), (0.09, False), (0.11, True), (0.19, True)])
def test_the_first_half_of_the_papers_rule_is_a_gap_above_a_tenth(gap, detected):
    errors = torch.linspace(1, 2, 20)
    found = overfitting((1 - gap) * errors, errors)
    assert found.gap == pytest.approx(gap)
    assert found.p_value > 0.05
    assert found.detected == detected


@pytest.mark.parametrize(("moved", "p_value", "detected"), [(14, 0.0143, False), (15, 0.0068, True)])
def test_the_second_half_of_the_papers_rule_is_a_p_value_below_a_hundredth(moved, p_value, detected):
    errors = torch.linspace(1, 2, 40)
    train = errors.clone()
    train[:moved] = 0.5  # the median stays
    found = overfitting(train, errors)
    assert found.gap == 0
    assert found.p_value == pytest.approx(p_value, abs=1e-4)
    assert found.detected == detected
    assert found.ks == pytest.approx(moved / 40)


def test_eight_errors_are_enough():
    assert overfitting(torch.rand(8), torch.rand(8)).interval.n == 16
    assert overfitting(torch.rand(8), torch.rand(8)).interval.missing == 0


def test_diverged_images_are_counted():
    errors = torch.rand(30)
    errors[:3] = torch.nan
    found = overfitting(errors, torch.rand(20))
    assert (found.interval.n, found.interval.missing) == (47, 3)


def test_it_runs_in_parts_with_the_same_result(monkeypatch):
    decoder, _ = affine(12, 4)
    y = torch.randn(9, 12)
    whole = recover(decoder, y, latent=4, restarts=2, rng=seeded())
    for rows, most in ((4, 4), (1, 2)):  # an image's searches are never parted
        monkeypatch.setattr(recovery, "ROWS", rows)
        counting, counts = counted(decoder)
        torch.testing.assert_close(recover(counting, y, latent=4, restarts=2, rng=seeded()).z, whole.z)
        assert max(counts) == most


def test_a_pass_searches_for_at_most_1024_images():
    decoder, _ = affine(3, 1)
    counting, counts = counted(decoder)
    recover(counting, torch.randn(1025, 3), latent=1, steps=1, rng=seeded())
    assert max(counts) == 1024
    assert counts.count(1024) > 1


def test_defaults_are_those_of_the_paper_and_the_interface():
    expected = {"steps": 50, "restarts": 1, "scale": 1.0, "tolerance": 1e-9}
    assert defaults(recover) == expected | {"transform": None, "rng": None, "limits": None}
    assert defaults(overfitting) == {"seed": 0}
    assert defaults(false_alarms) == {"draws": 1000, "seed": 0}


def test_bad_input_is_refused():
    decoder, _ = affine(12, 4)
    with pytest.raises(ValueError, match=r"the decoder makes \[12\], the images are \[3, 4\]"):
        recover(decoder, torch.zeros(2, 3, 4), latent=4)
    with pytest.raises(ValueError, match="1 of 2 images are not finite"):
        recover(decoder, torch.tensor([[0.0] * 12, [torch.inf] * 12]), latent=4)
    with pytest.raises(ValueError, match="must be at least 1, got 4, 0 and 1"):
        recover(decoder, torch.zeros(2, 12), latent=4, steps=0)
    with pytest.raises(ValueError, match="at least 8 errors are needed on either side, got 7 and 9"):
        overfitting(torch.rand(7), torch.rand(9))


def test_images_outside_the_decoders_range_are_refused():
    decoder, _ = affine(12, 4)
    with pytest.raises(ValueError, match=r"images must be in \[0.0, 1.0\], got \[0, 255\]"):
        recover(decoder, torch.tensor([[0.0] * 11 + [255.0]]), latent=4, limits=(0.0, 1.0))
    recover(decoder, torch.tensor([[0.0, 1.0] * 6]), latent=4, limits=(0.0, 1.0))


def test_the_ks_rule_holds_its_level_and_the_gap_rule_does_not():
    errors = torch.randn(2000).exp()
    gap, ks = false_alarms(errors, 50, draws=2000)
    assert ks.low <= 0.01 <= ks.high or ks.high < 0.01  # the exact test is conservative
    # The gap of two medians of 50 log-normal values has a standard deviation of nearly (pi / 50) ** 0.5.
    expected = norm.sf(-math.log(0.9) / math.sqrt(math.pi / 50))
    assert gap.value == pytest.approx(expected, abs=0.04)
    for size in (7, 11):
        with pytest.raises(ValueError, match=rf"size must be in 8\.\.10, half of the errors, got {size}"):
            false_alarms(errors[:21], size)


def test_the_smallest_and_the_largest_sides_are_allowed():
    assert [false_alarms(torch.rand(16), 8, draws=5)[k].n for k in (0, 1)] == [5, 5]


def test_a_false_alarm_of_the_test_is_a_p_value_below_a_hundredth(monkeypatch):
    p_values = cycle([0.004, 0.007, 0.015, 0.03])
    monkeypatch.setattr(recovery, "ks_2samp", lambda *_: SimpleNamespace(pvalue=next(p_values)))
    assert false_alarms(torch.rand(40), 20, draws=8)[1].value == 0.5


def test_a_false_alarm_of_the_gap_is_one_above_a_tenth(monkeypatch):
    gaps = np.array([0.06, 0.09, 0.11, 0.19])
    monkeypatch.setattr(recovery, "_gap", lambda *_: gaps)
    assert false_alarms(torch.rand(40), 20, draws=4)[0].value == 0.5


def test_errors_that_are_unknown_are_left_out_of_the_divisions():
    errors = torch.cat([torch.rand(20), torch.full((20,), torch.nan)])
    assert false_alarms(errors, 10, draws=50) == false_alarms(errors[:20], 10, draws=50)


def test_false_alarms_of_the_gap_vanish_with_many_images():
    errors = (0.2 * torch.randn(4000)).exp()
    assert false_alarms(errors, 30, draws=300)[0].value > false_alarms(errors, 2000, draws=300)[0].value


def test_the_frechet_distance_of_two_normals():
    a = torch.randn(200_000, 3) * torch.tensor([1.0, 2.0, 0.5])
    b = torch.randn(200_000, 3) + torch.tensor([1.0, 0.0, 0.0])
    # Diagonal covariances: the squared difference of the means and of the standard deviations.
    assert frechet_distance(a, b) == pytest.approx(1 + 0 + 1 + 0.25, rel=0.02)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))


def test_the_frechet_distance_of_one_feature_is_that_of_means_and_deviations():
    a, b = torch.randn(30, 1), 3 * torch.randn(40, 1) + 2
    expected = (a.mean() - b.mean()).square() + (a.std() - b.std()).square()
    assert frechet_distance(a, b) == pytest.approx(expected.item())


def test_a_feature_that_never_changes_adds_nothing():
    for seed in range(20):
        a, b = torch.randn(2, 30, 4, generator=seeded(seed))
        a[:, 2:], b[:, 2:] = a[:, :1], b[:, :1]  # of rank two
        a[:, 1], b[:, 1] = 0.7, 0.7
        assert frechet_distance(a, b) == pytest.approx(3 * frechet_distance(a[:, :1], b[:, :1]))


def test_the_frechet_distance_does_not_depend_on_the_axes():
    a, b = torch.randn(50, 4), torch.randn(60, 4) @ torch.randn(4, 4)
    rotation, _ = torch.linalg.qr(torch.randn(4, 4))
    assert frechet_distance(a @ rotation, b @ rotation) == pytest.approx(frechet_distance(a, b))
    with pytest.raises(ValueError, match="more than 4 of either are needed for 4 features, got 4, 60"):
        frechet_distance(a[:4], b)
