"""The convolutional variational autoencoder of Feiszli 2017.

Same specification, data, machine and threads: same weights, bit for bit, also after an interruption. The number of
threads decides the order of sums; runs of notebooks fix it for the machine (:mod:`lib.study.runs`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from lib.models import loop
from lib.models.draws import rng_from, seeded
from lib.models.family import Fit, Index, Seen, Spec, Tensors
from lib.models.networks import VAE, normal, posterior
from lib.models.streams import ConvolutionalStream


@dataclass(frozen=True)
class Convolutional(Spec):
    """Everything that decides a fit of :class:`ConvVAE`, apart from the data."""

    stream = ConvolutionalStream

    examples: int
    """training images, drawn without replacement; zero means all"""
    steps: int = 3000
    batch: int = 32
    seed: int = 0
    latent: int = 100  # Feiszli 2017, section 5.3; the paper is silent on everything below
    width: int = 16
    hidden: int = 256
    variance: float = 0.1
    rate: float = 3e-3
    """peak learning rate of Adam: a tenth of the steps up, then half a cosine down to zero"""

    def train(self, seen: Seen, device: str, checkpoint: Path, followed: Tensors | None) -> Tensors:
        """The weights, and the losses of :class:`ConvVAEFit`."""
        x, model = ConvVAE.observe(seen.train).to(device), self.build(seen.train.shape[1:]).to(device)
        optimizer = torch.optim.Adam(model.parameters(), fused=True)

        def advance(step: int) -> Tensor:
            # Noise and batch belong to (seed, step), so that a resumed run goes on as if it had never stopped.
            rng = rng_from(x.device, self.seed, step)
            batch = x[torch.randint(len(x), (self.batch,), generator=rng, device=x.device)]
            optimizer.param_groups[0]["lr"] = loop.rate(self.rate, step, self.steps)
            noise = torch.randn(self.batch, self.latent, generator=rng, device=x.device)
            loss = model(batch, noise).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        state, label = model.state_dict(), f"{self.examples or len(x)} images"
        losses = loop.run(state, {"adam": optimizer}, advance, self.steps, checkpoint=checkpoint, label=label)
        return {**state, "losses": losses[:, 0]}

    def restore(self, tensors: Tensors, index: Index, shape: Sequence[int], device: str) -> "ConvVAEFit":
        """The model, on ``device``."""
        model = self.build(shape)
        model.load_state_dict({name: value for name, value in tensors.items() if name != "losses"})
        return ConvVAEFit(self, index, tensors["losses"], model.to(device).eval().requires_grad_(False))

    def build(self, shape: Sequence[int]) -> "ConvVAE":
        """The untrained network."""
        return seeded(lambda: ConvVAE(shape, self.latent, self.width, self.hidden, self.variance), self.seed)


@dataclass(frozen=True, eq=False)
class ConvVAEFit(Fit):
    """A fitted model. Its losses are the negative evidence lower bound, nats per image, mean of every 25 steps."""

    model: "ConvVAE"


def pair(examples: int, **settings: int) -> dict[str, Convolutional]:
    """Feiszli's pair: one architecture, to be fitted on a few images and on all. ``settings`` are those of the spec."""
    return {
        "memorised": Convolutional(examples, **settings),
        "well trained": Convolutional(0, **settings),
    }


class ConvVAE(VAE):
    r"""The variational autoencoder of Feiszli 2017, section 5.3.

    "Several convolutional layers with ReLU and max-pooling, followed by fully-connected layers to compute means and
    log-variances", then "fully-connected layers and transposed convolutions with strides (each with ReLU)" and a final
    tanh: images in [-1, 1], :math:`p(x | z) = N(f(z), v I)`, prior :math:`z \sim N(0, I)`.

    The paper leaves the sizes and the variance open. Ours: two convolutions of ``width`` and ``2 width`` channels, a
    hidden layer of ``hidden`` units on either side, and the same two sizes backwards.

    Args:
        shape: channels, height and width of an image; height and width are multiples of four.
        latent: latents. The paper has 100.
        width: channels at full resolution.
        hidden: units of the fully-connected layers.
        variance: ``v``, of each pixel, in squared output units.

    Raises:
        ValueError: height or width cannot be halved twice.
    """

    def __init__(self, shape: Sequence[int], latent: int, width: int, hidden: int, variance: float) -> None:
        super().__init__()
        channels, height, breadth = shape
        if height % 4 or breadth % 4:
            raise ValueError(
                f"height and width must be multiples of 4, got {height} x {breadth}; pad or crop the images"
            )
        self.scale = variance**0.5
        coarse = (2 * width, height // 4, breadth // 4)
        features = coarse[0] * coarse[1] * coarse[2]
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(features, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 2 * latent),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, hidden),
            nn.ReLU(),
            nn.Linear(hidden, features),
            nn.ReLU(),
            nn.Unflatten(1, coarse),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1),
            nn.Tanh(),
        )

    @staticmethod
    def observe(images: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
        """Images in [-1, 1]."""
        return 2 * images - 1

    def encode(self, x: Float[Tensor, "batch *shape"]) -> Distribution:
        """The posterior q(z | x) of images in [-1, 1]."""
        return posterior(self.encoder(x))

    def decode(self, z: Float[Tensor, "batch latent"]) -> Distribution:
        """The likelihood p(x | z)."""
        return normal(self.generate(z), self.scale, axes=3)

    def generate(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch *shape"]:
        """The mean of p(x | z): the generator whose image carries the density."""
        return self.decoder(z)
