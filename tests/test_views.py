from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from zoos import affine_zoo

from lib.measures.transforms import blur, mask, pool, warp
from lib.protocols.views import compare_under, maps, middle
from lib.protocols.zoo import Search

HOW = Search(seed=0, steps=100, start=1e-4)


@pytest.fixture
def executor():
    with ThreadPoolExecutor(2) as threads:
        yield threads


def test_the_middle_is_half_of_either_side():
    inside = middle(8, 12)
    assert inside.sum() == 4 * 6
    assert inside[2:6, 3:9].all()
    assert middle(5, 5).sum() == 3 * 3
    assert middle(12, 16)[3:9, 4:12].all()
    assert middle(12, 16).sum() == 6 * 8


def test_maps_show_what_their_names_say():
    images = torch.rand(3, 2, 8, 8)
    phi = maps(8, 8)
    assert phi["identity"] is None
    torch.testing.assert_close(phi["means of 4 x 4 pixels"](images), pool(4)(images))
    assert phi["all but the middle"](images).shape == (3, 2, 64 - 16)
    torch.testing.assert_close(phi["turned by 15°"](images), warp(15.0)(images))
    torch.testing.assert_close(phi["blur, 2 pixels"](images), blur(2.0)(images))
    tall = torch.rand(2, 1, 8, 4)
    torch.testing.assert_close(maps(8, 4)["all but the middle"](tall), tall[..., ~middle(8, 4)])
    changed = images.clone()
    changed[..., 2:6, 2:6] = 0.5
    torch.testing.assert_close(phi["all but the middle"](images), phi["all but the middle"](changed))


def expected(images, matrix, keep):
    """Errors of the whole images with the smallest of the latents that fit the kept pixels best."""
    y = images.flatten(1) - 0.5
    z = torch.linalg.lstsq(matrix[keep.flatten()], y[:, keep.flatten()].T, driver="gelsd").solution
    return (y - (matrix @ z).T).square().mean(1)


def test_a_linear_generator_is_known_from_as_many_pixels_as_latents(executor):
    zoo, matrix = affine_zoo()
    few, many = torch.zeros(4, 4, dtype=torch.bool), torch.zeros(4, 4, dtype=torch.bool)
    few[0, :2] = many[0, :3] = True  # two and three pixels for three latents
    views = compare_under(zoo, ["line"], HOW, {"2": mask(few), "3": mask(many)}, 20, executor)
    assert views["line", "3"].again.value == 1
    assert views["line", "3"].generated.max() < 1e-6
    made, test = expected(zoo.generated("line", 20), matrix, few), expected(zoo.held_out(), matrix, few)
    torch.testing.assert_close(views["line", "2"].generated, made, atol=1e-6, rtol=1e-2)
    again = (made < 0.1 * test.median()).double().mean()
    assert 0 < again < 1
    assert views["line", "2"].again.value == again
    assert views["line", "2"].again.n == 20


def test_the_two_sides_are_compared_by_errors_of_the_whole_image(executor):
    zoo, matrix = affine_zoo()
    keep = torch.rand(4, 4) < 0.6
    train, test = (
        expected(images, matrix, keep) for images in (zoo.trained_on("line", count=12), zoo.held_out(count=12))
    )
    one = zoo.fits["line"][0]
    first = replace(zoo, fits={"line": [one, replace(one, generator=lambda z: 0 * zoo.held_out())]})  # not asked
    (view,) = compare_under(first, ["line"], HOW, {"some": mask(keep)}, 12, executor).values()
    assert view.sides.gap == pytest.approx(float(1 - train.quantile(0.5) / test.quantile(0.5)), rel=1e-3)
    assert view.sides.interval.n == 24


def test_training_images_that_the_generator_makes_are_told_from_others_under_a_view(executor):
    zoo, _ = affine_zoo()
    images = zoo.images.train.clone()
    fit = zoo.fits["line"][0]
    images[fit.index] = fit.generator(0.5 * torch.randn(len(fit.index), 3))
    memorised = replace(zoo, images=zoo.images._replace(train=images))
    views = compare_under(
        memorised, ["line"], HOW, {"all but the middle": maps(4, 4)["all but the middle"]}, 20, executor
    )
    assert views["line", "all but the middle"].sides.gap > 0.99
    plain = compare_under(zoo, ["line"], HOW, {"identity": None}, 20, executor)
    assert not plain["line", "identity"].sides.p_value < 0.01
