r"""Searches that see only a part or a coarse version :math:`\phi(y)` of an image: is the whole of it recovered?"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from lib.measures.axes import PerSample
from lib.measures.intervals import Estimate, share
from lib.measures.recovery import Overfitting
from lib.measures.transforms import Transform, blur, mask, pool, warp
from lib.protocols.gaps import Sides, compare
from lib.protocols.zoo import Search, Zoo, search


class View(NamedTuple):
    """What searches under one map come to. Errors are those of the whole images."""

    generated: PerSample
    """recovery errors of images that the generator made"""
    again: Estimate
    """share of them that are recovered: with an error below a tenth of the held-out images' median"""
    sides: Overfitting
    """training images against held-out ones"""


def middle(height: int, width: int) -> Bool[Tensor, "height width"]:
    """True in the middle half of either side of an image, rounded outwards."""
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[height // 4 : -(height // 4), width // 4 : -(width // 4)] = True
    return inside


def maps(height: int, width: int) -> dict[str, Transform | None]:
    """The maps under which images of that size are searched for; None is the identity."""
    return {
        "identity": None,
        "means of 4 x 4 pixels": pool(4),
        "all but the middle": mask(~middle(height, width)),
        "blur, 2 pixels": blur(2.0),
        "turned by 15°": warp(15.0),
    }


def compare_under(
    zoo: Zoo, rows: Sequence[str], how: Search, phi: Mapping[str, Transform | None], count: int, executor: Executor
) -> dict[tuple[str, str], View]:
    """Search for training, held-out and generated images under every map, with the first model of every row.

    Args:
        zoo: the models and their images.
        rows: names of the rows.
        how: how to search, apart from the map.
        phi: the maps, as from :func:`maps`.
        count: images of each kind.
        executor: where to search side by side.
    """

    def under(row: str, name: str) -> View:
        chosen = replace(how, transform=phi[name])
        kinds = zoo.trained_on(row, count=count), zoo.held_out(count=count), zoo.generated(row, count)
        train, test, made = (search(zoo.fits[row][0], images, chosen).error.cpu() for images in kinds)
        again = share(int((made < 0.1 * test.median()).sum()), len(made))
        return View(made, again, compare(Sides(train, test), zoo.seed))

    keys = [(row, name) for row in rows for name in phi]
    return dict(zip(keys, executor.map(under, *zip(*keys, strict=True)), strict=True))
