"""Is the nearest neighbour of a disturbed training image the original, as the usual check for copies assumes?"""

from collections.abc import Mapping
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64
from sklearn.neighbors import NearestNeighbors

from lib.measures.axes import Images
from lib.measures.intervals import Estimate, share
from lib.measures.transforms import Transform, tone, warp


class Neighbours(NamedTuple):
    """Which image each disturbed copy is nearest to, and how often it is the original."""

    nearest: Int64[np.ndarray, " copies"]
    """index of the nearest image, in Euclidean distance between pixels"""
    original: Estimate
    """share of the copies whose nearest image is the one they were made from, with its exact 95 % interval"""


def disturbances(width: int) -> dict[str, Transform]:
    """Ways to draw a memorised image slightly differently.

    Args:
        width: pixels in a row of the images, of which movements are fractions.
    """
    return {
        "none": tone(1.0, 0.0),
        "turned by 5°": warp(5.0),
        "turned by 15°": warp(15.0),
        "turned by 30°": warp(30.0),
        "moved by 1/28 of the side": warp(0.0, width / 28),
        "moved by 3/28": warp(0.0, 3 * width / 28),
        "half the contrast": tone(0.5, 0.0),
        "a quarter brighter": lambda images: tone(1.0, 0.25)(images).clamp(max=1),
    }


def of_disturbed(
    images: Images, index: Int64[np.ndarray, " copies"], changes: Mapping[str, Transform], executor: Executor
) -> dict[str, Neighbours]:
    """Disturb copies of some images in every way, and look for their nearest neighbours among all images.

    Args:
        images: all images, such as a training set.
        index: which of them are copied.
        changes: what is done to the copies, as from :func:`disturbances`.
        executor: where to look for the neighbours after one change and another side by side.
    """
    among = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(images.flatten(1).cpu().numpy())
    copies = images[index]

    def nearest(change: Transform) -> Neighbours:
        neighbours = among.kneighbors(change(copies).flatten(1).cpu().numpy(), return_distance=False)[:, 0]
        return Neighbours(neighbours, share(int((neighbours == index).sum()), len(index)))

    return dict(zip(changes, executor.map(nearest, changes.values()), strict=True))
