"""A convolutional classifier, whose last hidden layer gives features of images: what VGG's are elsewhere.

Labels come to a family in the images: :func:`lib.models.data_divisions.labelled` adds them as a channel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, unique
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from lib.measures.axes import Images
from lib.models import loop
from lib.models.data_divisions import split
from lib.models.draws import rng_from, seed_from, seeded
from lib.models.family import Fit, Index, Seen, Spec, Tensors
from lib.models.pyramid import SLOPE, encoder


@unique
class ClassifierStream(IntEnum):
    """Of (stream, seed, ...). It stands here, so that results which other families have a part in stay as they are."""

    WEIGHTS = 7
    STEPS = 8


@dataclass(frozen=True)
class Classifier(Spec):
    """Everything that decides a fit, apart from the data, whose images have their class as the last channel."""

    stream = ClassifierStream

    classes: int
    """classes there are: labels are below it"""
    examples: int = 0
    """training images, drawn without replacement; zero means all"""
    steps: int = 400
    batch: int = 64
    seed: int = 0
    width: int = 8
    """channels of the finest map"""
    features: int = 64
    """units of the last hidden layer"""
    shift: int = 2
    """every step moves its images by up to so many pixels; what leaves at one side comes in at the other"""
    mirrored: bool = False
    """whether every image is seen as often in a mirror, as faces may be and digits may not"""
    rate: float = 2e-3
    """peak learning rate of Adam"""

    def build(self, shape: Sequence[int]) -> nn.Sequential:
        """The untrained network for images of that shape, without the channel of labels."""

        def network() -> nn.Sequential:
            body = encoder(shape, self.features, self.width, stride=2, normalised=True)
            return nn.Sequential(body, nn.LeakyReLU(SLOPE), nn.Linear(self.features, self.classes))

        return seeded(network, seed_from(self.stream.WEIGHTS, self.seed))

    def train(self, seen: Seen, device: str, checkpoint: Path, followed: Tensors | None) -> Tensors:
        """The weights, and the losses of :class:`ClassifierFit`."""
        x, labels = split(seen.train.to(device))
        if int(labels.max()) >= self.classes:
            raise ValueError(f"labels must be below {self.classes}, got {int(labels.max())}")
        network = self.build(x.shape[1:]).to(device).train()
        optimizer = torch.optim.Adam(network.parameters(), fused=True)

        def advance(step: int) -> Tensor:
            rng = rng_from(x.device, self.stream.STEPS, self.seed, step)
            rows = torch.randint(len(x), (self.batch,), generator=rng, device=x.device)
            moves = torch.randint(-self.shift, self.shift + 1, (2,), generator=rng, device=x.device).tolist()
            images = x[rows].roll(moves, (2, 3))
            if self.mirrored:
                turned = torch.rand(self.batch, 1, 1, 1, generator=rng, device=x.device) < 0.5
                images = images.flip(3).where(turned, images)
            optimizer.param_groups[0]["lr"] = loop.rate(self.rate, step, self.steps)
            loss = nn.functional.cross_entropy(network(images), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        label = f"classifier, {len(x)} images, seed {self.seed}"
        adam = {"adam": optimizer}
        losses = loop.run(network.state_dict(), adam, advance, self.steps, checkpoint=checkpoint, label=label)
        return {**network.state_dict(), "losses": losses}

    def restore(self, tensors: Tensors, index: Index, shape: Sequence[int], device: str) -> "ClassifierFit":
        """The network, on ``device``."""
        network = self.build([shape[0] - 1, *shape[1:]])
        network.load_state_dict({name: value for name, value in tensors.items() if name != "losses"})
        return ClassifierFit(self, index, tensors["losses"], network.to(device).eval().requires_grad_(False))


@dataclass(frozen=True, eq=False)
class ClassifierFit(Fit):
    """A fitted classifier. Its losses are cross entropies, nats per image, mean of every 25 steps."""

    network: nn.Sequential

    def features(self, images: Images) -> Float[Tensor, "batch features"]:
        """The units of the last hidden layer; torch can differentiate them by the images."""
        return self.network[:2](images)

    def classify(self, images: Images) -> Int64[Tensor, " batch"]:
        """The class of each image."""
        return torch.cat([self.network(part).argmax(1) for part in images.split(512)])
