"""Fit the models of repeated K-fold cross-validation: the models of a repeat as one ensemble, each repeat cached."""

import copy
import functools
import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.func import functional_call, stack_module_state
from tqdm import tqdm

from lib.models import data, store
from lib.models.networks import VAE, BernoulliVAE, GaussianVAE, seeded

NETWORKS = {
    "bernoulli": BernoulliVAE,
    "diagonal": functools.partial(GaussianVAE, shared=False),
    "shared": functools.partial(GaussianVAE, shared=True),
}
OBSERVE = {"bernoulli": BernoulliVAE.observe, "diagonal": GaussianVAE.observe, "shared": GaussianVAE.observe}
WEIGHTS, BATCHES, PIXELS, LOSS, EVIDENCE = range(1, 6)  # what a seed is for: no two streams of numbers are the same
SIDE_BY_SIDE = 1024
"""images of the test set in one pass"""


@dataclass(frozen=True)
class KFold:
    """Everything that decides the fits of all repeats, apart from the data."""

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
    test_images: int = 1000
    """images of the test set for the loss by epoch; zero means all"""


class Repeats(NamedTuple):
    """The fits of all repeats."""

    spec: KFold
    log_p: Float[Tensor, "scored repeats folds n"]
    """log p(x) in nats of every image under every model, the same pixels for all models"""
    ess: Float[Tensor, "scored repeats folds n"]
    """effective sample size of each"""
    scored: list[int]
    """after which epochs"""
    held_out: Int64[Tensor, "repeats n"]
    """which model of a repeat was not trained with the image"""
    losses: Float[Tensor, "repeats epochs 2"]
    """negative evidence lower bound, mean over folds, nats per image: of the training batches, each before its step,
    averaged over the epoch; of the test images after it"""
    weights: list[store.Tensors]
    """of the last epoch; the models of a repeat stacked"""
    index: Int64[Tensor, " n"]
    """which training images"""


def fit_repeats(
    specs: Sequence[KFold],
    repeats: int,
    dataset: data.Dataset,
    device: str,
    evidence: Callable,
    *,
    root: Path = data.ROOT / "data",
    executor: Executor | None = None,
    folder: Path = store.FITS,
) -> list[Repeats]:
    """Fit all repeats of all specifications, or load those that are there.

    A repeat is a pure function of its specification, so it may be computed on any machine that has the data and this
    code; on the same kind of machine, with the same number of threads, it is the same to the last bit.

    Args:
        specs: of the fits; they may differ in anything.
        repeats: how many, each with its own folds and its own initial weights.
        dataset: as :func:`lib.models.data.load` gave it. It is loaded again, by name, where the work is done.
        device: to train on.
        evidence: ``evidence(encode, decode, x, samples, generator=...)`` gives log p(x) and its effective sample size.
        root: the data folder.
        executor: where to run repeats side by side; by default one after the other.
        folder: of the cache.

    Raises:
        ValueError: more images than there are, or folds outside 2..images.
        FloatingPointError: a loss or a log p(x) that is not finite.
    """
    code = hashlib.sha256(Path(inspect.getfile(evidence)).read_bytes()).hexdigest()
    full = []
    for spec in specs:
        data.folds(len(data.sample(dataset, spec.images, spec.seed, "images")), spec.folds, seed=spec.seed, repeat=0)
        shared = {"kfold": asdict(spec), "data": dataset.digest, "evidence": code, "device": torch.device(device).type}
        full += [{**shared, "repeat": repeat} for repeat in range(repeats)]
    source = (dataset.name, root, dataset.most)
    build = functools.partial(fit_repeat, source=source, device=device, evidence=evidence)
    found = iter(store.fetch(full, build, folder=folder, executor=executor))
    return [_together(spec, dataset, [next(found) for _ in range(repeats)]) for spec in specs]


