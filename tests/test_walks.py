import math

import pytest
import torch
from conftest import affine, defaults, sphere

from lib.measures.walks import walk


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def within(samples, expected):
    """The mean over the first axis, within four standard errors."""
    error = samples.std(0) / len(samples) ** 0.5
    return ((samples.mean(0) - expected).abs() < 4 * error).all()


def stretched(z):
    """1 / sqrt(det M) = sech z, which integrates to pi and has the variance (pi / 2)^2."""
    return z.sinh()


def hyperbolic_secant(n):
    return (math.pi / 2 * torch.rand(n, 1, generator=seeded(1))).tan().log()


def test_in_a_flat_space_steps_are_normal_with_the_inverse_metric():
    decoder, matrix = affine(7, 2)
    for f, metric in ((lambda z: z, torch.eye(2)), (decoder, matrix.T @ matrix)):
        found = walk(f, torch.zeros(10_000, 2), 3, 0.1, rng=seeded())
        assert torch.equal(found.z[0], torch.zeros(10_000, 2))
        for move in found.z.diff(dim=0):
            assert within(move, 0)
            assert within(move[:, :, None] * move[:, None], 0.01 * torch.linalg.inv(metric))
        assert (found.accepted == 1).all()


def test_a_step_has_the_same_length_in_the_output_wherever_it_is_taken():
    z = torch.stack([torch.linspace(0.3, 2.8, 20_000), torch.zeros(20_000)], 1)
    found = walk(sphere, z, 1, 1e-3, rng=seeded()).z
    squared = (sphere(found[1]) - sphere(found[0])).square().sum(1) / 1e-6
    assert within(squared.view(2, -1).T, 2)


def test_in_a_flat_space_metropolis_accepts_everything():
    decoder, _ = affine(7, 2)
    refined = walk(decoder, torch.zeros(200, 2), 20, 0.1, metropolis=True, rng=seeded())
    assert (refined.accepted == 1).all()


def test_the_metropolis_walk_keeps_its_target_and_the_plain_walk_does_not():
    bins = torch.tensor([-3.0, -1.5, -0.5, 0.0, 0.5, 1.5, 3.0])
    edges = torch.tensor([-math.inf, *bins.tolist(), math.inf])
    exact = (2 / math.pi * edges.exp().atan()).diff()
    z = hyperbolic_secant(20_000)
    for metropolis in (True, False):
        found = walk(stretched, z, 30, 1.5, metropolis=metropolis, rng=seeded())
        where = torch.bucketize(found.z[-1, :, 0], bins)
        agrees = within(torch.nn.functional.one_hot(where, len(exact)).double(), exact)
        assert agrees == metropolis
    assert 0.5 < walk(stretched, z, 30, 1.5, metropolis=True, rng=seeded()).accepted.mean() < 0.9


def test_the_metropolis_walk_finds_its_target_from_elsewhere():
    found = walk(stretched, torch.full((500, 1), 2.0), 400, 2.0, metropolis=True, every=10, rng=seeded())
    inside = (found.z[15:, :, 0].abs() < 1).double().mean(0)
    assert within(inside, 4 / math.pi * math.atan(math.tanh(0.5)))


def test_where_the_metric_vanishes_a_walker_is_lost_for_good():
    def edge(z):
        return torch.cat([z[:, :1].clamp(max=1.0), z[:, 1:]], 1)

    found = walk(edge, torch.zeros(60, 2), 60, 0.2, rng=seeded())
    lost = found.z.isnan().any(2)
    assert (lost[1:] >= lost[:-1]).all()
    assert 5 < lost[-1].sum() < 55
    assert (found.z[..., 0][~lost] < 1).all()
    torch.testing.assert_close(found.accepted, (~lost[1:]).double().mean(0))
    born = walk(edge, torch.tensor([[2.0, 0.0], [0.0, 0.0]]), 1, 0.01, rng=seeded()).z
    assert born.isnan().any(2).tolist() == [[True, False]] * 2
    kept = walk(edge, torch.zeros(60, 2), 60, 0.2, metropolis=True, rng=seeded())
    assert kept.z.isfinite().all()
    assert (kept.z[..., 0] < 1).all()


def test_the_generator_decides():
    for metropolis in (True, False):
        one, two, three = (
            walk(stretched, torch.zeros(5, 1), 9, 0.5, metropolis=metropolis, rng=seeded(s)).z for s in (1, 1, 2)
        )
        assert torch.equal(one, two)
        assert not torch.equal(one, three)


def test_records_are_kept_at_regular_times():
    every, third = (walk(sphere, torch.ones(4, 2), 10, 0.01, every=n, rng=seeded()) for n in (1, 3))
    assert len(every.z) == 11
    assert torch.equal(third.z, every.z[::3])
    assert torch.equal(third.accepted, every.accepted)


def test_a_walk_is_plain_and_recorded_at_every_step_unless_told():
    assert defaults(walk) == {"metropolis": False, "every": 1, "rng": None}


def test_bad_requests_are_refused():
    for steps, scale, every in ((0, 0.1, 1), (1, 0.0, 1), (1, 0.1, 0), (1, math.nan, 1)):
        with pytest.raises(ValueError, match=f"must be positive, got {steps}, {every} and {scale}"):
            walk(sphere, torch.ones(2, 2), steps, scale, every=every)
