"""Fit the generators whose images are searched for: GLO, autoencoders, and generative adversarial networks."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.distributions import MultivariateNormal
from torch.nn.functional import mse_loss, softplus

from lib.models import loop, store
from lib.models.convolutional import encoder, generator
from lib.models.data import Dataset, sample, seed_from
from lib.models.networks import seeded

RATES = {"glo": 1e-2, "ae": 5e-3, "aegan": 5e-3, "dcgan": 2e-3, "mesch": 2e-3}
"""The kinds of generators, and the learning rate of each if none is given: for the first three that of the smallest
training loss of a few, for the others a stable one"""
WEIGHTS, STEPS = 1, 2  # what a seed is for


@dataclass(frozen=True)
class Generative:
    """Everything that decides a fit, apart from the data."""

    kind: str
    """``glo``, ``ae``, ``aegan``, ``dcgan`` or ``mesch``"""
    examples: int
    """training images, drawn without replacement; zero means all"""
    steps: int = 1500
    batch: int = 64
    seed: int = 0
    latent: int = 32
    width: int = 16
    """channels of the generator's finest map"""
    stride: int = 4
    """by which every layer refines the image; the papers have 2"""
    rate: float = 0.0
    """peak learning rate of Adam; zero means the kind's own, :data:`RATES`"""
    code_rate: float = 0.01
    """the same for the codes of ``glo``; zero means random codes on the unit sphere that stay where they are"""
    adversarial: float = 0.01
    """weight of the adversarial loss beside the squared error (``aegan``)"""
    penalty: float = 10.0  # Mescheder, Geiger & Nowozin 2018, section 4.2
    """weight of the gradient penalty (``mesch``)"""


class Fitted(NamedTuple):
    """A fitted generator and what it was fitted on."""

    generator: nn.Module
    """latents to images in [0, 1]"""
    encoder: nn.Module | None
    """images to latents, for autoencoders"""
    codes: MultivariateNormal
    """what latents are drawn from: the prior of adversarial networks, a normal fitted to the codes of the others"""
    index: Int64[Tensor, " examples"]
    """which training images"""
    losses: Float[Tensor, "records losses"]
    """over training, mean of every 25 steps: the generator's, and the discriminator's where there is one"""


def fit_generators(
    specs: Sequence[Generative],
    dataset: Dataset,
    device: str,
    *,
    folder: Path = store.FITS,
    executor: Executor | None = None,
) -> list[Fitted]:
    """Fit the generators, or load the fits. They come in evaluation mode, on ``device``.

    Args:
        specs: of the fits.
        dataset: its training part is what they see.
        device: to train on.
        folder: of the cache.
        executor: where to fit side by side, threads of this process; by default one after the other.

    Raises:
        ValueError: an unknown kind, or more examples than the data set has.
        FloatingPointError: a loss that is not finite.
    """
    train = dataset.train
    for spec in specs:
        if spec.kind not in RATES:
            raise ValueError(f"unknown kind of generator {spec.kind!r}; accepted: {', '.join(RATES)}")
    indices = [sample(dataset, spec.examples, spec.seed) for spec in specs]

    def build(full: Mapping, checkpoint: Path) -> store.Tensors:
        spec = Generative(**full["generator"])
        x = train[sample(dataset, spec.examples, spec.seed)].to(device)
        model = _model(spec, x).to(device)
        losses = _train(model, x, spec, checkpoint)
        codes = _codes(model.eval(), x)
        kept = {name: value for name, value in model.state_dict().items() if not name.startswith("discriminator.")}
        return {**kept, "losses": losses, "code_mean": codes[0], "code_covariance": codes[1]}

    kind = torch.device(device).type  # its arithmetic differs in the last bits
    full = [{"generator": asdict(spec), "data": dataset.digest, "device": kind} for spec in specs]
    fits = []
    found = store.fetch(full, build, folder=folder, executor=executor)
    for spec, index, tensors in zip(specs, indices, found, strict=True):
        losses, mean, covariance = (tensors.pop(name) for name in ("losses", "code_mean", "code_covariance"))
        with torch.device("meta"):  # the architecture alone
            model = _model(spec, torch.empty(len(index), *train.shape[1:]))
        model.load_state_dict({name: value.to(device) for name, value in tensors.items()}, strict=False, assign=True)
        model.eval().requires_grad_(False)
        codes = MultivariateNormal(mean.to(device), covariance.to(device))
        fits.append(Fitted(model.generator, getattr(model, "encoder", None), codes, index, losses))
    return fits


