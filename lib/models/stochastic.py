"""Stochastic generators on few latents: a mean, and a standard deviation that says where the mean is to be trusted.

The models of Arvanitidis, Hansen & Hauberg 2018. Their mean and encoder are fitted first, with one variance for all;
the variance follows, by a network of the latents or by the paper's precision network, whose variance grows away from
the codes. For comparison, mean and variance may also be fitted together, as in an ordinary autoencoder.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lib.models import loop, store
from lib.models.data import Dataset, sample, seed_from
from lib.models.deviations import Constant, Network, Precision, StochasticVAE
from lib.models.ensembles import advance, assemble
from lib.models.networks import seeded

VARIANCES = ("constant", "network", "rbf", "joint")
"""one for all; a network or an RBF precision network fitted after the mean; a network fitted with it"""
WEIGHTS, STEPS = 3, 4  # what a seed is for


@dataclass(frozen=True)
class Stochastic:
    """Everything that decides the fit of an ensemble, apart from the data. Its models differ by their chance alone."""

    variance: str
    """one of :data:`VARIANCES`"""
    models: int = 1
    examples: int = 0
    """training images, drawn without replacement; zero means all"""
    steps: int = 1500
    """a variance that follows a mean has half"""
    batch: int = 64
    seed: int = 0
    latent: int = 2  # Arvanitidis et al. 2018, appendix, as are the next three
    width: int = 32
    """units of the layer next to the latents, half of those of the other"""
    centres: int = 64
    bandwidth: float = 2.0
    """``a``: reach of a centre, in mean distances of its codes"""
    least_precision: float = 0.01
    """zeta: the inverse of the variance far from all centres, per squared output unit"""
    floor: float = 0.05
    """standard deviation below which no pixel falls, output units"""
    rate: float = 3e-3
    """peak learning rate of Adam"""


class Fitted(NamedTuple):
    """Fitted models and what they were fitted on."""

    models: list[StochasticVAE]
    index: Int64[Tensor, " examples"]
    """which training images"""
    losses: Float[Tensor, "records models"]
    """over training, mean of every 25 steps: negative evidence lower bound, nats per image"""


def fit_stochastic(
    specs: Sequence[Stochastic],
    dataset: Dataset,
    device: str,
    *,
    folder: Path = store.FITS,
    executor: Executor | None = None,
) -> list[Fitted]:
    """Fit the models, or load the fits. They come in evaluation mode, on ``device``.

    A variance that follows a mean is fitted to the very fit that the same specification has with a constant variance.

    Args:
        specs: of the fits.
        dataset: its training part is what they see.
        device: to train on.
        folder: of the cache.
        executor: where to fit side by side, threads of this process; by default one after the other.

    Raises:
        ValueError: an unknown kind of variance, more examples than the data set has, or fewer than centres.
        FloatingPointError: a loss that is not finite.
    """
    for spec in specs:
        if spec.variance not in VARIANCES:
            raise ValueError(f"unknown variance {spec.variance!r}; accepted: {', '.join(VARIANCES)}")
    specs = [_mean(spec) if spec.variance == "constant" else spec for spec in specs]
    train, shape = dataset.train, dataset.train.shape[1:]
    indices = [sample(dataset, spec.examples, spec.seed) for spec in specs]
    for spec, index in zip(specs, indices, strict=True):
        if spec.variance == "rbf" and spec.centres > len(index):
            raise ValueError(f"{spec.centres} centres need at least as many images, there are {len(index)}")
    kind = torch.device(device).type  # its arithmetic differs in the last bits

    def full(spec: Stochastic) -> dict:
        return {"stochastic": asdict(spec), "data": dataset.digest, "device": kind}

    def build(wanted: Mapping, checkpoint: Path) -> store.Tensors:
        spec = Stochastic(**wanted["stochastic"])
        x = train[sample(dataset, spec.examples, spec.seed)].to(device)
        models = [_network(shape, spec, member).to(device) for member in range(spec.models)]
        if _follows(spec):
            for member, model in enumerate(models):
                _follow(model, _member(means[_mean(spec)], member), x, spec)
        return _train(models, x, spec, checkpoint)

    first = list(dict.fromkeys(_mean(spec) for spec in specs if _follows(spec)))
    found = store.fetch([full(spec) for spec in first], build, folder=folder, executor=executor)
    means = dict(zip(first, found, strict=True))
    fits = []
    found = store.fetch([full(spec) for spec in specs], build, folder=folder, executor=executor)
    for spec, index, tensors in zip(specs, indices, found, strict=True):
        models = [_network(shape, spec, member) for member in range(spec.models)]
        for member, model in enumerate(models):
            model.load_state_dict(_member(tensors, member))
            model.to(device).eval().requires_grad_(False)
        fits.append(Fitted(models, index, tensors["losses"]))
    return fits


@torch.no_grad()
def codes(model: StochasticVAE, images: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch latent"]:
    """Posterior means of images in [0, 1], on the model's device."""
    device = next(model.parameters()).device
    return torch.cat([model.encode(part.to(device)).mean for part in images.split(4096)])


