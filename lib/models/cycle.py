"""Two generators between two domains of images that are not paired (CycleGAN, Zhu et al. 2017).

One maps the first domain to the second and the other maps back; a discriminator of each domain judges what comes out.
An image that goes there and back should be itself again, the loss of section 3.2, and one that is in the target domain
already should stay, the identity loss of section 5.2. As in the paper, the adversarial loss is a squared error, and
instances are normalised in the generators. Unlike there, images are small enough for a discriminator to see the whole
of them, its logit is that of an image and not of patches, and it judges new images alone, without a buffer of old ones.

An example of the data is one image of each domain, the first in the first half of the channels. Nothing pairs them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from lib.models import loop
from lib.models.adversarial import descend
from lib.models.draws import rng_from, seed_from, seeded
from lib.models.family import Fit, Index, Seen, Spec, Tensors
from lib.models.pyramid import Residual, encoder
from lib.models.streams import GenerativeStream


@dataclass(frozen=True)
class Cycle(Spec):
    """Everything that decides a fit, apart from the data."""

    stream = GenerativeStream

    examples: int
    """training images of each domain, drawn without replacement; zero means all"""
    steps: int = 3000
    batch: int = 16
    seed: int = 0
    width: int = 16
    """channels of the finest map; the coarser one has twice as many"""
    blocks: int = 3
    """residual blocks of a generator; the paper has 6 for small images"""
    rate: float = 1e-3
    """peak learning rate of Adam"""
    cycle: float = 10.0  # Zhu et al. 2017, section 4
    """weight of the mean absolute error of images that went there and back, beside the adversarial loss"""
    identity: float = 5.0  # half of it, section 5.2
    """the same for images that were in the target domain already"""

    def build(self, shape: Sequence[int]) -> nn.ModuleDict:
        """The untrained networks for pairs of that shape: those that make images, and those that judge them."""
        one = (shape[0] // 2, *shape[1:])

        def networks() -> nn.ModuleDict:
            makers = [_translator(one[0], self.width, self.blocks) for _ in range(2)]
            judges = [encoder(one, 1, self.width, stride=2) for _ in range(2)]
            return nn.ModuleDict({"makers": nn.ModuleList(makers), "judges": nn.ModuleList(judges)})

        return seeded(networks, seed_from(self.stream.WEIGHTS, self.seed))

    def train(self, seen: Seen, device: str, checkpoint: Path, followed: Tensors | None) -> Tensors:
        """The weights of the generators, and the losses of :class:`CycleFit`."""
        domains, model = seen.train.to(device).chunk(2, 1), self.build(seen.train.shape[1:]).to(device).train()
        makers, judges = model.values()
        forth, back = makers
        optimizers = {
            name: torch.optim.Adam(networks.parameters(), betas=(0.5, 0.999), fused=True)
            for name, networks in model.items()
        }

        def advance(step: int) -> Tensor:
            for optimizer in optimizers.values():
                optimizer.param_groups[0]["lr"] = loop.rate(self.rate, step, self.steps)
            rng = rng_from(device, self.stream.STEPS, self.seed, step)
            rows = torch.randint(len(seen.train), (2, self.batch), generator=rng, device=device)
            x, y = (domain[row] for domain, row in zip(domains, rows, strict=True))
            made = forth(x), back(y)
            fooled = _squared(judges[1](made[0]), 1.0) + _squared(judges[0](made[1]), 1.0)
            returned = l1_loss(back(made[0]), x) + l1_loss(forth(made[1]), y)
            stayed = l1_loss(back(x), x) + l1_loss(forth(y), y)
            descend(fooled + self.cycle * returned + self.identity * stayed, makers, optimizers["makers"])
            judged = [
                (_squared(judge(real), 1.0) + _squared(judge(fake.detach()), 0.0)) / 2
                for judge, real, fake in zip(judges, (x, y), made[::-1], strict=True)
            ]
            descend(sum(judged), judges, optimizers["judges"])
            return torch.stack([returned, fooled, sum(judged)]).detach()

        label = f"cyclegan, {len(seen.train)} images, seed {self.seed}"
        losses = loop.run(model.state_dict(), optimizers, advance, self.steps, checkpoint=checkpoint, label=label)
        return {**makers.state_dict(), "losses": losses}

    def restore(self, tensors: Tensors, index: Index, shape: Sequence[int], device: str) -> "CycleFit":
        """The generators, on ``device``."""
        makers = self.build(shape)["makers"]
        makers.load_state_dict({name: value for name, value in tensors.items() if name != "losses"})
        return CycleFit(self, index, tensors["losses"], makers.to(device).eval().requires_grad_(False))


@dataclass(frozen=True, eq=False)
class CycleFit(Fit):
    """Fitted generators between two domains.

    Its losses are those of images that went there and back, of the generators before the discriminators, and of the
    discriminators; each of both domains together, mean of every 25 steps.
    """

    makers: nn.ModuleList
    """to the second domain, and to the first"""


def _translator(channels: int, width: int, blocks: int) -> nn.Sequential:
    """Images to images: down to a quarter of either side, residual blocks, and up again, as in the paper's appendix.

    The maps are those of :mod:`lib.models.pyramid`: strides are pixels that become channels, and back.
    """

    def layer(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.InstanceNorm2d(outputs, affine=True), nn.ReLU()]

    down = [nn.PixelUnshuffle(2), *layer(4 * channels, width), nn.PixelUnshuffle(2), *layer(4 * width, 2 * width)]
    middle = [Residual(2 * width) for _ in range(blocks)]
    up = [*layer(2 * width, 4 * width), nn.PixelShuffle(2), nn.Conv2d(width, 4 * channels, 3, padding=1)]
    return nn.Sequential(*down, *middle, *up, nn.PixelShuffle(2), nn.Sigmoid())


def _squared(logits: Tensor, wanted: float) -> Tensor:
    return (logits - wanted).square().mean()
