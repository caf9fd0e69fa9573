from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from lib.measures.transforms import tone, warp
from lib.protocols.neighbours import disturbances, of_disturbed


@pytest.fixture
def executor():
    with ThreadPoolExecutor(2) as threads:
        yield threads


def points(side=4):
    """Black images of a single white pixel, which takes every place in turn."""
    return torch.eye(side * side).view(-1, 1, side, side)


def test_planted_copies_are_found_among_all_images(executor):
    images = torch.rand(30, 1, 4, 4)
    index = np.array([7, 20, 3])
    answers = of_disturbed(images, index, {"none": tone(1.0, 0.0), "fainter": tone(0.9, 0.0)}, executor)
    assert list(answers) == ["none", "fainter"]
    assert (answers["none"].nearest == index).all()
    assert answers["none"].original.value == 1
    assert answers["none"].original.n == 3


def test_what_loses_most_of_its_contrast_is_nearest_to_a_blank_image(executor):
    images = torch.cat([points(), torch.zeros(1, 1, 4, 4)])
    half, less = of_disturbed(images, np.arange(16), {"a": tone(0.6, 0.0), "b": tone(0.4, 0.0)}, executor).values()
    assert half.original.value == 1
    assert (less.nearest == 16).all()
    assert less.original.value == 0


def test_what_moves_by_a_pixel_is_nearest_to_the_image_that_is_there_already(executor):
    index = np.array([0, 1, 5, 9])  # none is in the last column
    (moved,) = of_disturbed(points(), index, {"right": warp(0.0, 1.0)}, executor).values()
    assert (moved.nearest == index + 1).all()


def test_a_small_turn_is_found_and_a_large_one_is_not(executor):
    corners = points()[[0, 3, 12, 15]]
    small, large = of_disturbed(corners, np.arange(4), {"a": warp(10.0), "b": warp(90.0)}, executor).values()
    assert small.original.value == 1
    assert large.original.value == 0
    assert sorted(large.nearest) == [0, 1, 2, 3]


def test_half_of_the_originals_count_as_half(executor):
    images = points()[:4]
    (answer,) = of_disturbed(images, np.arange(4), {"swap": lambda x: x[[0, 1, 3, 2]]}, executor).values()
    assert answer.original.value == 0.5
    assert answer.original.low < 0.5 < answer.original.high


def test_disturbances_do_what_their_names_say():
    changes = disturbances(56)
    images = torch.rand(2, 1, 56, 56)
    torch.testing.assert_close(changes["none"](images), images)
    torch.testing.assert_close(changes["moved by 1/28 of the side"](images)[..., 2:], images[..., :-2])
    torch.testing.assert_close(changes["moved by 3/28"](images)[..., 6:], images[..., :-6])
    torch.testing.assert_close(changes["half the contrast"](images), images / 2)
    torch.testing.assert_close(changes["a quarter brighter"](images), (images + 0.25).minimum(torch.ones(())))
    for degrees in (5, 15, 30):
        torch.testing.assert_close(changes[f"turned by {degrees}°"](images), warp(float(degrees))(images))
