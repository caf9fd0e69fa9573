"""Progressive growing of adversarial networks (PGGAN, Karras et al. 2018): from 4 x 4 pixels to the size of the images.

From the paper: levels of resolution that are faded in one after the other, equalised learning rates, pixel norm, the
standard deviation over a minibatch, and a generator whose weights are averaged over steps. The loss is not the paper's
Wasserstein distance but what the same authors took a year later (Karras et al. 2019): the non-saturating loss, with
the gradient penalty on real images of Mescheder, Geiger & Nowozin 2018, which costs less. Images are in [0, 1], and so
the generator ends in a sigmoid, where the paper's is linear.

How far networks have grown is one number, their *growth*: at 2 they are at level 2, of ``4 * 2**2`` pixels a side; at
1.3 level 2 has been faded in to 30 %.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import MultivariateNormal
from torch.nn.functional import avg_pool2d, interpolate, softplus

from lib.models import loop
from lib.models.adversarial import descend
from lib.models.draws import rng_from, seed_from, seeded
from lib.models.family import Index, Seen, Spec, Tensors
from lib.models.generative import GeneratorFit
from lib.models.pyramid import SLOPE
from lib.models.streams import GenerativeStream

Maps = Float[Tensor, "batch channels height width"]


@dataclass(frozen=True)
class Progressive(Spec):
    """Everything that decides a fit, apart from the data."""

    stream = GenerativeStream

    examples: int
    """training images, drawn without replacement; zero means all"""
    steps: int = 6000
    batch: int = 32
    seed: int = 0
    latent: int = 32
    width: int = 8
    """channels of the finest map; each coarser one has twice as many, up to eight times"""
    rate: float = 2e-3
    """learning rate of Adam, the same for all steps"""
    penalty: float = 0.5
    """weight of the gradient penalty, for images in [0, 1]"""
    decay: float = 0.995
    """of the average over the generator's weights, for each step; the paper's .999 is for many more of them"""

    def build(self, shape: Sequence[int]) -> nn.ModuleDict:
        """The untrained networks: a generator, a discriminator, and the average over the generator's weights.

        Raises:
            ValueError: images that are not square, of a side that is no power of two from 8 on.
        """

        def networks() -> nn.ModuleDict:
            generator = Grower(shape, self.latent, self.width)
            parts = {"generator": generator, "discriminator": GrowingCritic(shape, self.width)}
            return nn.ModuleDict({**parts, "average": copy.deepcopy(generator).requires_grad_(False)})

        return seeded(networks, seed_from(self.stream.WEIGHTS, self.seed))

    def train(self, seen: Seen, device: str, checkpoint: Path, followed: Tensors | None) -> Tensors:
        """The averaged weights of the generator, and the losses of generator and discriminator."""
        x, model = seen.train.to(device), self.build(seen.train.shape[1:]).to(device).train()
        generator, discriminator, average = model.values()
        top = len(generator.blocks) - 1
        optimizers = {
            name: torch.optim.Adam(model[name].parameters(), self.rate, betas=(0.0, 0.99), fused=True)
            for name in ("generator", "discriminator")
        }

        def advance(step: int) -> Tensor:
            rng = rng_from(x.device, self.stream.STEPS, self.seed, step)
            rows = torch.randint(len(x), (self.batch,), generator=rng, device=x.device)
            z = torch.randn(self.batch, self.latent, generator=rng, device=x.device)
            grown = growth(step, self.steps, top)
            made = generator(z, grown)
            real = faded(x[rows], grown, top).requires_grad_()
            judged = discriminator(real, grown)
            (slope,) = torch.autograd.grad(judged.sum(), real, create_graph=True)
            penalty = self.penalty / 2 * slope.flatten(1).square().sum(1).mean()
            judge = softplus(-judged).mean() + softplus(discriminator(made.detach(), grown)).mean()
            descend(judge + penalty, discriminator, optimizers["discriminator"])
            fool = softplus(-discriminator(made, grown)).mean()
            descend(fool, generator, optimizers["generator"])
            with torch.no_grad():
                for kept, weight in zip(average.parameters(), generator.parameters(), strict=True):
                    kept.lerp_(weight, 1 - self.decay)
            return torch.stack([fool, judge]).detach()

        label = f"pggan, {len(x)} images, seed {self.seed}"
        losses = loop.run(model.state_dict(), optimizers, advance, self.steps, checkpoint=checkpoint, label=label)
        return {**average.state_dict(), "losses": losses}

    def restore(self, tensors: Tensors, index: Index, shape: Sequence[int], device: str) -> GeneratorFit:
        """The averaged generator and its standard normal prior, on ``device``."""
        generator = self.build(shape)["average"]
        generator.load_state_dict({name: value for name, value in tensors.items() if name != "losses"})
        prior = MultivariateNormal(torch.zeros(self.latent, device=device), torch.eye(self.latent, device=device))
        return GeneratorFit(self, index, tensors["losses"], generator.to(device).eval(), None, prior)


class Equalised(nn.Conv2d):
    r"""A convolution with weights that start from N(0, 1) and are scaled whenever they are used, section 4.1.

    The scale is He's, :math:`g / \sqrt{n}` with ``n`` inputs of an output. So Adam, whose steps do not depend on the
    scale of a gradient, moves all layers at one relative speed.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, padding: int = 0, gain: float = 2**0.5) -> None:
        super().__init__(inputs, outputs, kernel, padding=padding)
        nn.init.normal_(self.weight)
        nn.init.zeros_(self.bias)
        self.scale = gain / self.weight[0].numel() ** 0.5

    def forward(self, x: Float[Tensor, "batch inputs height width"]) -> Float[Tensor, "batch outputs _ _"]:
        """The convolution with scaled weights."""
        return self._conv_forward(x, self.weight * self.scale, self.bias)


