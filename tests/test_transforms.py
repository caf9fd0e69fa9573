import math

import pytest
import torch

from lib.measures.transforms import blur, mask, pool, tone, warp


def ramp(height, width):
    """Images whose values are the coordinates of their pixels, columns in one channel and rows in the other."""
    x, y = torch.arange(width) - (width - 1) / 2, torch.arange(height) - (height - 1) / 2
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)])[None]


def test_pooling_gives_means():
    images = torch.rand(3, 2, 8, 12)
    found = pool(4)(images)
    assert found.shape == (3, 2, 2, 3)
    torch.testing.assert_close(found[0, 1, 1, 2], images[0, 1, 4:, 8:].mean())


def test_a_mask_keeps_its_pixels():
    keep = torch.zeros(4, 5, dtype=torch.bool)
    keep[1, 2] = keep[3, 4] = True
    images = torch.rand(3, 2, 4, 5)
    torch.testing.assert_close(mask(keep)(images), torch.stack([images[:, :, 1, 2], images[:, :, 3, 4]], 2))


def test_a_blurred_point_is_a_gaussian_of_the_same_mass():
    images = torch.zeros(1, 1, 41, 41)
    images[..., 20, 20] = 1
    found = blur(3.0)(images)[0, 0]
    assert found.sum().item() == pytest.approx(1)
    offset = torch.arange(41) - 20.0
    assert (found.sum(0) * offset.square()).sum().item() == pytest.approx(9, rel=0.05)  # cut at three deviations
    assert (found[20, 23] / found[20, 20]).item() == pytest.approx(math.exp(-0.5))


@pytest.mark.parametrize(("sigma", "radius"), [(0.5, 2), (1.0, 3), (1.5, 5)])
def test_a_blur_reaches_out_to_three_deviations(sigma, radius):
    images = torch.zeros(1, 1, 1, 21)
    images[..., 10] = 1
    assert (blur(sigma)(images)[0, 0, 0] > 0).nonzero()[:, 0].tolist() == list(range(10 - radius, 11 + radius))


def test_a_constant_image_stays_constant_under_blur_also_at_its_edges():
    images = torch.full((2, 3, 7, 9), 0.4)
    torch.testing.assert_close(blur(1.0)(images), images)


def test_settings_that_change_nothing_are_allowed():
    images = torch.rand(2, 1, 3, 3)
    for phi in (pool(1), tone(1.0, 0.0), warp(0.0), lambda x: tone(-1.0, 1.0)(tone(-1.0, 1.0)(x))):
        torch.testing.assert_close(phi(images), images)


def test_tones_are_affine():
    images = torch.rand(2, 1, 3, 3)
    torch.testing.assert_close(tone(0.5, 0.25)(images), 0.25 + images / 2)


def test_a_move_by_whole_pixels_moves_them():
    images = torch.rand(2, 1, 6, 9)
    found = warp(0.0, right=2.0, down=1.0)(images)
    torch.testing.assert_close(found[:, :, 1:, 2:], images[:, :, :-1, :-2])
    assert found[:, :, 0].abs().max() < 1e-12  # what comes in is black


def test_a_quarter_turn_of_a_square_is_a_rotation_of_its_pixels():
    images = torch.rand(2, 3, 6, 6)
    torch.testing.assert_close(warp(90.0)(images), images.rot90(-1, (2, 3)))


def test_a_turn_is_rigid_whatever_the_sides():
    angle = math.radians(20)
    found = warp(20.0)(ramp(40, 60))[0, :, 15:-15, 20:-20]
    x, y = ramp(40, 60)[0, :, 15:-15, 20:-20]
    torch.testing.assert_close(found[0], math.cos(angle) * x + math.sin(angle) * y, atol=1e-9, rtol=0)
    torch.testing.assert_close(found[1], math.cos(angle) * y - math.sin(angle) * x, atol=1e-9, rtol=0)


def test_images_are_turned_first_and_then_moved():
    angle, right, down = math.radians(20), 3.0, -2.0
    found = warp(20.0, right, down)(ramp(40, 60))[0, :, 15:-15, 20:-20]
    x, y = ramp(40, 60)[0, :, 15:-15, 20:-20] - torch.tensor([right, down])[:, None, None]
    torch.testing.assert_close(found[0], math.cos(angle) * x + math.sin(angle) * y, atol=1e-9, rtol=0)
    torch.testing.assert_close(found[1], math.cos(angle) * y - math.sin(angle) * x, atol=1e-9, rtol=0)


@pytest.mark.parametrize("phi", [pool(2), blur(1.0), tone(0.5, 0.1), warp(10.0, 1.0)])
def test_gradients_pass_and_images_stay_apart(phi):
    images = torch.rand(3, 1, 6, 6, requires_grad=True)
    (slope,) = torch.autograd.grad(phi(images)[0].square().sum(), images)
    assert slope[0].abs().max() > 0
    assert slope[1:].abs().max() == 0


def test_bad_settings_are_refused():
    for make, message in (
        (lambda: pool(0), "factor must be at least 1, got 0"),
        (lambda: mask(torch.zeros(2, 2, dtype=torch.bool)), "keeps no pixel"),
        (lambda: blur(0.0), "sigma must be positive, got 0"),
        (lambda: tone(0.0, 0.5), "a gain of 0"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
