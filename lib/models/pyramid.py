"""The networks of latent recovery: convolutional generators of any size, and the networks that train them.

After DCGAN (Radford, Metz & Chintala 2016) and MESCH (Mescheder, Geiger & Nowozin 2018). Images are in [0, 1].
Upsampling is by sub-pixel convolution: a convolution to ``stride ** 2`` times the channels, which become pixels side by
side. That is a transposed convolution with a kernel of ``3 stride``, and on processors several times faster.
Downsampling is the same backwards.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

SLOPE = 0.2
"""of the leaky ReLUs"""


def generator(
    shape: Sequence[int], latent: int, width: int, *, stride: int, normalised: bool = False, residual: bool = False
) -> nn.Sequential:
    """Latents to images: a linear layer to a coarse map, then layers that multiply the resolution by ``stride``.

    Args:
        shape: channels, height and width of an image.
        latent: latents.
        width: channels of the finest map, before the last layer; each coarser map has ``stride`` times as many.
        stride: 2 as in the papers; 4 needs fewer layers.
        normalised: batch normalisation of every map, as in DCGAN.
        residual: a residual block at every map, as in MESCH.
    """
    maps = _maps(shape, width, stride)
    layers: list[nn.Module] = [nn.Linear(latent, _size(maps[-1])), nn.Unflatten(1, maps[-1])]
    for index, (channels, _, _) in reversed(list(enumerate(maps))):
        finer = maps[index - 1][0] if index else shape[0]
        layers += [nn.BatchNorm2d(channels)] * normalised + [Residual(channels)] * residual
        layers += [nn.ReLU(), nn.Conv2d(channels, stride**2 * finer, 3, padding=1), nn.PixelShuffle(stride)]
    return nn.Sequential(*layers, nn.Sigmoid())


def encoder(
    shape: Sequence[int], outputs: int, width: int, *, stride: int, normalised: bool = False, residual: bool = False
) -> nn.Sequential:
    """The generator backwards: images to ``outputs`` numbers. With one output it is a discriminator's logit."""
    maps = _maps(shape, width, stride)
    layers: list[nn.Module] = []
    for index, (channels, _, _) in enumerate(maps):
        finer = maps[index - 1][0] if index else shape[0]
        layers += [nn.PixelUnshuffle(stride), nn.Conv2d(stride**2 * finer, channels, 3, padding=1)]
        # DCGAN leaves the discriminator's first map as it is.
        layers += [nn.BatchNorm2d(channels)] * (normalised and index > 0) + [Residual(channels)] * residual
        layers.append(nn.LeakyReLU(SLOPE))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(_size(maps[-1]), outputs))


class Residual(nn.Module):
    """Two convolutions, scaled by 0.1, beside the identity: MESCH's block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2)]
        self.block = nn.Sequential(nn.LeakyReLU(SLOPE), convolutions[0], nn.LeakyReLU(SLOPE), convolutions[1])

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """``x + block(x) / 10``."""
        return x + 0.1 * self.block(x)


def _maps(shape: Sequence[int], width: int, stride: int) -> list[tuple[int, int, int]]:
    """The maps between image and latents, the finest first: until the next one would be smaller than 4 x 4.

    Raises:
        ValueError: a side that ``stride`` does not divide that often.
    """
    _, height, breadth = shape
    maps: list[tuple[int, int, int]] = []
    while min(height, breadth) >= 4 * stride:
        if height % stride or breadth % stride:
            break
        height, breadth = height // stride, breadth // stride
        maps.append((width * stride ** len(maps), height, breadth))
    if not maps or min(height, breadth) >= 16:
        raise ValueError(
            f"{shape[1]} x {shape[2]} images: {stride} must divide height and width until they are 4..15; resize them"
        )
    return maps


def _size(shape: tuple[int, int, int]) -> int:
    return shape[0] * shape[1] * shape[2]
