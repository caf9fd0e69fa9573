"""Flows whose end is known: to one point, to a finite set, to mixtures of normal distributions."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from lib.measures import flow_density, flows
from lib.measures.density import log_density, log_prior
from lib.measures.jacobian import jacobian, singular_values

WEIGHTS, SCALES = (0.1, 0.2, 0.3, 0.4), (0.5, 1.0, 0.3, 0.7)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def means(dim=3):
    return 2 * torch.randn(4, dim, generator=rng())


def noise(count, dim=3):
    return torch.randn(count, dim, generator=rng(1))


def mixture(dim=3):
    return flows.mixture_velocity(WEIGHTS, means(dim), SCALES)


def known_log_p(x, dim=3):
    """The mixture's log density by scipy."""
    parts = zip(WEIGHTS, means(dim).numpy(), SCALES, strict=True)
    return np.log(sum(w * multivariate_normal(m, s**2 * np.eye(dim)).pdf(x.numpy()) for w, m, s in parts))


def test_what_the_memoriser_emits_are_training_images():
    data = torch.rand(30, 196, generator=rng())
    made = flows.sampler(flows.optimal_velocity(data), 20)(noise(200, 196))
    nearest = torch.cdist(made, data).min(1)
    assert nearest.values.max() < 1e-6
    assert len(nearest.indices.unique()) > 20  # and not one of them alone


def test_the_memoriser_emits_all_points_equally_often():
    data = torch.tensor([[0.0, 3.0], [0.0, -3.0], [3.0, 0.0], [-3.0, 0.0]])
    made = flows.sampler(flows.optimal_velocity(data), 40)(noise(4000, 2))
    counts = torch.cdist(made, data).argmin(1).bincount(minlength=4)
    assert (counts - 1000).abs().max() < 4 * (4000 * 0.25 * 0.75) ** 0.5


def test_the_optimal_velocity_minimises_the_loss_of_flow_matching():
    data, t = torch.tensor([[1.0], [-0.5], [0.2]]), 0.6
    z = torch.randn(400_000, 1, generator=rng())
    x = data[torch.randint(3, (len(z),), generator=rng(1))]
    y, target = (1 - t) * z + t * x, x - z
    for middle in (-0.4, 0.0, 0.5):  # the mean of x - z given x_t is the minimiser
        near = (y - middle).abs()[:, 0] < 0.02
        by_hand = target[near].mean()
        error = float(target[near].std() / near.sum() ** 0.5)
        exact = flows.optimal_velocity(data)(torch.tensor([[middle]]), t)
        assert float((exact - by_hand).abs()) < 4 * error + 0.01


def test_a_mixture_of_points_is_the_limit_of_narrow_parts():
    data, y = means(), noise(5)
    exact = flows.optimal_velocity(data)(y, 0.7)
    for scale, tolerance in ((1e-2, 1e-1), (1e-4, 1e-5)):
        near = flows.mixture_velocity([1.0] * 4, data, [scale] * 4)(y, 0.7)
        assert (near - exact).abs().max() < tolerance


@pytest.mark.parametrize("t", [0.0, 0.3, 0.95, 1.0])
def test_equal_round_parts_are_a_blurred_set(t):
    data, y = means(), noise(7)
    general = flows.mixture_velocity([2.0] * 4, data, [0.3] * 4)(y, t)
    torch.testing.assert_close(flows.blurred_velocity(data, 0.3)(y, t), general)


def test_at_time_one_the_velocity_of_a_density_is_the_point_itself():
    y = noise(6)
    torch.testing.assert_close(mixture()(y, 1.0), y)  # x - z with x = y, and z of mean zero


def errors(of, truth, many):
    return [float((of(steps) - truth).abs().mean()) for steps in many]


def test_the_sampler_converges_with_order_two():
    z, truth = noise(40), flows.sampler(mixture(), 2560)(noise(40))
    found = errors(lambda steps: flows.sampler(mixture(), steps)(z), truth, (80, 160, 320))
    assert found[0] / found[1] == pytest.approx(4, abs=1)
    assert found[1] / found[2] == pytest.approx(4, abs=0.5)


def test_the_exact_density_of_a_mixture_is_that_of_scipy_and_converges_with_order_two():
    x = flows.sampler(mixture(), 640)(noise(40))
    truth = torch.from_numpy(known_log_p(x))
    found = errors(lambda steps: flow_density.log_density_at(mixture(), x, steps).log_p, truth, (40, 80, 160))
    assert found[0] / found[1] == pytest.approx(4, abs=1)
    assert found[1] / found[2] == pytest.approx(4, abs=0.5)
    assert found[2] < 5e-4  # nats


