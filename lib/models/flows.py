"""Flows from noise to images along straight paths, by flow matching (Lipman et al. 2023, Liu et al. 2023).

The velocity network is a residual perceptron on all pixels, for small images. Its maths (samplers, codes, what the
velocity would be if nothing held it back) is in :mod:`lib.measures.flows`.

What is learnt is not the images but the images with a little normal noise, as in Lipman et al. 2023 (there sigma_min):
pixels that are black in every image have no density. A flow that memorises is then a kernel density estimate,
:func:`lib.measures.flows.blurred_velocity`, whose density is known.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, unique
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from lib.models import loop
from lib.models.draws import rng_from, seed_from, seeded
from lib.models.family import Fit, Index, Seen, Spec, Tensors

FREQUENCIES = 16
"""of the sines and cosines by which the network is told the time"""


@unique
class FlowStream(IntEnum):
    """Of (stream, seed, ...). It stands here, so that results which other families have a part in stay as they are."""

    WEIGHTS = 5
    STEPS = 6


@dataclass(frozen=True)
class Flow(Spec):
    """Everything that decides a fit, apart from the data."""

    stream = FlowStream

    examples: int
    """training images, drawn without replacement; zero means all"""
    steps: int = 4000
    batch: int = 64
    seed: int = 0
    width: int = 256
    """units of every hidden layer"""
    blocks: int = 2
    """residual blocks, each of two layers"""
    noise: float = 0.05
    """standard deviation of the noise on images, whose range is [-1, 1]: more than a step of 256 grey values"""
    rate: float = 2e-3
    """learning rate of Adam, constant after the first hundred steps: every moment is then as good as an end"""
    average: float = 0.995
    """the kept weights are a running mean, of which a step keeps this share"""
    halvings: int = 4
    """weights are also kept after half of the steps, a quarter and so on, this many times"""

    def marks(self) -> list[int]:
        """After which steps weights are kept, ascending."""
        return sorted({self.steps >> halving for halving in range(self.halvings + 1)})

    def check(self, examples: int) -> None:
        """Refuse fewer than two images, no noise, and more halvings than the steps allow."""
        if not self.noise > 0:
            raise ValueError(f"the noise must be positive, got {self.noise}: without it there is no density")
        if examples < 2 or self.steps >> self.halvings < 1:
            raise ValueError(
                f"a flow needs at least 2 images and {2**self.halvings} steps for {self.halvings} halvings, got "
                f"{examples} images and {self.steps} steps"
            )

    def build(self, pixels: int) -> "VelocityNetwork":
        """The untrained network for images of so many pixels."""
        seed = seed_from(self.stream.WEIGHTS, self.seed)
        return seeded(lambda: VelocityNetwork(pixels, self.width, self.blocks, self.noise), seed)

    def train(self, seen: Seen, device: str, checkpoint: Path, followed: Tensors | None) -> Tensors:
        """The averaged weights at every mark, and the losses of :class:`FlowFit`."""
        x = VelocityNetwork.observe(seen.train).to(device)
        model = self.build(x.shape[1]).to(device)
        optimizer = torch.optim.Adam(model.parameters(), fused=True)
        weights = dict(model.named_parameters())
        average = {name: value.detach().clone() for name, value in weights.items()}
        kept = {f"{mark}.{name}": torch.zeros_like(value) for mark in self.marks() for name, value in average.items()}

        def advance(step: int) -> Tensor:
            rng = rng_from(x.device, self.stream.STEPS, self.seed, step)
            optimizer.param_groups[0]["lr"] = self.rate * min(1.0, (step + 1) / 100)
            loss = matching_loss(model, x, self.batch, rng)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            share = min(self.average, (1 + step) / (10 + step))  # the start counts for nothing soon
            torch._foreach_lerp_(list(average.values()), [w.detach() for w in weights.values()], 1 - share)
            if step + 1 in self.marks():
                for name, value in average.items():
                    kept[f"{step + 1}.{name}"].copy_(value)
            return loss

        state = {**model.state_dict(), **{f"average.{name}": value for name, value in average.items()}, **kept}
        label = f"flow, {len(x)} images, seed {self.seed}"
        losses = loop.run(state, {"adam": optimizer}, advance, self.steps, checkpoint=checkpoint, label=label)
        return {**kept, "losses": losses[:, 0]}

    def restore(self, tensors: Tensors, index: Index, shape: Sequence[int], device: str) -> "FlowFit":
        """The networks at all marks, on ``device``."""
        models = {}
        for mark in self.marks():
            with torch.device("meta"):  # the architecture alone
                model = self.build(math.prod(shape))
            own = {name: tensors[f"{mark}.{name}"] for name, _ in model.named_parameters()}
            model.load_state_dict(own, assign=True)
            models[mark] = model.to(device).eval().requires_grad_(False)
        return FlowFit(self, index, tensors["losses"], models)


@dataclass(frozen=True, eq=False)
class FlowFit(Fit):
    """Fitted flows of one training. Its losses are those of :func:`matching_loss`, mean of every 25 steps."""

    models: "dict[int, VelocityNetwork]"
    """velocity networks by the number of steps after which their weights were kept, ascending"""

    @property
    def model(self) -> "VelocityNetwork":
        """The velocity network at the end."""
        return list(self.models.values())[-1]


def matching_loss(
    model: "VelocityNetwork", x: Float[Tensor, "examples pixels"], batch: int, rng: torch.Generator
) -> Float[Tensor, ""]:
    r"""The loss of flow matching on a random batch, with a weight over time.

    A line to ``x`` with noise of standard deviation ``s`` passes :math:`y \sim N(t x, v)`, :math:`v = t^2 s^2 +
    (1-t)^2`, with the velocity :math:`\frac{1-t}{v} x + \frac{t s^2 - (1-t)}{v} y` on average. The network has the same
    form with :math:`D_t(y)` in place of ``x``, so that the squared error of the velocity is :math:`\frac{(1-t)^2}{v^2}
    \|D_t(y) - x\|^2`. The loss is its mean over pixels times :math:`v / (1 - t)`, lest the last moments, in which there
    is nothing to learn, decide it. A weight over time leaves the minimum over all functions where it is: at
    :func:`lib.measures.flows.blurred_velocity` of ``x``. Times are drawn uniformly, as in Lipman et al. 2023.
    """
    rows = torch.randint(len(x), (batch,), generator=rng, device=x.device)
    noise = torch.randn(batch, x.shape[1], generator=rng, device=x.device, dtype=x.dtype)
    t = torch.rand(batch, 1, generator=rng, device=x.device, dtype=x.dtype)
    v = variance(t, model.noise)
    errors = (model.denoise(t * x[rows] + v.sqrt() * noise, t) - x[rows]).square()
    return ((1 - t) / v * errors).mean()


def variance(t: Float[Tensor, "batch 1"], noise: float) -> Float[Tensor, "batch 1"]:
    """The variance of points at a time about ``t`` times their image."""
    return (t * noise).square() + (1 - t).square()


class VelocityNetwork(nn.Module):
    r"""The velocity :math:`\frac{1-t}{v} D_t(y) + \frac{t s^2 - (1-t)}{v} y`, in which a residual perceptron is ``D``.

    ``D`` is what :func:`lib.measures.flows.blurred_velocity` has as the mean of the training images, weighted by how
    probably a point comes from each: a denoiser.

    Args:
        pixels: of an image, all channels together.
        width: units of every hidden layer.
        blocks: residual blocks.
        noise: ``s``, standard deviation of the noise on images.
    """

    def __init__(self, pixels: int, width: int, blocks: int, noise: float) -> None:
        super().__init__()
        self.noise = noise
        self.entry, self.time = nn.Linear(pixels, width), nn.Linear(2 * FREQUENCIES, width)
        self.blocks = nn.ModuleList([_block(width) for _ in range(blocks)])
        self.exit = nn.Linear(width, pixels)

    @staticmethod
    def observe(images: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch pixels"]:
        """Images in [0, 1] as points in [-1, 1], without noise."""
        return 2 * images.flatten(1) - 1

    def denoise(self, y: Float[Tensor, "batch pixels"], t: Float[Tensor, "times 1"]) -> Float[Tensor, "batch pixels"]:
        """The image that is expected behind points, at one time for all or one for each."""
        phase = t * torch.arange(1, FREQUENCIES + 1, dtype=y.dtype, device=y.device) * (torch.pi / 2)
        hidden = self.entry(y) + self.time(torch.cat([phase.sin(), phase.cos()], 1))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.exit(silu(hidden))

    def forward(self, y: Float[Tensor, "batch pixels"], t: float) -> Float[Tensor, "batch pixels"]:
        """The velocity at points at a time: a :data:`lib.measures.flows.Velocity`."""
        time = torch.full((1, 1), t, dtype=y.dtype, device=y.device)
        v = variance(time, self.noise)
        return ((1 - time) * self.denoise(y, time) + (time * self.noise**2 - (1 - time)) * y) / v


def _block(width: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
