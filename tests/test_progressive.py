import math

import pytest
import torch
from torch.nn.functional import interpolate

from lib.models import progressive
from lib.models.adversarial import descend
from lib.models.data import Dataset
from lib.models.fit import fit
from lib.models.progressive import Deviation, Equalised, Grower, GrowingCritic, PixelNorm, Progressive, faded, growth

SPEC = Progressive(12, steps=24, batch=4, latent=3, width=2)
AFTER = math.nextafter(1.0, 2.0)
"""growth at which level 2 has hardly begun to be faded in"""


def doubled(x):
    return interpolate(x, scale_factor=2)


def dataset(x):
    labels = torch.zeros(len(x), dtype=torch.long)
    return Dataset("small", x, labels, x[:5], labels[:5], "digest")


def noise(side=16):
    return torch.rand(20, 1, side, side, generator=torch.Generator().manual_seed(0))


def test_pixels_have_a_mean_square_of_one_over_channels_and_keep_their_direction():
    x = 7 * torch.randn(4, 8, 5, 5)
    normed = PixelNorm()(x)
    torch.testing.assert_close(normed.square().mean(1), torch.ones(4, 5, 5), rtol=1e-6, atol=0)
    torch.testing.assert_close((normed * x).sum(1), normed.norm(dim=1) * x.norm(dim=1))


def test_equalised_layers_start_alike_and_keep_the_variance_that_their_gain_says():
    for inputs, kernel, gain in ((64, 3, 2**0.5), (400, 1, 1.0)):
        layer = Equalised(inputs, 300, kernel, gain=gain)
        assert layer.weight.var().item() == pytest.approx(1, rel=0.03)
        assert layer.scale == gain / (inputs * kernel**2) ** 0.5
        made = layer(torch.randn(200, inputs, kernel, kernel))
        assert made.var().item() == pytest.approx(gain**2, rel=0.05)


def test_a_step_of_adam_moves_the_outputs_of_narrow_and_wide_layers_alike():
    moved = []
    for inputs in (10, 1000):
        layer = Equalised(inputs, 1, 1, gain=1.0)
        optimizer = torch.optim.Adam(layer.parameters(), 1e-3)
        before = layer.weight.detach().clone()
        descend(layer(torch.randn(1, inputs, 1, 1)).sum(), layer, optimizer)
        moved.append((layer.weight - before).norm() / before.norm())
    assert (moved[0] / moved[1]).item() == pytest.approx(1, rel=0.5)


def test_the_deviation_of_a_batch_is_one_number_in_one_more_map():
    x = torch.ones(1, 2, 3, 3)
    same, apart = Deviation()(torch.cat([x, x])), Deviation()(torch.cat([x, 7 * x]))
    assert same.shape == (2, 3, 3, 3)
    torch.testing.assert_close(same[:, 2], torch.full((2, 3, 3), 1e-4))  # the root of what keeps the slope finite
    torch.testing.assert_close(apart[:, 2], torch.full((2, 3, 3), 3.0))
    assert torch.equal(apart[:, :2], torch.cat([x, 7 * x]))


def test_a_level_fades_in_from_the_doubled_image_of_the_one_below_to_its_own():
    grower, z = Grower((1, 16, 16), 3, 2), torch.randn(4, 3)
    below, half, full = grower(z, 1.0), grower(z, 1.5), grower(z)
    assert [x.shape[-1] for x in (grower(z, 0.0), below, half, full)] == [4, 8, 16, 16]
    torch.testing.assert_close(grower(z, AFTER), doubled(below))
    torch.testing.assert_close(grower(z, 2.0), full)
    torch.testing.assert_close(half, (doubled(below) + full) / 2)


def test_real_images_fade_in_likewise_and_keep_their_mean():
    x = noise()
    assert torch.equal(faded(x, 2.0, 2), x)
    torch.testing.assert_close(faded(x, AFTER, 2), doubled(faded(x, 1.0, 2)))
    torch.testing.assert_close(faded(x, 1.25, 2), 0.75 * doubled(faded(x, 1.0, 2)) + 0.25 * x)
    for grown in (0.0, 0.5, 1.0, 1.7):
        torch.testing.assert_close(faded(x, grown, 2).mean((1, 2, 3)), x.mean((1, 2, 3)))


