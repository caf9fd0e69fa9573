"""Errors in parts of faces: what is stored there alone is found there, and chance finds nothing."""

import math

import numpy as np
import pytest
import torch

from lib.protocols.face_parts import BOXES, compare, errors, smallest_gap


def draws(n, seed, scale=(1.0, 1.0, 1.0)):
    """Errors of three parts, log-normal and correlated as those of one image are."""
    generator = torch.Generator().manual_seed(seed)
    shared, own = torch.randn(n, 1, generator=generator), torch.randn(n, 3, generator=generator)
    return (0.3 * shared + 0.2 * own).exp() * torch.tensor(scale)


def test_a_box_is_its_share_of_any_image():
    image = torch.zeros(1, 100, 100)
    for box in BOXES.values():
        box.cut(image)[:] = 1
    shares = [(box.bottom - box.top) * (box.right - box.left) for box in BOXES.values()]
    assert float(image.mean()) == pytest.approx(sum(shares), abs=0.01)  # and so the boxes do not overlap
    assert BOXES["eyes"].bottom < BOXES["mouth"].top
    assert BOXES["eyes"].cut(image).shape == (1, 22, 70)


def test_errors_are_those_of_the_whole_and_of_each_box():
    images = torch.rand(2, 3, 50, 50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(errors(images, images), torch.zeros(2, 3))
    recovered = images.clone()
    BOXES["eyes"].cut(recovered)[:] += torch.tensor([0.1, 0.2])[:, None, None, None]
    whole, eyes, mouth = errors(recovered, images).T
    share = BOXES["eyes"].cut(images)[0, 0].numel() / 2500
    torch.testing.assert_close(eyes, torch.tensor([0.01, 0.04]))
    torch.testing.assert_close(whole, eyes * share)
    torch.testing.assert_close(mouth, torch.zeros(2))


def test_a_gap_in_the_eyes_alone_is_found_and_is_that_of_the_eyes():
    tested = compare(draws(400, 0, (1.0, 0.5, 1.0)), draws(400, 1), rng=np.random.default_rng(0))
    assert tested.p.value < 0.01
    np.testing.assert_allclose(tested.value, [0, 0.5, 0], atol=0.1)


def test_alarms_are_as_rare_as_the_level_says():
    alarms = [
        compare(draws(30, 2 * k), draws(30, 2 * k + 1), draws=99, rng=np.random.default_rng(k)).p.value <= 0.05
        for k in range(200)
    ]
    assert np.mean(alarms) < 0.1


def test_more_images_see_smaller_gaps_and_too_few_see_none():
    sizes = [0.1, 0.3, 0.5, 0.9]
    few, many = (smallest_gap(draws(n, 0), draws(n, 1), sizes, rng=np.random.default_rng(0)) for n in (20, 2000))
    assert many == 0.1
    assert few > 0.1
    assert smallest_gap(draws(20, 0), draws(20, 1), [0.01], rng=np.random.default_rng(0)) == math.inf


def test_the_smallest_gap_is_that_of_the_part_where_it_is_hardest_to_see():
    one, other = draws(600, 0), draws(600, 1)
    one[:, 2], other[:, 2] = one[:, 2] ** 3, other[:, 2] ** 3  # three times the noise
    assert smallest_gap(one[:, :2], other[:, :2], [0.1, 0.5], rng=np.random.default_rng(0)) == 0.1
    assert smallest_gap(one, other, [0.1, 0.5], rng=np.random.default_rng(0)) == 0.5
    stored = one * torch.tensor([0.3, 1.0, 1.0])  # a gap that is there already is not one that was planted elsewhere
    assert compare(stored, other, rng=np.random.default_rng(0)).p.value < 0.01
    assert smallest_gap(stored, other, [0.1, 0.5], rng=np.random.default_rng(0)) == 0.5
