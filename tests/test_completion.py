import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from lib.measures.transforms import pool
from lib.models.generative import Generative, GeneratorFit
from lib.protocols.completion import completion, errors, restore, ridge, super_resolution
from lib.protocols.zoo import Search

HOW = Search(seed=0, steps=100, start=1.0)
TASKS = (completion, super_resolution)


@pytest.fixture
def fit():
    """An affine generator of 8 x 8 images from three latents."""
    matrix = 0.05 * torch.randn(64, 3)
    codes = MultivariateNormal(torch.zeros(3), torch.eye(3))
    spec = Generative("glo", 3)
    return GeneratorFit(
        spec, torch.arange(3), torch.zeros(1, 1), lambda z: (0.5 + z @ matrix.T).view(-1, 1, 8, 8), None, codes
    )


@pytest.mark.parametrize("task", TASKS)
def test_a_linear_generator_restores_what_it_can_make(fit, task):
    images, others = fit.generator(torch.randn(6, 3)), fit.generator(torch.randn(40, 3))
    chosen = task(8, 8)
    restored = restore(fit, images, others, chosen, HOW)
    torch.testing.assert_close(restored.made, images, atol=1e-4, rtol=0)
    assert errors(restored.made, images, chosen.lacking).max() < 1e-8
    assert errors(restored.copied, images, chosen.lacking).median() > 1e-5


@pytest.mark.parametrize("task", TASKS)
def test_what_is_not_seen_is_not_used(fit, task):
    images, others = torch.rand(6, 1, 8, 8), torch.rand(40, 1, 8, 8)
    chosen = task(8, 8)
    if task is completion:
        changed = images.where(~chosen.lacking, torch.rand(6, 1, 8, 8))
    else:  # the pixels of every block of 4 x 4 change places
        changed = (
            images.roll((0, 0), (2, 3)).unfold(2, 4, 4).unfold(3, 4, 4).flip(4, 5).transpose(3, 4).reshape(images.shape)
        )
    assert not torch.equal(images, changed)
    for first, second in zip(
        restore(fit, images, others, chosen, HOW), restore(fit, changed, others, chosen, HOW), strict=True
    ):
        torch.testing.assert_close(first, second, atol=1e-5, rtol=0)


def test_the_copy_is_the_nearest_other_image_in_what_is_seen(fit):
    others = torch.rand(40, 1, 8, 8)
    task = completion(8, 8)
    restored = restore(fit, others[:6], others, task, HOW)  # the images are among them, and are no copies of themselves
    distances = torch.cdist(task.see(others[:6]).flatten(1), task.see(others).flatten(1))
    distances[range(6), range(6)] = torch.inf
    torch.testing.assert_close(restored.copied, others[distances.argmin(1)])


def test_ridge_regression_is_the_closed_form():
    images, others = torch.rand(5, 1, 2, 2), torch.rand(30, 1, 2, 2)

    def see(x):
        return x[..., :1]

    x, y = see(others).flatten(1), others.flatten(1)
    centred = x - x.mean(0)
    slope = torch.linalg.solve(centred.T @ centred + 7 * torch.eye(2), centred.T @ (y - y.mean(0)))
    expected = y.mean(0) + (see(images).flatten(1) - x.mean(0)) @ slope
    torch.testing.assert_close(ridge(see, images, others, 7.0), expected.view(5, 1, 2, 2))


def test_a_flat_image_is_enlarged_to_itself(fit):
    images = torch.linspace(0, 1, 6).view(6, 1, 1, 1).expand(6, 1, 8, 8)
    restored = restore(fit, images, torch.rand(20, 1, 8, 8), super_resolution(8, 8), HOW)
    torch.testing.assert_close(restored.plain, images)


def test_interpolation_stays_within_the_range_of_images(fit):
    images = torch.zeros(1, 1, 8, 8)
    images[..., :4] = 1  # an edge, beyond which a cubic overshoots
    plain = restore(fit, images, torch.rand(20, 1, 8, 8), super_resolution(8, 8), HOW).plain
    assert plain.min() == 0
    assert plain.max() == 1


def test_what_a_search_sees_is_shown_at_the_size_of_the_image():
    images = 0.1 + torch.rand(3, 1, 8, 8)
    shown = completion(8, 8).show(images)
    assert (shown[..., 2:6, 2:6] == 0).all()
    assert (shown != 0).sum() == 3 * (64 - 16)
    coarse = super_resolution(8, 8).show(images)
    torch.testing.assert_close(pool(4)(coarse), pool(4)(images))
    assert len(coarse[0].unique()) == 4


def test_errors_count_what_was_lacking_alone():
    images, lacking = torch.rand(2, 1, 4, 4), torch.zeros(4, 4, dtype=torch.bool)
    lacking[1, 1:3] = True
    restored = images.clone()
    restored[0, 0, 0, 0] += 9
    restored[1, 0, 1, 1] += 0.5
    np.testing.assert_allclose(errors(restored, images, lacking), [0, 0.5**2 / 2], atol=1e-12)