def test_the_logits_do_not_jump_where_a_level_begins():
    critic, x = GrowingCritic((1, 16, 16), 2), noise()
    torch.testing.assert_close(critic(faded(x, AFTER, 2), AFTER), critic(faded(x, 1.0, 2), 1.0))
    assert critic(x, 2.0).shape == (20,)
    assert not torch.allclose(critic(x, 2.0), critic(x, AFTER))


@pytest.mark.parametrize("top", [1, 2, 4])
def test_growth_takes_half_of_the_steps_without_a_jump_and_stays_at_every_level(top):
    grown = [growth(step, 800, top) for step in range(800)]
    assert grown[0] == 0
    assert set(grown[400:]) == {float(top)}
    steps = torch.tensor(grown).diff()
    assert 0 <= steps.min() < steps.max() < 0.03
    assert [grown.count(float(level)) > 400 // (2 * top) - 2 for level in range(top)] == [True] * top


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 16, 32), (1, 4, 4), (1, 2, 2)])
def test_other_sides_than_powers_of_two_are_refused(shape):
    with pytest.raises(ValueError, match="must be the same power of two, from 8 on"):
        SPEC.build(shape)


def test_a_network_is_not_moved_by_the_step_of_another():
    first, second = torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)
    before = [parameter.detach().clone() for parameter in (*first.parameters(), *second.parameters())]
    descend(second(first(torch.ones(3, 2))).mean(), first, torch.optim.SGD(first.parameters(), 0.1))
    after = [*first.parameters(), *second.parameters()]
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [False, False, True, True]


def test_the_average_that_forgets_nothing_is_where_it_started(tmp_path, single_precision):
    x = noise().float()
    spec = Progressive(12, steps=24, batch=4, latent=3, width=2, decay=1.0)
    (kept,) = fit([spec], dataset(x), "cpu", folder=tmp_path)
    z = torch.randn(2, 3)
    assert torch.equal(kept.generator(z), spec.build((1, 16, 16))["generator"](z))
    (moved,) = fit([SPEC], dataset(x), "cpu", folder=tmp_path)
    assert not torch.allclose(kept.generator(z), moved.generator(z))


def test_an_interrupted_fit_goes_on_as_if_it_had_not_been(tmp_path, interrupt, single_precision):
    x = noise().float()
    (whole,) = fit([SPEC], dataset(x), "cpu", folder=tmp_path / "whole")
    seconds = interrupt(5, 17)
    with pytest.raises(KeyboardInterrupt):
        fit([SPEC], dataset(x), "cpu", folder=tmp_path / "parts")
    (again,) = fit([SPEC], dataset(x), "cpu", folder=tmp_path / "parts")
    assert next(seconds) > 17
    z = torch.randn(4, 3)
    assert torch.equal(whole.generator(z), again.generator(z))
    assert torch.equal(whole.losses, again.losses)
    assert whole.losses.shape == (1, 2)
    assert whole.encoder is None
    assert torch.equal(whole.prior.covariance_matrix, torch.eye(3))


def test_it_learns_how_bright_images_are(tmp_path, single_precision):
    x = (0.1 + 0.05 * noise(8)).float()
    spec = Progressive(0, steps=400, batch=8, latent=3, width=4, rate=5e-3, decay=0.9)
    (fitted,) = fit([spec], dataset(x), "cpu", folder=tmp_path)
    made = fitted.generator(torch.randn(64, 3))
    untrained = spec.build((1, 8, 8))["generator"](torch.randn(64, 3))
    assert abs(untrained.mean().item() - 0.125) > 0.2
    assert made.mean().item() == pytest.approx(0.125, abs=0.05)
    assert fitted.spec.stream is progressive.GenerativeStream