class PixelNorm(nn.Module):
    """Maps divided by the root mean square over the channels of each pixel, section 4.2."""

    def forward(self, x: Maps) -> Maps:
        """Maps whose squares have a mean of one over channels."""
        return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class Deviation(nn.Module):
    """Maps with one more: their standard deviation over the batch, a mean over channels and pixels, section 3."""

    def forward(self, x: Maps) -> Float[Tensor, "batch channels+1 height width"]:
        """The maps, and the same number everywhere in the last."""
        mean = (x.var(0, correction=0) + 1e-8).sqrt().mean()
        return torch.cat([x, mean.expand(len(x), 1, *x.shape[2:])], 1)


class Grower(nn.Module):
    """Latents to images in [0, 1]: two layers for every level, and one that makes an image of its map."""

    def __init__(self, shape: Sequence[int], latent: int, width: int) -> None:
        super().__init__()
        maps = _maps(shape, width)
        start = [PixelNorm(), Equalised(latent, 16 * maps[0], 1, gain=2**0.5 / 4), nn.PixelShuffle(4)]
        blocks = [nn.Sequential(*start, nn.LeakyReLU(SLOPE), PixelNorm(), *_layer(maps[0], maps[0], PixelNorm()))]
        for coarse, fine in pairwise(maps):
            layers = *_layer(coarse, fine, PixelNorm()), *_layer(fine, fine, PixelNorm())
            blocks.append(nn.Sequential(nn.Upsample(scale_factor=2), *layers))
        self.blocks = nn.ModuleList(blocks)
        self.paint = nn.ModuleList(nn.Sequential(Equalised(n, shape[0], 1, gain=1.0), nn.Sigmoid()) for n in maps)

    def forward(self, z: Float[Tensor, "batch latent"], grown: float | None = None) -> Maps:
        """The images at a growth, by default the largest."""
        level, share = _level(float(len(self.blocks) - 1) if grown is None else grown)
        coarse = fine = z[:, :, None, None]
        for block in self.blocks[: level + 1]:
            coarse, fine = fine, block(fine)
        image = self.paint[level](fine)
        return image if share == 1 else _doubled(self.paint[level - 1](coarse)).lerp(image, share)


class GrowingCritic(nn.Module):
    """Images at a growth to logits: the generator backwards, without pixel norm and with the deviation over a batch."""

    def __init__(self, shape: Sequence[int], width: int) -> None:
        super().__init__()
        maps = _maps(shape, width)
        last = Equalised(maps[0], maps[0], 4), nn.LeakyReLU(SLOPE), Equalised(maps[0], 1, 1, gain=1.0), nn.Flatten(0)
        blocks = [nn.Sequential(Deviation(), *_layer(maps[0] + 1, maps[0]), *last)]
        for coarse, fine in pairwise(maps):
            blocks.append(nn.Sequential(*_layer(fine, fine), *_layer(fine, coarse), nn.AvgPool2d(2)))
        self.blocks = nn.ModuleList(blocks)
        self.read = nn.ModuleList(nn.Sequential(Equalised(shape[0], n, 1), nn.LeakyReLU(SLOPE)) for n in maps)

    def forward(self, x: Maps, grown: float) -> Float[Tensor, " batch"]:
        """The logits."""
        level, share = _level(grown)
        x = 2 * x - 1
        seen = self.blocks[level](self.read[level](x))
        if share < 1:
            seen = self.read[level - 1](avg_pool2d(x, 2)).lerp(seen, share)
        for block in self.blocks[:level][::-1]:
            seen = block(seen)
        return seen


def growth(step: int, steps: int, top: int) -> float:
    """How far networks with the levels 0 .. ``top`` have grown before a step.

    Half of the steps grow, in equal parts: level 0, and for each other level one in which it is faded in and, but for
    the last, one in which it stays. The other half has the largest images.

    Example:
        >>> [growth(step, 16, 2) for step in (0, 2, 3, 4, 6, 7, 8)]
        [0.0, 0.0, 0.5, 1.0, 1.0, 1.5, 2.0]
    """
    level, part = divmod(4 * top * step / steps, 2)
    return min(level + max(part - 1, 0.0), float(top))


def faded(x: Maps, grown: float, top: int) -> Float[Tensor, "batch channels _ _"]:
    """Images of level ``top`` as a discriminator sees them at a growth: smaller, and mixed with still smaller ones."""
    level, share = _level(grown)
    x = avg_pool2d(x, 2 ** (top - level))
    return x if share == 1 else _doubled(avg_pool2d(x, 2)).lerp(x, share)


def _level(grown: float) -> tuple[int, float]:
    """The finest level at a growth, and its share in the images."""
    level = math.ceil(grown)
    return level, grown - level + 1


def _doubled(x: Maps) -> Float[Tensor, "batch channels _ _"]:
    return interpolate(x, scale_factor=2)


def _layer(inputs: int, outputs: int, *more: nn.Module) -> tuple[nn.Module, ...]:
    return Equalised(inputs, outputs, 3, padding=1), nn.LeakyReLU(SLOPE), *more


def _maps(shape: Sequence[int], width: int) -> list[int]:
    """The channels of all levels, the coarsest first."""
    _, height, breadth = shape
    top = round(math.log2(height)) - 2
    if height != breadth or height != 4 * 2**top or top < 1:
        raise ValueError(f"{height} x {breadth} images: height and width must be the same power of two, from 8 on")
    return [width * min(8, 2 ** (top - level)) for level in range(top + 1)]
