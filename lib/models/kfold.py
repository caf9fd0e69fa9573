"""Repeated K-fold cross-validation, after van den Burg & Williams 2021: a repeat is one fit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from sklearn import model_selection
from torch import Tensor, nn

from lib.measures.likelihood import log_evidence
from lib.models import loop
from lib.models.autoencoders import NETWORKS
from lib.models.draws import rng_from, sample, seed_from, seeded
from lib.models.ensemble import Ensemble, advance, assemble, evaluate
from lib.models.family import Fit, Index, Seen, Spec, Tensors
from lib.models.networks import VAE
from lib.models.streams import KFoldStream


@dataclass(frozen=True)
class KFold(Spec):
    """Everything that decides the fit of a repeat, apart from the data."""

    stream = KFoldStream

    network: str
    """``bernoulli`` for binarised images, ``diagonal`` or ``shared`` (variance) for dequantised ones"""
    images: int
    """training images, the first of a permutation that depends on the seed; zero means all"""
    folds: int = 10  # van den Burg & Williams 2021, section 4
    epochs: int = 100
    batch: int = 64
    rate: float = 1e-3
    """learning rate of Adam"""
    latent: int = 16
    width: int = 256
    seed: int = 0
    flip: bool = False
    """mirror half of the images of a batch"""
    pad: int = 0
    """black pixels added on every side; two make MNIST 32 x 32"""
    samples: int = 256
    """importance samples of log p(x)"""
    score_every: int = 5
    """epochs from one evaluation of log p(x) to the next; the last epoch is always one"""
    early: int = 0
    """images, the first, that are evaluated before the last epoch; zero means all"""
    test_images: int = 1000
    """images of the test set for the loss by epoch; zero means all"""
    repeat: int = 0
    """the number of this repeat; each has its own folds and its own initial weights"""

    def repeats(self, count: int) -> list["KFold"]:
        """The specifications of the first repeats."""
        return [replace(self, repeat=repeat) for repeat in range(count)]

    @property
    def scored(self) -> list[int]:
        """The epochs after which log p(x) is evaluated, counted from one."""
        return sorted({*range(self.score_every, self.epochs + 1, self.score_every), self.epochs})

    def index(self, available: int, name: str) -> Index:
        """Which training images are drawn; all repeats have the same."""
        return sample(available, self.images, self.seed, name=name, what="images")

    def check(self, examples: int) -> None:
        """Refuse unknown networks, and folds outside 2..examples."""
        if self.network not in NETWORKS:
            raise ValueError(f"unknown network {self.network!r}; accepted: {', '.join(NETWORKS)}")
        if not 2 <= self.folds <= examples:
            raise ValueError(f"folds must be in 2..{examples}, the number of images, got {self.folds}")

    def padded(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels tall wide"]:
        """Images with the black pixels around them."""
        return nn.functional.pad(images, (self.pad,) * 4)

    def observed(self, images: Float[Tensor, "batch *shape"], draw: int = 0) -> Float[Tensor, "batch *shape"]:
        """Images as the models see them, binarised or dequantised: the same at every call with the same ``draw``.

        The scored ones are draw 0, the same pixels for all models of all repeats: scores compare models, not
        binarisations.
        """
        rng = rng_from(images.device, self.seed, self.stream.PIXELS, draw)
        return NETWORKS[self.network].observe(images, rng)

    def build(self, shape: Sequence[int], fold: int) -> VAE:
        """An untrained model; its weights belong to (seed, repeat, fold)."""
        options = {} if self.network == "bernoulli" else {"shared": self.network == "shared"}
        seed = seed_from(self.seed, self.stream.WEIGHTS, self.repeat, fold)
        return seeded(lambda: NETWORKS[self.network](shape, self.latent, self.width, **options), seed)

    def train(self, seen: Seen, device: str, checkpoint: Path, followed: Tensors | None) -> Tensors:
        """The weights of the last epoch, and what :class:`Repeat` has."""
        images, test = (self.padded(part).to(device) for part in (seen.train, seen.test[: self.test_images or None]))
        held_out = folds(len(images), self.folds, seed=self.seed, repeat=self.repeat).to(device)
        ensemble = assemble([self.build(images.shape[1:], fold).to(device) for fold in range(self.folds)])
        optimizer = torch.optim.Adam(ensemble.weights.values(), lr=self.rate, fused=True)
        rngs = [rng_from(device, self.seed, self.stream.BATCHES, self.repeat, fold) for fold in range(self.folds)]
        x, test_x = self.observed(images), self.observed(test, 1)
        noise_rng = rng_from(device, self.seed, self.stream.LOSS)
        test_noise = torch.randn(len(test), self.latent, generator=noise_rng, device=device)
        scores = x.new_full((2, len(self.scored), self.folds, len(x)), torch.nan)  # log p(x), effective sample sizes

        def part(done: int) -> Float[Tensor, "2 folds"]:
            if done >= self.epochs:  # the last evaluation, a fold at a time: with many images it takes long
                scores[:, -1, done - self.epochs] = _score(self, ensemble, done - self.epochs, x, self.epochs)
                return x.new_zeros(2, self.folds)
            batches = zip(*(_batches(held_out, fold, self.batch, rng) for fold, rng in enumerate(rngs)), strict=True)
            steps = [advance(ensemble, optimizer, *_drawn(self, images, rows, rngs)) for rows in batches]
            losses = torch.stack([torch.stack(steps).mean(0), evaluate(ensemble, test_x, test_noise)])
            if not losses.isfinite().all():
                where = f"repeat {self.repeat} is not finite in epoch {done + 1}"
                raise FloatingPointError(f"a loss of {where}; try a lower rate")
            for fold in range(self.folds) if done + 1 in self.scored[:-1] else ():
                some = x[: self.early or None]
                scores[:, self.scored.index(done + 1), fold, : len(some)] = _score(self, ensemble, fold, some, done + 1)
            return losses

        state, label = {**ensemble.state, "scores": scores}, f"repeat {self.repeat}"
        kept = {"checkpoint": checkpoint, "rngs": rngs, "log_every": 1}
        parts = self.epochs + self.folds
        losses = loop.run(state, {"adam": optimizer}, part, parts, label=label, unit="part", **kept)[: self.epochs]
        weights = {f"weights.{name}": value for name, value in ensemble.state.items()}
        losses = losses.view(self.epochs, 2, self.folds)
        return {"log_p": scores[0], "ess": scores[1], "losses": losses, "held_out": held_out, **weights}

    def restore(self, tensors: Tensors, index: Index, shape: Sequence[int], device: str) -> "Repeat":
        """The repeat, in main memory: models of many repeats may not fit on an accelerator, so they move one by one."""
        parts = {name: tensors[name] for name in ("losses", "log_p", "ess", "held_out")}
        prefix = "weights."
        weights = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        channels, height, width = shape
        padded = (channels, height + 2 * self.pad, width + 2 * self.pad)
        return Repeat(self, index, **parts, weights=weights, shape=padded, device=device)


@dataclass(frozen=True, eq=False)
class Repeat(Fit):
    """The models of one repeat.

    Its losses are the negative evidence lower bound, nats per image, ``[epochs, 2, folds]``: of the training batches,
    each before its step, averaged over the epoch; of the test images after it.
    """

    log_p: Float[Tensor, "scored folds n"]
    """log p(x) in nats of every image under every model, the same pixels for all models; NaN where not evaluated"""
    ess: Float[Tensor, "scored folds n"]
    """the effective sample size of each"""
    held_out: Int64[Tensor, " n"]
    """which model was not trained with the image"""
    weights: Tensors
    """of the last epoch; the models stacked"""
    shape: Sequence[int]
    """of a padded image"""
    device: str
    """where models go when they are asked for"""

    def model(self, fold: int) -> VAE:
        """One of the models, in evaluation mode, without gradients, on the device."""
        model = self.spec.build(self.shape, fold)
        model.load_state_dict({name: value[fold] for name, value in self.weights.items()})
        return model.to(self.device).eval().requires_grad_(False)


class Repeats(NamedTuple):
    """All repeats of a specification."""

    fits: list[Repeat]
    log_p: Float[Tensor, "scored repeats folds n"]
    """log p(x) in nats of every image under every model, the same pixels for all models; NaN where not evaluated"""
    ess: Float[Tensor, "scored repeats folds n"]
    """the effective sample size of each"""
    scored: list[int]
    """after which epochs"""
    held_out: Int64[Tensor, "repeats n"]
    """which model of a repeat was not trained with the image"""
    losses: Float[Tensor, "repeats epochs 2"]
    """mean over folds of the losses of :class:`Repeat`"""
    index: Int64[Tensor, " n"]
    """which training images"""

    @property
    def spec(self) -> KFold:
        """The specification of the first repeat."""
        return self.fits[0].spec

    def model(self, repeat: int, fold: int) -> VAE:
        """One of the models, in evaluation mode, without gradients, on the device."""
        return self.fits[repeat].model(fold)


def gather(fits: Sequence[Repeat]) -> list[Repeats]:
    """The repeats of each specification put together, in the order in which the specifications come first."""
    groups: dict[KFold, list[Repeat]] = {}
    for fit in fits:
        groups.setdefault(replace(fit.spec, repeat=0), []).append(fit)
    return [_gathered(group) for group in groups.values()]


def _gathered(fits: list[Repeat]) -> Repeats:
    log_p, ess = (torch.stack([getattr(fit, name) for fit in fits], 1) for name in ("log_p", "ess"))
    held_out, losses = (torch.stack([getattr(fit, name) for fit in fits]) for name in ("held_out", "losses"))
    return Repeats(fits, log_p, ess, fits[0].spec.scored, held_out, losses.mean(-1), fits[0].index)


def folds(n: int, k: int, *, seed: int, repeat: int) -> Int64[Tensor, " n"]:
    """Which of ``k`` folds each of ``n`` images is in: for each repeat another random division into equal parts."""
    fold = torch.empty(n, dtype=torch.long)
    division = model_selection.KFold(k, shuffle=True, random_state=seed_from(seed, repeat) % 2**32)
    for index, (_, held_out) in enumerate(division.split(np.empty(n))):
        fold[torch.from_numpy(held_out)] = index
    return fold


def _batches(held_out: Tensor, fold: int, batch: int, rng: torch.Generator) -> Int64[Tensor, "steps batch"]:
    """An epoch of a fold: its training images in a new order, as many whole batches as every fold has."""
    least = len(held_out) - int(held_out.bincount().max())
    batch = min(batch, least)
    trained = (held_out != fold).nonzero()[:, 0]
    order = trained[torch.randperm(len(trained), generator=rng, device=rng.device)]
    return order[: least // batch * batch].view(-1, batch)


def _drawn(
    spec: KFold, images: Tensor, step: Sequence[Tensor], rngs: Sequence[torch.Generator]
) -> tuple[Tensor, Tensor]:
    """A batch of observed images and of noise for every fold, from the random numbers of the fold."""
    x, noise = [], []
    for index, rng in zip(step, rngs, strict=True):
        chosen = images[index]
        if spec.flip:
            mirrored = torch.rand(len(index), 1, 1, 1, generator=rng, device=images.device) < 0.5
            chosen = torch.where(mirrored, chosen.flip(-1), chosen)
        x.append(NETWORKS[spec.network].observe(chosen, rng))
        noise.append(torch.randn(len(index), spec.latent, generator=rng, device=images.device))
    return torch.stack(x), torch.stack(noise)


def _score(spec: KFold, ensemble: Ensemble, fold: int, x: Tensor, epoch: int) -> Float[Tensor, "2 n"]:
    """Log p(x) and effective sample sizes under one of the models as it is after an epoch."""
    model = spec.build(x.shape[1:], fold).to(x.device)
    model.load_state_dict({name: value[fold].detach() for name, value in ensemble.state.items()})
    model.eval().requires_grad_(False)
    rng = rng_from(x.device, spec.seed, spec.stream.EVIDENCE, spec.repeat, epoch, fold)
    return torch.stack(log_evidence(model.encode, model.decode, x, spec.samples, generator=rng))
