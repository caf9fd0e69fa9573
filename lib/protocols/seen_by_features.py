"""Nearest neighbours by the features of a network, beside those by pixels: which images are taken for copies?"""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from lib.measures.axes import Images
from lib.measures.intervals import Estimate, estimate
from lib.measures.nearest import nearest
from lib.measures.transforms import Transform
from lib.protocols import neighbours
from lib.protocols.neighbours import Neighbours

Features = Callable[[Images], Float[Tensor, "batch features"]]
AT_ONCE = 1024
"""images whose features are computed at a time"""


def of_disturbed(
    images: Images,
    index: Int64[Tensor, " copies"],
    changes: Mapping[str, Transform],
    features: Features,
    executor: Executor,
) -> dict[str, Neighbours]:
    """As :func:`lib.protocols.neighbours.of_disturbed`, in Euclidean distance between features.

    Args:
        images: all images, such as a training set.
        index: which of them are copied.
        changes: what is done to the copies.
        features: of images.
        executor: where to look for the neighbours after one change and another side by side.
    """
    copies = images[index]
    changed = {name: lambda _, change=change: _as_images(change(copies), features) for name, change in changes.items()}
    return neighbours.of_disturbed(_as_images(images, features), index.numpy(), changed, executor)


def by_both(
    asked: Images, among: Float[Tensor, "members channels height width"], features: Features
) -> dict[str, Int64[Tensor, " batch"]]:
    """Which of a set is nearest to each image, by ``pixels`` and by ``features``."""
    kinds = {
        "pixels": (asked.flatten(1), among.flatten(1)),
        "features": (_as_images(asked, features).flatten(1), _as_images(among, features).flatten(1)),
    }
    return {name: nearest(*sides, 1)[1][:, 0].cpu() for name, sides in kinds.items()}


def found(answer: Neighbours, index: Int64[Tensor, " copies"]) -> Bool[Tensor, " copies"]:
    """Of which copies the original is the nearest."""
    return torch.from_numpy(answer.nearest) == index


def more(first: Bool[Tensor, " images"], second: Bool[Tensor, " images"], *, seed: int) -> Estimate:
    """How much larger the share of the first is, with its 95 % interval over images.

    Example:
        >>> more(torch.tensor([True, True, False]), torch.tensor([True, False, False]), seed=0).value == 1 / 3
        True
    """
    return estimate(first.double() - second.double(), seed=seed)


def _as_images(images: Images, features: Features) -> Float[Tensor, "batch features 1 1"]:
    return torch.cat([features(part) for part in images.split(AT_ONCE)])[..., None, None].cpu()
