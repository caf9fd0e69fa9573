"""Overfitting in the eyes or the mouth, which a median over whole faces might not show.

Source: Webster et al. 2019, slide "Local overfitting of GAN", for the question. The slides do not say where their parts
begin and end; these boxes were placed on the mean of the ORL faces, before any model was fitted.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lib.measures.axes import Images
from lib.measures.statistics import Permutation, largest_of_many

Errors = Float[Tensor, "images parts"]


class Box(NamedTuple):
    """A part of the image, in shares of its height and width."""

    top: float
    bottom: float
    left: float
    right: float

    def cut(self, images: Float[Tensor, "*images height width"]) -> Float[Tensor, "*images _ _"]:
        """The part of images.

        Example:
            >>> Box(0.5, 1.0, 0.0, 0.5).cut(torch.arange(16.0).view(4, 4))
            tensor([[ 8.,  9.],
                    [12., 13.]])
        """
        height, width = images.shape[-2:]
        rows = slice(round(self.top * height), round(self.bottom * height))
        return images[..., rows, round(self.left * width) : round(self.right * width)]


BOXES = {"eyes": Box(0.34, 0.56, 0.14, 0.84), "mouth": Box(0.75, 0.92, 0.22, 0.75)}


def errors(recovered: Images, images: Images) -> Errors:
    """Recovery errors, mean squared errors per pixel, of whole images and then of each of :data:`BOXES`."""
    squares = (recovered - images).square().mean(1)
    parts = [squares, *(box.cut(squares) for box in BOXES.values())]
    return torch.stack([part.flatten(1).mean(1) for part in parts], 1)


def compare(train: Errors, test: Errors, *, draws: int = 500, rng: np.random.Generator) -> Permutation:
    """The gaps of the parts, and how often chance gives one as large for its noise in any of them.

    Args:
        train: errors of the parts of training images.
        test: the same of held-out images.
        draws: random exchanges of images between the sides.
        rng: the source of random numbers for them.
    """
    return largest_of_many(_gaps, train.numpy(), test.numpy(), draws=draws, rng=rng)


def smallest_gap(train: Errors, test: Errors, sizes: Sequence[float], *, rng: np.random.Generator) -> float:
    """What :func:`compare` would have seen: the smallest gap that it detects in each part, planted there alone.

    Args:
        train: errors of the parts of training images. They are scaled until no part has a gap, and made smaller in one.
        test: the same of held-out images.
        sizes: gaps that are planted, ascending.
        rng: the source of random numbers for the exchanges.

    Returns:
        That of the part where it is largest: the first with a chance below 1 %; infinity where there is none.
    """
    return max(_seen(train, test, part, sizes, rng) for part in range(train.shape[1]))


def _seen(train: Errors, test: Errors, part: int, sizes: Sequence[float], rng: np.random.Generator) -> float:
    alike = train * test.median(0).values / train.median(0).values
    for size in sizes:
        planted = alike.clone()
        planted[:, part] *= 1 - size
        if compare(planted, test, rng=rng).p.value < 0.01:
            return float(size)
    return math.inf


def _gaps(
    train: Float[np.ndarray, "train parts"], test: Float[np.ndarray, "test parts"]
) -> Float[np.ndarray, " parts"]:
    return 1 - np.median(train, 0) / np.median(test, 0)