def fit_repeat(
    full: Mapping, _checkpoint: Path, *, source: tuple[str, Path, int | None], device: str, evidence: Callable
) -> store.Tensors:
    """Fit the models of one repeat; everything but the specification says where to find what it names."""
    spec, repeat = KFold(**full["kfold"]), full["repeat"]
    chosen = _chosen(source, full["data"], spec.images, spec.seed, spec.pad, spec.test_images)
    images, test = (part.to(device) for part in chosen)
    held_out = data.folds(len(images), spec.folds, seed=spec.seed, repeat=repeat).to(device)
    generators = [_generator(device, spec.seed, BATCHES, repeat, fold) for fold in range(spec.folds)]
    ensemble = assemble([network(spec, images.shape[1:], repeat, fold).to(device) for fold in range(spec.folds)])
    optimizer = torch.optim.Adam(ensemble.weights.values(), lr=spec.rate, fused=True)
    x, test_x = observed(spec, images), observed(spec, test, 1)
    test_noise = torch.randn(len(test), spec.latent, generator=_generator(device, spec.seed, LOSS), device=device)
    curve, scored = [], []
    for epoch in tqdm(range(1, spec.epochs + 1), desc=f"repeat {repeat}", unit="epoch"):
        batches = [_batches(held_out, fold, spec.batch, generator) for fold, generator in enumerate(generators)]
        each = [
            advance(ensemble, optimizer, *_drawn(spec, images, step, generators)) for step in zip(*batches, strict=True)
        ]
        curve.append(torch.stack([torch.stack(each).mean(0), test_loss(ensemble, test_x, test_noise)]))
        if not curve[-1].isfinite().all():
            raise FloatingPointError(f"a loss of repeat {repeat} is not finite in epoch {epoch}; try a lower rate")
        if epoch in _scored(spec):
            scored.append(_evidence(spec, ensemble, x, (repeat, epoch), evidence))
    log_p, ess = map(torch.stack, zip(*scored, strict=True))
    final = {f"weights.{name}": value for name, value in {**ensemble.weights, **ensemble.buffers}.items()}
    return {"log_p": log_p, "ess": ess, "losses": torch.stack(curve), "held_out": held_out, **final}


class Ensemble(NamedTuple):
    """Models of one architecture, their weights stacked along a first axis."""

    skeleton: VAE
    """the architecture, without data"""
    weights: store.Tensors
    buffers: store.Tensors


def assemble(models: Sequence[VAE]) -> Ensemble:
    """Stack models of one architecture; their own weights stay as they are."""
    weights, buffers = stack_module_state(list(models))
    return Ensemble(copy.deepcopy(models[0]).to("meta"), weights, buffers)


def advance(
    ensemble: Ensemble, optimizer: torch.optim.Optimizer, x: Float[Tensor, "models batch *shape"], noise: Tensor
) -> Float[Tensor, " models"]:
    """One step of every model on its own batch; the loss of each, before it."""
    ensemble.skeleton.train()
    each = _losses(ensemble, x, noise, 0).mean(1)
    optimizer.zero_grad()
    each.sum().backward()  # the models share no weight, so each gets its own gradient
    optimizer.step()
    return each.detach()


@torch.no_grad()
def test_loss(ensemble: Ensemble, x: Float[Tensor, "batch *shape"], noise: Tensor) -> Float[Tensor, " models"]:
    """The mean loss of every model on the same images, in evaluation mode."""
    ensemble.skeleton.eval()
    parts = zip(x.split(SIDE_BY_SIDE), noise.split(SIDE_BY_SIDE), strict=True)
    return torch.cat([_losses(ensemble, *part, None) for part in parts], 1).mean(1)


def member(spec: KFold, shape: Sequence[int], weights: store.Tensors, index: int) -> VAE:
    """One model out of an ensemble, in evaluation mode, without gradients."""
    model = network(spec, shape, 0, 0).to(next(iter(weights.values())).device)
    model.load_state_dict({name: value[index] for name, value in weights.items()})
    return model.eval().requires_grad_(False)


def network(spec: KFold, shape: Sequence[int], repeat: int, fold: int) -> VAE:
    """An untrained model; its weights belong to (seed, repeat, fold)."""
    if spec.network not in NETWORKS:
        raise ValueError(f"unknown network {spec.network!r}; accepted: {', '.join(NETWORKS)}")
    seed = data.seed_from(spec.seed, WEIGHTS, repeat, fold)
    return seeded(lambda: NETWORKS[spec.network](shape, spec.latent, spec.width), seed)


def observed(spec: KFold, images: Float[Tensor, "batch *shape"], draw: int = 0) -> Float[Tensor, "batch *shape"]:
    """Images as the models see them, binarised or dequantised: the same at every call with the same ``draw``.

    The scored ones are draw 0, the same pixels for all models of all repeats: scores compare models, not binarisations.
    """
    return OBSERVE[spec.network](images, _generator(images.device, spec.seed, PIXELS, draw))