class GLO(nn.Module):
    """Generative latent optimisation (Bojanowski et al. 2018): a generator, and a code in the unit ball for each image.

    Codes that learn start from the whitened principal components of the images, as there; others are random.
    """

    def __init__(self, x: Tensor, spec: Generative) -> None:
        super().__init__()
        self.generator = generator(x.shape[1:], spec.latent, spec.width, stride=spec.stride)
        learnt = spec.code_rate > 0 and not x.is_meta
        start = _whitened(x, spec.latent) if learnt else torch.randn(len(x), spec.latent)
        self.codes = nn.Parameter(nn.functional.normalize(start), requires_grad=spec.code_rate > 0)


class Autoencoder(nn.Module):
    """An encoder and a generator; with a discriminator of what it makes, AEGAN."""

    def __init__(self, x: Tensor, spec: Generative) -> None:
        super().__init__()
        self.encoder = encoder(x.shape[1:], spec.latent, spec.width, stride=spec.stride)
        self.generator = generator(x.shape[1:], spec.latent, spec.width, stride=spec.stride)
        if spec.kind == "aegan":
            self.discriminator = encoder(x.shape[1:], 1, spec.width, stride=spec.stride, normalised=True)


class Adversarial(nn.Module):
    """A generator and a discriminator: normalised as in DCGAN, or residual as in MESCH."""

    def __init__(self, x: Tensor, spec: Generative) -> None:
        super().__init__()
        look = {"normalised": spec.kind == "dcgan", "residual": spec.kind == "mesch", "stride": spec.stride}
        self.generator = generator(x.shape[1:], spec.latent, spec.width, **look)
        self.discriminator = encoder(x.shape[1:], 1, spec.width, **look)


def _model(spec: Generative, x: Tensor) -> nn.Module:
    build = {"glo": GLO, "ae": Autoencoder, "aegan": Autoencoder}.get(spec.kind, Adversarial)
    return seeded(lambda: build(x, spec), seed_from(WEIGHTS, spec.seed))


def _whitened(x: Tensor, count: int) -> Tensor:
    """Principal components, each of the same variance; random numbers for those that the images do not have."""
    flat = x.flatten(1).cpu()
    found, size, _ = torch.svd_lowrank(flat - flat.mean(0), q=min(count, *flat.shape), niter=4)
    own = found[:, size > 1e-5 * size[0]] * len(x) ** 0.5
    return torch.cat([own, torch.randn(len(x), count - own.shape[1])], 1)


def _train(model: nn.Module, x: Tensor, spec: Generative, checkpoint: Path) -> Tensor:
    optimizers, peaks = _optimizers(model, spec)
    losses = {"glo": _reconstruct, "ae": _reconstruct, "aegan": _reconstruct_and_fool}.get(spec.kind, _compete)

    def advance(step: int) -> Tensor:
        draws = torch.Generator(x.device).manual_seed(seed_from(STEPS, spec.seed, step))
        rows = torch.randint(len(x), (spec.batch,), generator=draws, device=x.device)
        for name, optimizer in optimizers.items():
            optimizer.param_groups[0]["lr"] = loop.rate(peaks[name], step, spec.steps)
        return losses(model, optimizers, x[rows], rows, spec, draws)

    label = f"{spec.kind}, {len(x)} images, seed {spec.seed}"
    state = model.train().state_dict()
    return loop.run(state, optimizers, advance, spec.steps, checkpoint=checkpoint, label=label)


