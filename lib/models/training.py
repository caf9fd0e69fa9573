"""Fit models. Same specification, data, machine and threads: same weights, bit for bit, also after an interruption.

The number of threads decides the order of sums. Runs of notebooks fix it for the machine (:mod:`lib.study.runs`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lib.models import loop, store
from lib.models.data import Dataset, sample, seed_from
from lib.models.networks import ConvVAE, seeded


@dataclass(frozen=True)
class VAE:
    """Everything that decides a fit of :class:`lib.models.networks.ConvVAE`, apart from the data."""

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


class Fitted(NamedTuple):
    """A fitted model and what it was fitted on."""

    model: ConvVAE
    index: Int64[Tensor, " examples"]
    """which training images"""
    losses: Float[Tensor, " records"]
    """negative evidence lower bound over training, nats per image, mean of every 25 steps"""


def fit_vaes(specs: Sequence[VAE], dataset: Dataset, device: str, *, folder: Path = store.FITS) -> list[Fitted]:
    """Fit the models, or load the fits. They come in evaluation mode, on ``device``.

    Raises:
        ValueError: more examples than the data set has.
        FloatingPointError: a loss that is not finite.
    """
    train = dataset.train
    indices = [sample(dataset, spec.examples, spec.seed) for spec in specs]

    def build(full: Mapping, checkpoint: Path) -> store.Tensors:
        spec = VAE(**full["model"])
        x = train[sample(dataset, spec.examples, spec.seed)].mul_(2).sub_(1).to(device)  # indexing has made a copy
        model, losses = _train(_network(spec, train).to(device), x, spec, checkpoint)
        return {**model.state_dict(), "losses": losses}

    full_specs = [_full(spec, dataset, device) for spec in specs]
    fits = []
    for spec, index, tensors in zip(specs, indices, store.fetch(full_specs, build, folder=folder), strict=True):
        losses = tensors.pop("losses")
        model = _network(spec, train)
        model.load_state_dict(tensors)
        fits.append(Fitted(model.to(device).eval().requires_grad_(False), index, losses))
    return fits


def fit_pair(dataset: Dataset, device: str, *, examples: int, **settings: int) -> dict[str, Fitted]:
    """Feiszli's pair: one architecture, fitted on a few images and on all. ``settings`` are those of :class:`VAE`."""
    specs = [VAE(examples=count, **settings) for count in (examples, 0)]
    return dict(zip(("memorised", "well trained"), fit_vaes(specs, dataset, device), strict=True))


@torch.no_grad()
def codes(fit: Fitted, images: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch latent"]:
    """Posterior means of images in [0, 1], on the model's device."""
    return fit.model.encode((2 * images - 1).to(next(fit.model.parameters()).device)).mean


def _full(spec: VAE, dataset: Dataset, device: str) -> dict:
    # The kind of device is part of the identity: its arithmetic differs in the last bits.
    return {"model": asdict(spec), "data": dataset.digest, "device": torch.device(device).type}


def _network(spec: VAE, images: Tensor) -> ConvVAE:
    shape = images.shape[1:]
    return seeded(lambda: ConvVAE(shape, spec.latent, spec.width, spec.hidden, spec.variance), spec.seed)


def _train(model: ConvVAE, x: Tensor, spec: VAE, checkpoint: Path) -> tuple[ConvVAE, Tensor]:
    optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def advance(step: int) -> Tensor:
        # Noise and batch belong to (seed, step), so that a resumed run goes on as if it had never stopped.
        generator = torch.Generator(x.device).manual_seed(seed_from(spec.seed, step))
        batch = x[torch.randint(len(x), (spec.batch,), generator=generator, device=x.device)]
        optimizer.param_groups[0]["lr"] = loop.rate(spec.rate, step, spec.steps)
        noise = torch.randn(spec.batch, spec.latent, generator=generator, device=x.device)
        loss = model(batch, noise).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    label = f"{spec.examples or len(x)} images"
    losses = loop.run(model.state_dict(), {"adam": optimizer}, advance, spec.steps, checkpoint=checkpoint, label=label)
    return model, losses[:, 0]
