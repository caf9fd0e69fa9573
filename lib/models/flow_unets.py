"""Flows whose velocity network is a small U-Net, for images on which a perceptron on all pixels sees too little."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, silu

from lib.models.draws import seed_from, seeded
from lib.models.flows import FREQUENCIES, Flow, VelocityNetwork


@dataclass(frozen=True)
class UNetFlow(Flow):
    """A :class:`lib.models.flows.Flow` of square grey images; ``width`` is the channels of the finest map.

    ``blocks`` is the number of scales, of which each has half the sides and twice the channels of the one before.
    """

    def check(self, examples: int) -> None:
        """Refuse what a :class:`Flow` refuses, and channels that cannot be grouped."""
        super().check(examples)
        if self.width % GROUPS:
            raise ValueError(f"channels must be a multiple of {GROUPS}, got width={self.width}")

    def build(self, pixels: int) -> "VelocityUNet":
        """The untrained network for square images of so many pixels."""
        seed = seed_from(self.stream.WEIGHTS, self.seed)
        return seeded(lambda: VelocityUNet(pixels, self.width, self.blocks, self.noise), seed)


GROUPS = 4
"""of channels that are normalised together"""


class VelocityUNet(VelocityNetwork):
    """A :class:`lib.models.flows.VelocityNetwork` whose denoiser is a U-Net (Ronneberger et al. 2015).

    At every scale one residual block on the way down and one on the way up, both told the time. Maps are halved by
    means and doubled by repetition, and joined to those of their own scale.

    Args:
        pixels: of an image, a square number.
        width: channels of the finest map.
        scales: maps of different sides; images are halved one time less.
        noise: standard deviation of the noise on images.

    Raises:
        ValueError: images that are not square, or cannot be halved so often.
    """

    def __init__(self, pixels: int, width: int, scales: int, noise: float) -> None:
        nn.Module.__init__(self)
        self.noise, self.side = noise, math.isqrt(pixels)
        if self.side**2 != pixels or self.side % 2 ** (scales - 1):
            raise ValueError(f"{pixels} pixels are no square whose sides can be halved {scales - 1} times")
        channels = [width << scale for scale in range(scales)]
        before = [width, *channels[:-1]]
        self.entry, self.exit = nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, 1, 3, padding=1)
        self.down = nn.ModuleList(_Block(*both) for both in zip(before, channels, strict=True))
        self.up = nn.ModuleList(_Block(2 * there, back) for back, there in zip(before, channels, strict=True))

    def denoise(self, y: Float[Tensor, "batch pixels"], t: Float[Tensor, "times 1"]) -> Float[Tensor, "batch pixels"]:
        """The image that is expected behind points, at one time for all or one for each."""
        phase = t * torch.arange(1, FREQUENCIES + 1, dtype=y.dtype, device=y.device) * (torch.pi / 2)
        time = torch.cat([phase.sin(), phase.cos()], 1)
        hidden, kept = self.entry(y.view(-1, 1, self.side, self.side)), []
        for scale, block in enumerate(self.down):
            hidden = block(nn.functional.avg_pool2d(hidden, 2) if scale else hidden, time)
            kept.append(hidden)
        for scale in reversed(range(len(kept))):
            hidden = self.up[scale](torch.cat([hidden, kept[scale]], 1), time)
            hidden = interpolate(hidden, scale_factor=2.0) if scale else hidden
        return self.exit(silu(hidden)).flatten(1)


class _Block(nn.Module):
    """Two convolutions beside a direct way, with the time added between them."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Sequential(nn.GroupNorm(GROUPS, channels), nn.SiLU(), nn.Conv2d(channels, after, 3, padding=1))
            for channels in (before, after)
        )
        self.time, self.direct = nn.Linear(2 * FREQUENCIES, after), nn.Conv2d(before, after, 1)

    def forward(self, hidden: Tensor, time: Tensor) -> Tensor:
        return self.direct(hidden) + self.second(self.first(hidden) + self.time(time)[..., None, None])
