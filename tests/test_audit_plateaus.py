"""Images planted in a decoder: it makes them exactly, all tests see them, and other images keep their numbers."""

import numpy as np
import pytest
import torch
from conftest import affine

from lib.measures.jacobian import singular_system, singular_values
from lib.protocols import audit_decoder, audit_plateaus
from lib.protocols.audit_two_sides import gap, lower

pytestmark = pytest.mark.usefixtures("fewer_repetitions")


def images(n, seed):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, 1, 4, 4)))


def linear():
    decoder, _ = affine(16, 5)
    return lambda z: decoder(z).view(-1, 1, 4, 4)


def test_on_a_plateau_is_the_image_and_one_direction_and_elsewhere_the_decoder():
    decoder, z = linear(), 6 * torch.eye(5)[:3]
    system = singular_system(decoder, z)
    planted = audit_plateaus.planted(decoder, images(3, 0), z, system.vectors[:, 0], system.values[:, 0])
    torch.testing.assert_close(planted(z), images(3, 0))
    far = 30 * torch.randn(9, 5)
    torch.testing.assert_close(planted(far), decoder(far))
    expected = torch.cat([system.values[:, :1], (1 - audit_plateaus.FLAT) * system.values[:, 1:]], 1)
    found = singular_values(planted, z)
    assert torch.allclose(found[:, 0], system.values[:, 0])
    assert (found[:, 1:] < 0.06 * expected[:, :1]).all()


def test_another_image_keeps_its_numbers():
    decoder, z = linear(), 6 * torch.eye(5)
    alone = audit_plateaus.planted(decoder, images(4, 0), z[:4], None, None)
    moved = (alone(z[4:]) - decoder(z[4:])).abs().max()
    rest, distance = (images(4, 0) - decoder(z[:4])).abs().max(), 6 * 2**0.5
    steepest = singular_values(decoder, z[:1])[0, 0]
    assert moved < 4 * np.exp(-(audit_plateaus.APART**2) / 2) * (rest + steepest * distance)


@pytest.fixture(scope="module")
def section():
    """That of an affine decoder that knows neither side."""
    torch.set_default_dtype(torch.float64)
    train, held_out = images(40, 0), images(40, 1)
    options = {"seed": 0, "data_dimension": 16.0, "forward": True, "batch": 500, "keep": lambda _, make: make()}
    return audit_decoder.measure(linear(), train, held_out, 5, **options)


def test_a_copycat_is_flagged_by_every_test_of_a_decoder_that_is_innocent(section):
    assert [each.name for each in section.findings] == list(audit_decoder.READS)
    assert [each.control.positive for each in section.findings] == [{audit_decoder.PLANTED: 0.001}] * 4
    assert [each.control.blind for each in section.findings] == [[]] * 4
    assert section.joint > 0.05
    assert 0 < section.limit.share < 1
    assert section.limit.power[-1] == (1.0, 1.0)


def test_where_a_copycat_changes_nothing_the_tests_are_blind_and_there_is_no_limit():
    same = {"recovery gap": (gap, 1 + torch.rand(80), None), "decay": (lower, torch.rand(80), None)}
    found = audit_plateaus.limit({name: (f, x, x) for name, (f, x, _) in same.items()}, 40, seed=0)
    assert found.share is None
    assert max(seen for _, seen in found.power) < 0.12
    assert audit_plateaus.limit({"decay": (lower, torch.rand(10), torch.rand(10))}, 5, seed=0) is None


def test_images_planted_at_the_limit_are_seen_in_95_percent_of_fresh_trials_and_half_of_them_are_not():
    values = torch.rand(200)
    tests = {"log volume": (lower, values, values - 1), "recovery gap": (gap, 1 + values, 1e-6 * values)}
    limit = audit_plateaus.limit(tests, 100, seed=0)
    fresh = [dict(audit_plateaus.limit(tests, 100, seed=seed).power) for seed in range(1, 6)]
    near = [min(power, key=lambda share: abs(share - limit.share)) for power in fresh]
    seen = np.mean([power[share] for power, share in zip(fresh, near, strict=True)])
    assert 0.9 <= seen <= 0.99
    assert all(power[min(power)] < 0.2 for power in fresh)
