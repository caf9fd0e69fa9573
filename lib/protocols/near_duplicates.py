"""Images that a data set holds several times with slight variation, and whether samples come near them.

Two images are near-duplicates if the correlation of their pixels is above a threshold. Correlation knows neither
brightness nor contrast. Groups are the connected components: an image belongs to all whom a chain of near-duplicates
joins to it.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from lib.measures.axes import Images
from lib.measures.intervals import Estimate, difference

CHUNK = 1000
"""images whose correlations with all others are in memory at a time"""
Group = Int64[Tensor, " _"]


def correlations(first: Images, second: Float[Tensor, "others channels height width"]) -> Float[Tensor, "batch others"]:
    """Correlation of the pixels of every image of one set with every image of another.

    Images of one colour have none: NaN.

    Example:
        >>> x = torch.tensor([[[[0.0, 1.0]]], [[[0.6, 0.4]]]])
        >>> correlations(x, x)
        tensor([[ 1., -1.],
                [-1.,  1.]])
    """

    def standard(images: Tensor) -> Tensor:
        flat = images.flatten(1) - images.flatten(1).mean(1, keepdim=True)
        return flat / flat.norm(dim=1, keepdim=True)

    return standard(first) @ standard(second).T


def groups(images: Images, threshold: float) -> list[Group]:
    """The groups of near-duplicates among some images, the largest first; images without one are in no group."""
    rows, columns = [], []
    for start in range(0, len(images), CHUNK):
        near = correlations(images[start : start + CHUNK], images) > threshold
        row, column = near.nonzero(as_tuple=True)
        rows.append(row.cpu().numpy() + start)
        columns.append(column.cpu().numpy())
    pairs = np.concatenate(rows), np.concatenate(columns)
    graph = coo_array((np.ones(len(pairs[0]), bool), pairs), shape=(len(images), len(images)))
    _, group_of = connected_components(graph, directed=False)
    sizes = np.bincount(group_of)
    largest = np.argsort(-sizes, kind="stable")[: int((sizes > 1).sum())]
    return [torch.from_numpy(np.flatnonzero(group_of == group)) for group in largest]


def nearest(asked: Images, among: Float[Tensor, "others channels height width"]) -> tuple[Tensor, Tensor]:
    """The largest correlation of each image with one of a set, and which of them it is."""
    best = [correlations(part, among).max(1) for part in asked.split(CHUNK)]
    return torch.cat([part.values for part in best]).cpu(), torch.cat([part.indices for part in best]).cpu()


def excess(
    samples: Int64[Tensor, " samples"], held_out: Int64[Tensor, " held_out"], found: Sequence[Group], *, seed: int
) -> Estimate:
    """How much more often the training image nearest to a sample is a near-duplicate than that of a held-out image.

    Held-out images are the control: where images are dense, as strokes are, near-duplicates are near to everything.

    Args:
        samples: the nearest training image of every sample.
        held_out: that of every held-out image.
        found: the groups among the training images; there is at least one.
        seed: of the resampling of both.

    Example:
        >>> both = torch.arange(10)
        >>> excess(both, both, [torch.tensor([0, 1])], seed=0).value
        0.0
    """
    members = torch.cat(list(found))
    return difference(*(torch.isin(nearest, members).double() for nearest in (samples, held_out)), seed=seed)