def padded(images: Float[Tensor, "batch channels height width"], pad: int) -> Tensor:
    """Images with black pixels around them."""
    return torch.nn.functional.pad(images, (pad,) * 4)


def _losses(ensemble: Ensemble, x: Tensor, noise: Tensor, axis: int | None) -> Float[Tensor, "models batch"]:
    def one(weights: Mapping, buffers: Mapping, x: Tensor, noise: Tensor) -> Tensor:
        return functional_call(ensemble.skeleton, (weights, buffers), (x, noise))

    return torch.vmap(one, in_dims=(0, 0, axis, axis))(ensemble.weights, ensemble.buffers, x, noise)


def _drawn(
    spec: KFold, images: Tensor, step: Sequence[Tensor], generators: Sequence[torch.Generator]
) -> tuple[Tensor, Tensor]:
    """A batch of observed images and of noise for every fold, from the fold's own generator."""
    x, noise = [], []
    for index, generator in zip(step, generators, strict=True):
        chosen = images[index]
        if spec.flip:
            mirrored = torch.rand(len(index), 1, 1, 1, generator=generator, device=images.device) < 0.5
            chosen = torch.where(mirrored, chosen.flip(-1), chosen)
        x.append(OBSERVE[spec.network](chosen, generator))
        noise.append(torch.randn(len(index), spec.latent, generator=generator, device=images.device))
    return torch.stack(x), torch.stack(noise)


def _batches(held_out: Tensor, fold: int, batch: int, generator: torch.Generator) -> Int64[Tensor, "steps batch"]:
    """An epoch of a fold: its training images in a new order, as many whole batches as every fold has."""
    least = len(held_out) - int(held_out.bincount().max())
    batch = min(batch, least)
    own = (held_out != fold).nonzero()[:, 0]
    order = own[torch.randperm(len(own), generator=generator, device=generator.device)]
    return order[: least // batch * batch].view(-1, batch)


def _evidence(
    spec: KFold, ensemble: Ensemble, x: Tensor, identity: Sequence[int], evidence: Callable
) -> Float[Tensor, "2 folds n"]:
    weights = {name: value.detach() for name, value in {**ensemble.weights, **ensemble.buffers}.items()}
    found = []
    for fold in range(spec.folds):
        model = member(spec, x.shape[1:], weights, fold)
        generator = _generator(x.device, spec.seed, EVIDENCE, *identity, fold)
        found.append(torch.stack(evidence(model.encode, model.decode, x, spec.samples, generator=generator)))
    return torch.stack(found, 1)


def _scored(spec: KFold) -> list[int]:
    return sorted({*range(spec.score_every, spec.epochs + 1, spec.score_every), spec.epochs})


def _generator(device: torch.device | str, *identity: int) -> torch.Generator:
    return torch.Generator(device).manual_seed(data.seed_from(*identity))


@functools.lru_cache(maxsize=2)  # by what decides the images alone: specifications differ in more
def _chosen(
    source: tuple[str, Path, int | None], digest: str, images: int, seed: int, pad: int, test_images: int
) -> tuple[Tensor, Tensor]:
    name, root, most = source
    dataset = data.load(name, root=root, most=most)
    if dataset.digest != digest:
        raise data.DataError(f"{name} is not the same data here: expected SHA-256 {digest}, found {dataset.digest}")
    train = dataset.train[data.draw(len(dataset.train), images, seed)]
    return padded(train, pad), padded(dataset.test[: test_images or None], pad)


def _together(spec: KFold, dataset: data.Dataset, found: Sequence[store.Tensors]) -> Repeats:
    first = {name: torch.stack([repeat[name] for repeat in found]) for name in ("log_p", "ess", "held_out", "losses")}
    weights = [
        {name.removeprefix("weights."): value for name, value in repeat.items() if name.startswith("weights.")}
        for repeat in found
    ]
    return Repeats(
        spec,
        first["log_p"].transpose(0, 1),
        first["ess"].transpose(0, 1),
        _scored(spec),
        first["held_out"],
        first["losses"].mean(-1),
        weights,
        data.draw(len(dataset.train), spec.images, spec.seed),
    )