def test_the_sum_of_divergences_has_the_same_limit_and_order():
    x = flows.sampler(mixture(), 2560)(noise(20))
    truth = torch.from_numpy(known_log_p(x))
    sums = lambda steps: log_prior(noise(20)) - flow_density.divergence_sum(mixture(), noise(20), steps)  # noqa: E731
    found = errors(sums, truth, (80, 160, 320))
    assert found[0] / found[1] == pytest.approx(4, abs=0.6)
    assert found[1] / found[2] == pytest.approx(4, abs=0.4)
    assert found[2] < 5e-3


def test_hutchinson_is_unbiased_and_its_standard_error_is_right():
    velocity, z = mixture(6), noise(12, 6)
    exact = log_prior(z) - flow_density.divergence_sum(velocity, z, 12)
    estimate = flow_density.hutchinson(velocity, z, 12, 1000, rng=rng(2))
    pulls = (estimate.log_p - exact) / estimate.standard_error
    assert pulls.abs().max() < 4
    few = torch.stack([flow_density.hutchinson(velocity, z, 12, 8, rng=rng(s)).log_p for s in range(60)])
    said = estimate.standard_error * (1000 / 8) ** 0.5
    assert (few.std(0) / said).median() == pytest.approx(1, abs=0.15)


def test_one_probe_has_no_standard_error():
    assert flow_density.hutchinson(mixture(), noise(2), 3, 1, rng=rng()).standard_error.isnan().all()


@pytest.mark.parametrize("steps", [12, 30])
def test_codes_are_the_noise_that_the_points_came_from(steps):
    z = noise(60)
    code = flows.encode(mixture(), flows.sampler(mixture(), steps)(z), steps, tolerance=1e-10)
    assert code.error.max() < 1e-7
    assert (code.z - z).abs().max() < 1e-6


def test_codes_are_found_also_where_a_step_drives_points_apart():
    velocity, x = flows.blurred_velocity(torch.tensor([[3.0], [-3.0]]), 0.5), torch.linspace(-4, 4, 21)[:, None]
    step = jacobian(lambda y: y + flows._increment(velocity, y, 6, 20), torch.zeros(1, 1))
    assert step.item() > 2  # iterating y = x - Delta(y) alone would not settle
    code = flows.encode(velocity, x, 20, tolerance=1e-13)
    torch.testing.assert_close(flows.sampler(velocity, 20)(code.z), x, atol=1e-6, rtol=0)


def test_a_code_that_does_not_exist_has_an_error():
    velocity = flows.optimal_velocity(means())
    assert flows.encode(velocity, means() + 1, 10).error.min() > 0.1  # nothing but the four points is made


def test_the_memorisers_volume_is_nothing_and_its_density_is_refused():
    data = means()
    assert singular_values(flows.sampler(flows.optimal_velocity(data), 20), noise(5)).max() < 1e-3
    with pytest.raises(ValueError, match="rank"):
        log_density(flows.sampler(flows.optimal_velocity(data), 20), noise(5))


def test_a_round_flow_is_affine():
    velocity = flows.mixture_velocity([1.0], torch.tensor([[1.0, -2.0]]), [0.5])
    decoder = flows.sampler(velocity, 400)
    torch.testing.assert_close(decoder(noise(5, 2)), torch.tensor([1.0, -2.0]) + 0.5 * noise(5, 2), atol=1e-4, rtol=0)


def test_the_trajectory_begins_with_noise_and_ends_with_the_sample():
    way = flows.trajectory(mixture(), noise(4), 9)
    assert way.shape == (10, 4, 3)
    assert torch.equal(way[0], noise(4))
    assert torch.equal(way[-1], flows.sampler(mixture(), 9)(noise(4)))


def test_times_are_refined_towards_the_end():
    gaps = np.diff(flows.times(10))
    assert (np.diff(gaps) < 0).all()
    assert (flows.times(10)[0], flows.times(10)[-1]) == (0, 1)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: flows.sampler(mixture(), 0), "at least one step, got 0"),
        (lambda: flows.optimal_velocity(means())(noise(2), 1.0), "below 1, got 1.0"),
        (lambda: flows.mixture_velocity([1.0], means(), SCALES), "4 parts needs as many"),
        (lambda: flows.mixture_velocity(WEIGHTS, means(), [1.0, 1.0, 0.0, 1.0]), "positive weights and scales"),
        (lambda: flows.blurred_velocity(means(), 0.0), "must be positive, got 0.0"),
        (lambda: flow_density.hutchinson(mixture(), noise(2), 3, 0, rng=rng()), "at least one probe"),
    ],
)
def test_impossible_requests_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
