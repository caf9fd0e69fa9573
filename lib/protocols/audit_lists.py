"""The nearest images of every image, found once: all that an audit of samples needs of the pixels.

Distances by matrix products are fast and lose the digits in which copies differ (see :mod:`lib.measures.nearest`). So
products choose a few candidates more than are needed, and the candidates' distances are computed from differences.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from lib.measures.nearest import comparable
from lib.models.own_images import first_equal

KEPT = 16
"""Neighbours kept of each image. All of them belong to the same half of the images in one of 65,536 cases."""
SPARE = 8
"""candidates more than are kept, whose distances are computed from differences"""
LEAST = 20
"""different images that a side must have"""
ROWS = 256
"""images whose distances to all others are in memory at a time"""

Points = Float[Tensor, "members pixels"]


class Lists(NamedTuple):
    """Of each image its nearest others of a set, the nearest first."""

    distance: Float[Tensor, "images kept"]
    """in units of the pixels"""
    which: Int64[Tensor, "images kept"]
    """their places in the set"""

    def first(self, of: Bool[Tensor, " members"]) -> tuple[Float[Tensor, " images"], Int64[Tensor, " images"]]:
        """The nearest of those members of the set that count, and its distance: infinite if it is not in the list."""
        found = torch.where(of[self.which], self.distance, torch.inf).min(1)
        return found.values, self.which.gather(1, found.indices[:, None])[:, 0]


def lists(
    x: Float[Tensor, "images pixels"], among: Points, kept: int = KEPT, *, own: Int64[Tensor, " images"] | None = None
) -> Lists:
    """The nearest ``kept`` images of a set, or all of it if there are fewer.

    Args:
        x: images as vectors.
        among: the set.
        kept: how many are kept.
        own: for each image its own place in the set, which does not count.

    Example:
        >>> found = lists(torch.tensor([[1.0]]), torch.tensor([[3.0], [1.5], [0.0]]), 2)
        >>> found.distance, found.which
        (tensor([[0.5000, 1.0000]]), tensor([[1, 2]]))
    """
    members = len(among) - (own is not None)
    kept, wide = min(kept, members), min(kept + SPARE, members)
    centre = among.mean(0)
    flat = (among - centre).float()
    squares = flat.square().sum(1)
    parts = []
    for start in range(0, len(x), ROWS):
        rows = x[start : start + ROWS]
        rough = torch.addmm(squares, (rows - centre).float(), flat.T, alpha=-2)
        if own is not None:
            rough.scatter_(1, own[start : start + ROWS, None], torch.inf)
        candidates = rough.topk(wide, largest=False, sorted=False).indices
        parts.append(_sorted(rows, among, candidates, kept))
    return Lists(*map(torch.cat, zip(*parts, strict=True)))


def _sorted(x: Tensor, among: Tensor, candidates: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    exact = torch.stack([(x - among[column]).square().sum(1) for column in candidates.T], 1).sqrt()
    found = exact.topk(kept, largest=False)
    return found.values, candidates.gather(1, found.indices)


def distinct(images: Float[Tensor, "images *pixels"]) -> Bool[Tensor, " images"]:
    """Which images are the first of all that equal them.

    Example:
        >>> distinct(torch.tensor([[1.0], [2.0], [1.0]]))
        tensor([ True,  True, False])
    """
    return first_equal(images) == torch.arange(len(images))


class Sides(NamedTuple):
    """Training and held-out images of equal number, no two of them equal, and what the draw has left out."""

    images: Float[Tensor, "members *image"]
    """those of training first"""
    train: Int64[Tensor, " train"]
    """places of the training images in what was given"""
    held_out: Int64[Tensor, " held_out"]
    """the same of the held-out images"""
    repeated: int
    """images left out because they equal another one"""
    shared: int
    """held-out images that equal a training image: those of a leak"""

    @property
    def labels(self) -> Bool[Tensor, " members"]:
        """Which are training images."""
        return torch.arange(len(self.images)) < len(self.train)

    @property
    def points(self) -> Points:
        """The images as vectors."""
        return self.images.flatten(1)


def sides(
    train: Float[Tensor, "train *image"], held_out: Float[Tensor, "others *image"], maximum: int, *, seed: int
) -> Sides:
    """Draw as many training as held-out images, at most ``maximum`` of each, and keep one of each that are equal.

    The choice among equal images does not look at which side they are of, so that sides that could be exchanged before
    can be exchanged afterwards.

    Raises:
        ValueError: images of two shapes or not finite, or fewer than 20 different ones on a side.
    """
    comparable(("training images", train, 1), ("held-out images", held_out, 1))
    rng = np.random.default_rng([seed, len(train), len(held_out)])
    both = torch.cat([train, held_out])
    order = torch.from_numpy(rng.permutation(len(both)))
    kept = order[distinct(both[order])]
    inside, outside = kept[kept < len(train)], kept[kept >= len(train)] - len(train)
    count = min(len(inside), len(outside), maximum)
    if count < LEAST:
        raise ValueError(
            f"{LEAST} or more different images are needed on either side, got {len(inside)} training and "
            f"{len(outside)} held-out images"
        )
    inside, outside = inside[:count], outside[:count]  # in random order
    shared = int((~distinct(torch.cat([train[distinct(train)], held_out[distinct(held_out)]]))).sum())
    return Sides(torch.cat([train[inside], held_out[outside]]), inside, outside, len(both) - len(kept), shared)
