r"""Maps :math:`\phi` of images, under which they are compared: pooled, masked, blurred, with other tones, or moved.

Each function returns a map from images ``[batch, channels, height, width]`` to images or to parts of them, which torch
can differentiate.

Source: Webster, Rabin, Simon & Jurie 2019.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional

from lib.measures.axes import Images

Transform = Callable[[Images], Tensor]


def pool(factor: int) -> Transform:
    """The means of ``factor x factor`` pixels: a smaller image.

    Example:
        >>> pool(2)(torch.tensor([[[[0.0, 1.0], [2.0, 5.0]]]]))
        tensor([[[[2.]]]])
    """
    if factor < 1:
        raise ValueError(f"factor must be at least 1, got {factor}")
    return lambda images: functional.avg_pool2d(images, factor)


def mask(keep: Bool[Tensor, "height width"]) -> Transform:
    """The pixels that are kept, as ``[batch, channels, kept]``.

    Example:
        >>> mask(torch.tensor([[True, False], [False, True]]))(torch.tensor([[[[0.0, 1.0], [2.0, 5.0]]]]))
        tensor([[[0., 5.]]])
    """
    if not keep.any():
        raise ValueError("the mask keeps no pixel")
    return lambda images: images[..., keep.to(images.device)]


def blur(sigma: float) -> Transform:
    """A Gaussian blur of standard deviation ``sigma`` pixels, out to three of them; edges are continued.

    Example:
        >>> blur(1.0)(torch.eye(9)[4:5, None, None])[0, 0, 0, 2:7]
        tensor([0.0540, 0.2420, 0.3991, 0.2420, 0.0540])
    """
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, got {sigma}")
    radius = math.ceil(3 * sigma)
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma).square())
    weights /= weights.sum()

    def apply(images: Images) -> Tensor:
        channels = images.shape[1]
        blurred = functional.pad(images, (radius,) * 4, mode="replicate")
        for shape in ((1, 1, -1, 1), (1, 1, 1, -1)):
            kernel = weights.to(images).view(shape).expand(channels, -1, -1, -1)
            blurred = functional.conv2d(blurred, kernel, groups=channels)
        return blurred

    return apply


def tone(gain: float, offset: float) -> Transform:
    """Other contrast and brightness: ``offset + gain x``.

    Example:
        >>> tone(0.5, 0.25)(torch.tensor([[[[0.0, 1.0]]]]))
        tensor([[[[0.2500, 0.7500]]]])
    """
    if gain == 0:
        raise ValueError("a gain of 0 leaves nothing of the image")
    return lambda images: offset + gain * images


def warp(degrees: float, right: float = 0.0, down: float = 0.0) -> Transform:
    """Turn images about their middle, then move them by pixels; bilinear, what comes in from outside is black.

    Example:
        >>> warp(90.0)(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])).round()
        tensor([[[[3., 1.],
                  [4., 2.]]]])
    """
    angle = math.radians(degrees)

    def apply(images: Images) -> Tensor:
        height, width = images.shape[2:]
        # Where each pixel of the result comes from, in coordinates from -1 to 1 along either side.
        x, y = 2 * right / width, 2 * down / height
        cos, sin, tall = math.cos(angle), math.sin(angle), height / width
        matrix = [[cos, sin * tall, -cos * x - sin * tall * y], [-sin / tall, cos, sin / tall * x - cos * y]]
        source = torch.tensor(matrix).to(images).expand(len(images), 2, 3)
        grid = functional.affine_grid(source, list(images.shape), align_corners=False)
        return functional.grid_sample(images, grid, align_corners=False)

    return apply