def _follows(spec: Stochastic) -> bool:
    return spec.variance in ("network", "rbf")


def _mean(spec: Stochastic) -> Stochastic:
    """The fit that a variance follows: whatever concerns the variance alone is the same for all."""
    own = {name: Stochastic.__dataclass_fields__[name].default for name in ("centres", "bandwidth", "least_precision")}
    return replace(spec, variance="constant", floor=Stochastic.floor, **own)


def _follow(model: StochasticVAE, mean: Mapping[str, Tensor], x: Tensor, spec: Stochastic) -> None:
    """Encoder and mean of another fit, for good."""
    kept = {name: value for name, value in mean.items() if name.startswith(("encoder.", "mean."))}
    model.load_state_dict(kept, strict=False)
    model.encoder.requires_grad_(False)
    model.mean.requires_grad_(False)
    if spec.variance == "rbf":
        z = codes(model, x)
        model.variance.place(z, (model.mean(z) - x.flatten(1)).square(), spec.bandwidth, spec.seed)


def _member(stacked: Mapping[str, Tensor], member: int) -> store.Tensors:
    return {name: value[member] for name, value in stacked.items() if name != "losses"}


def _network(shape: Sequence[int], spec: Stochastic, member: int) -> StochasticVAE:
    pixels = torch.Size(shape).numel()

    def build() -> StochasticVAE:
        if spec.variance == "constant":
            variance = Constant(pixels)
        elif spec.variance == "rbf":
            variance = Precision(pixels, spec.latent, spec.centres, spec.least_precision, spec.floor)
        else:
            variance = Network(pixels, spec.latent, spec.width, spec.floor)
        return StochasticVAE(shape, spec.latent, spec.width, variance)

    return seeded(build, seed_from(WEIGHTS, spec.seed, member))


def _train(models: Sequence[StochasticVAE], x: Tensor, spec: Stochastic, checkpoint: Path) -> store.Tensors:
    ensemble = assemble(models)
    learnt = [weights for weights in ensemble.weights.values() if weights.requires_grad]
    optimizer = torch.optim.Adam(learnt, fused=True)
    steps = max(1, spec.steps // 2) if _follows(spec) else spec.steps

    def step(number: int) -> Tensor:
        draws = torch.Generator(x.device).manual_seed(seed_from(STEPS, spec.seed, number))
        rows = torch.randint(len(x), (spec.models, spec.batch), generator=draws, device=x.device)
        noise = torch.randn(spec.models, spec.batch, spec.latent, generator=draws, device=x.device)
        optimizer.param_groups[0]["lr"] = loop.rate(spec.rate, number, steps)
        return advance(ensemble, optimizer, x[rows], noise)

    state = {**ensemble.weights, **ensemble.buffers}
    label = f"{spec.models} of {spec.variance} variance, {len(x)} images, seed {spec.seed}"
    losses = loop.run(state, {"adam": optimizer}, step, steps, checkpoint=checkpoint, label=label)
    return {**state, "losses": losses}
