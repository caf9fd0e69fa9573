from concurrent.futures import ThreadPoolExecutor

import torch

from lib.measures.transforms import tone
from lib.protocols import neighbours, seen_by_features

RAISED = {"none": tone(1.0, 0.0), "raised": tone(1.0, 0.6)}


def ramps(count=8):
    """Images whose mean rises by a tenth from one to the next, and whose contrast falls."""
    rise = torch.arange(count)[:, None, None, None] / 10
    return rise + torch.linspace(-1, 1, 16).view(1, 1, 4, 4) * (count - torch.arange(count))[:, None, None, None] / 5


def contrast(images):
    """A feature that does not know the mean."""
    return images.flatten(1).std(1, keepdim=True)


def test_a_feature_that_ignores_a_change_finds_the_original_where_pixels_do_not():
    images, index = ramps(), torch.tensor([1, 2, 5])
    with ThreadPoolExecutor(1) as executor:
        by_feature = seen_by_features.of_disturbed(images, index, RAISED, contrast, executor)
        by_pixel = neighbours.of_disturbed(images, index.numpy(), RAISED, executor)
    assert all(seen_by_features.found(by_feature[name], index).all() for name in RAISED)
    assert seen_by_features.found(by_pixel["none"], index).all()
    assert not seen_by_features.found(by_pixel["raised"], index).any()


def test_by_both_asks_pixels_and_features():
    images = ramps()
    answers = seen_by_features.by_both(images[:2] + 0.6, images, contrast)
    assert answers["features"].tolist() == [0, 1]
    assert (answers["pixels"] > torch.tensor([0, 1])).all()


def test_without_a_difference_there_is_none():
    same = torch.tensor([True, False] * 20)
    assert tuple(seen_by_features.more(same, same, seed=0)[:3]) == (0, 0, 0)
    gain = seen_by_features.more(torch.ones(40, dtype=torch.bool), same, seed=0)
    assert gain.value == 0.5 and gain.low > 0.3
