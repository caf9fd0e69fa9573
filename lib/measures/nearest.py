"""The nearest images of a set, by Euclidean distances that are computed from differences.

``torch.cdist`` expands the square from 26 rows on, which is faster and loses half of the digits: a float32 copy of 784
pixels then seems to be 0.01 away from its original. Where copies are looked for, that is the wrong half.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

CHUNK = 256
"""images whose distances to all others are in memory at a time"""


def nearest(
    x: Float[Tensor, "n pixels"],
    among: Float[Tensor, "m pixels"],
    count: int,
    *,
    chunk: int = CHUNK,
    without: Int64[Tensor, " n"] | None = None,
) -> tuple[Float[Tensor, "n count"], Int64[Tensor, "n count"]]:
    """The distances to the nearest ``count`` of a set, ascending, and which they are.

    Args:
        x: vectors.
        among: the set.
        count: how many of the set to find.
        chunk: rows whose distances to all of the set are in memory at a time.
        without: for each row one of the set that does not count, such as itself.

    Raises:
        ValueError: ``chunk`` is below one, or the set has fewer members than are asked for.

    Example:
        >>> distances, which = nearest(torch.tensor([[1.0]]), torch.tensor([[3.0], [1.0], [0.0]]), 2)
        >>> distances, which
        (tensor([[0., 1.]]), tensor([[1, 2]]))
    """
    members = len(among) - (without is not None)
    if not 1 <= count <= members:
        raise ValueError(f"the number of neighbours must be in 1..{members}, got {count}")
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}")
    parts = []
    for start in range(0, len(x), chunk):
        distances = torch.cdist(x[start : start + chunk], among, compute_mode="donot_use_mm_for_euclid_dist")
        if without is not None:
            distances.scatter_(1, without[start : start + chunk, None], torch.inf)
        parts.append(distances.topk(count, largest=False))
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


def comparable(*sets: tuple[str, Tensor, int]) -> list[Tensor]:
    """Sets of images as vectors, refused if they cannot be compared.

    Args:
        sets: of each its name, the images, and how many there must be.

    Raises:
        ValueError: too few images, images of a shape other than the first set's, or not finite (counted).

    Example:
        >>> comparable(("samples", torch.zeros(2, 1, 3, 3), 1))[0].shape
        torch.Size([2, 9])
    """
    for name, images, least in sets:
        if len(images) < least:
            raise ValueError(f"{least} or more {name} are needed, got {len(images)}")
        if images.shape[1:] != sets[0][1].shape[1:]:
            raise ValueError(f"{name} are {list(images.shape[1:])}, {sets[0][0]} are {list(sets[0][1].shape[1:])}")
        bad = ~images.flatten(1).isfinite().all(1)
        if bad.any():
            raise ValueError(f"{int(bad.sum())} of {len(images)} {name} are not finite")
    return [images.flatten(1) for _, images, _ in sets]