def _optimizers(model: nn.Module, spec: Generative) -> tuple[dict[str, torch.optim.Adam], dict[str, float]]:
    discriminator = {id(p) for name, p in model.named_parameters() if name.startswith("discriminator.")}
    groups = {
        "generator": [p for p in model.parameters() if id(p) not in discriminator and p.requires_grad],
        "discriminator": [p for p in model.parameters() if id(p) in discriminator],
        "codes": [],
    }
    if spec.kind == "glo" and spec.code_rate:
        groups["codes"], groups["generator"] = [model.codes], list(model.generator.parameters())
    # The first moment: none with a gradient penalty (Mescheder et al. 2018), a half with DCGAN, Adam's own elsewhere.
    first = {"mesch": 0.0, "dcgan": 0.5, "aegan": 0.5}.get(spec.kind, 0.9)
    peak = spec.rate or RATES[spec.kind]
    peaks = {"generator": peak, "discriminator": peak, "codes": spec.code_rate}
    made = {
        name: torch.optim.Adam(group, betas=(first, 0.99), fused=True) for name, group in groups.items() if len(group)
    }
    return made, peaks


def _step(loss: Tensor, *optimizers: torch.optim.Optimizer) -> None:
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()


def _reconstruct(
    model: nn.Module, optimizers: Mapping, x: Tensor, rows: Tensor, spec: Generative, draws: torch.Generator
) -> Tensor:
    z = model.codes[rows] if spec.kind == "glo" else model.encoder(x)
    loss = mse_loss(model.generator(z), x)
    _step(loss, *optimizers.values())
    if "codes" in optimizers:
        with torch.no_grad():
            model.codes /= model.codes.norm(dim=1, keepdim=True).clamp(min=1)
    return loss


def _reconstruct_and_fool(
    model: nn.Module, optimizers: Mapping, x: Tensor, rows: Tensor, spec: Generative, draws: torch.Generator
) -> Tensor:
    made = model.generator(model.encoder(x))
    judged = _judge(model, optimizers["discriminator"], x, made.detach(), 0.0)
    loss = mse_loss(made, x) + spec.adversarial * softplus(-model.discriminator(made)).mean()
    _step(loss, optimizers["generator"])
    return torch.stack([loss, judged])


def _compete(
    model: nn.Module, optimizers: Mapping, x: Tensor, rows: Tensor, spec: Generative, draws: torch.Generator
) -> Tensor:
    made = model.generator(torch.randn(len(x), spec.latent, generator=draws, device=x.device))
    judged = _judge(model, optimizers["discriminator"], x, made.detach(), spec.penalty * (spec.kind == "mesch"))
    loss = softplus(-model.discriminator(made)).mean()
    _step(loss, optimizers["generator"])
    return torch.stack([loss, judged])


def _judge(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, made: Tensor, penalty: float) -> Tensor:
    """One step of the discriminator, with the zero-centred gradient penalty on real images if there is one."""
    x = x.detach().requires_grad_(penalty > 0)
    real = model.discriminator(x)
    loss = softplus(-real).mean() + softplus(model.discriminator(made)).mean()
    if penalty:
        (slope,) = torch.autograd.grad(real.sum(), x, create_graph=True)
        loss = loss + penalty / 2 * slope.flatten(1).square().sum(1).mean()
    _step(loss, optimizer)
    return loss.detach()


@torch.no_grad()
def _codes(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of what latents are drawn from."""
    if isinstance(model, Adversarial):
        latent = next(model.generator.parameters()).shape[1]
        return x.new_zeros(latent), torch.eye(latent, dtype=x.dtype, device=x.device)
    z = model.codes if isinstance(model, GLO) else torch.cat([model.encoder(part) for part in x.split(1024)])
    ridge = 1e-6 * z.var(0).mean() * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    return z.mean(0), z.T.cov() + ridge
