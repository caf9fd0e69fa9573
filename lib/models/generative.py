"""The generators whose images are searched for: GLO, autoencoders, and generative adversarial networks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import MultivariateNormal
from torch.nn.functional import mse_loss, softplus

from lib.models import loop
from lib.models.draws import rng_from, seed_from, seeded
from lib.models.family import Fit, Index, Seen, Spec, Tensors
from lib.models.pyramid import encoder, generator
from lib.models.streams import GenerativeStream

RATES = {"glo": 1e-2, "ae": 5e-3, "aegan": 5e-3, "dcgan": 2e-3, "mesch": 2e-3}
"""The kinds of generators, and the learning rate of each where a specification gives none.

For ``glo``, ``ae`` and ``aegan`` it is the rate with the smallest training loss of the few that were tried; for
``dcgan`` and ``mesch`` one at which training is stable.
"""


@dataclass(frozen=True)
class Generative(Spec):
    """Everything that decides a fit, apart from the data."""

    stream = GenerativeStream

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
    """peak learning rate of Adam; zero means that of the kind, :data:`RATES`"""
    code_rate: float = 0.01
    """the same for the codes of ``glo``; zero means random codes on the unit sphere that stay where they are"""
    adversarial: float = 0.01
    """weight of the adversarial loss beside the squared error (``aegan``)"""
    penalty: float = 10.0  # Mescheder, Geiger & Nowozin 2018, section 4.2
    """weight of the gradient penalty (``mesch``)"""

    def check(self, examples: int) -> None:
        """Refuse unknown kinds."""
        if self.kind not in RATES:
            raise ValueError(f"unknown kind of generator {self.kind!r}; accepted: {', '.join(RATES)}")

    def build(self, x: Float[Tensor, "examples channels height width"]) -> nn.Module:
        """The untrained networks for these images, whose content matters to the codes of ``glo`` alone."""
        networks = {"glo": GLO, "ae": Autoencoder, "aegan": Autoencoder}.get(self.kind, Adversarial)
        return seeded(lambda: networks(x, self), seed_from(self.stream.WEIGHTS, self.seed))

    def train(self, seen: Seen, device: str, checkpoint: Path, followed: Tensors | None) -> Tensors:
        """The weights, the losses of :class:`GeneratorFit`, and the moments of its prior."""
        x = seen.train.to(device)
        model = self.build(x).to(device).train()
        optimizers, peaks = _optimizers(model, self)
        update = {"glo": _reconstruct, "ae": _reconstruct, "aegan": _reconstruct_and_fool}.get(self.kind, _compete)

        def advance(step: int) -> Tensor:
            rng = rng_from(x.device, self.stream.STEPS, self.seed, step)
            rows = torch.randint(len(x), (self.batch,), generator=rng, device=x.device)
            for name, optimizer in optimizers.items():
                optimizer.param_groups[0]["lr"] = loop.rate(peaks[name], step, self.steps)
            return update(model, optimizers, x[rows], rows, self, rng)

        label = f"{self.kind}, {len(x)} images, seed {self.seed}"
        losses = loop.run(model.state_dict(), optimizers, advance, self.steps, checkpoint=checkpoint, label=label)
        mean, covariance = _moments(model.eval(), x)
        kept = {name: value for name, value in model.state_dict().items() if not name.startswith("discriminator.")}
        return {**kept, "losses": losses, "code_mean": mean, "code_covariance": covariance}

    def restore(self, tensors: Tensors, index: Index, shape: Sequence[int], device: str) -> "GeneratorFit":
        """The networks and the prior, on ``device``."""
        with torch.device("meta"):  # the architecture alone
            model = self.build(torch.empty(len(index), *shape))
        there = {name: value.to(device) for name, value in tensors.items() if name != "losses"}
        prior = MultivariateNormal(there.pop("code_mean"), there.pop("code_covariance"))
        model.load_state_dict(there, strict=False, assign=True)
        model.eval().requires_grad_(False)
        return GeneratorFit(self, index, tensors["losses"], model.generator, getattr(model, "encoder", None), prior)


@dataclass(frozen=True, eq=False)
class GeneratorFit(Fit):
    """A fitted generator.

    Its losses are those of the generator, and of the discriminator where there is one, mean of every 25 steps.
    """

    generator: Callable[[Tensor], Tensor]
    """latents to images in [0, 1]"""
    encoder: Callable[[Tensor], Tensor] | None
    """images to latents, for autoencoders"""
    prior: MultivariateNormal
    """what latents are drawn from: standard normal for adversarial networks, fitted to the codes for the others"""


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
    """An encoder and a generator. AEGAN has a discriminator of the generator's images as well."""

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


def _whitened(x: Tensor, count: int) -> Tensor:
    """Principal components, scaled to equal variance, and random numbers where the images have fewer than ``count``."""
    flat = x.flatten(1).cpu()
    scores, size, _ = torch.svd_lowrank(flat - flat.mean(0), q=min(count, *flat.shape), niter=4)
    components = scores[:, size > 1e-5 * size[0]] * len(x) ** 0.5
    return torch.cat([components, torch.randn(len(x), count - components.shape[1])], 1)


def _optimizers(model: nn.Module, spec: Generative) -> tuple[dict[str, torch.optim.Adam], dict[str, float]]:
    discriminator = {id(p) for name, p in model.named_parameters() if name.startswith("discriminator.")}
    groups = {
        "generator": [p for p in model.parameters() if id(p) not in discriminator and p.requires_grad],
        "discriminator": [p for p in model.parameters() if id(p) in discriminator],
        "codes": [],
    }
    if spec.kind == "glo" and spec.code_rate:
        groups["codes"], groups["generator"] = [model.codes], list(model.generator.parameters())
    # Decay of Adam's first moment: 0 with a gradient penalty (Mescheder et al. 2018), .5 with DCGAN, else the usual .9.
    first = {"mesch": 0.0, "dcgan": 0.5, "aegan": 0.5}.get(spec.kind, 0.9)
    peak = spec.rate or RATES[spec.kind]
    peaks = {"generator": peak, "discriminator": peak, "codes": spec.code_rate}
    learnt = {name: group for name, group in groups.items() if group}
    return {name: torch.optim.Adam(group, betas=(first, 0.99), fused=True) for name, group in learnt.items()}, peaks


def _step(loss: Tensor, *optimizers: torch.optim.Optimizer) -> None:
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()


def _reconstruct(
    model: nn.Module, optimizers: Mapping, x: Tensor, rows: Tensor, spec: Generative, rng: torch.Generator
) -> Tensor:
    z = model.codes[rows] if spec.kind == "glo" else model.encoder(x)
    loss = mse_loss(model.generator(z), x)
    _step(loss, *optimizers.values())
    if "codes" in optimizers:
        with torch.no_grad():
            model.codes /= model.codes.norm(dim=1, keepdim=True).clamp(min=1)
    return loss


def _reconstruct_and_fool(
    model: nn.Module, optimizers: Mapping, x: Tensor, rows: Tensor, spec: Generative, rng: torch.Generator
) -> Tensor:
    made = model.generator(model.encoder(x))
    judged = _judge(model, optimizers["discriminator"], x, made.detach(), 0.0)
    loss = mse_loss(made, x) + spec.adversarial * softplus(-model.discriminator(made)).mean()
    _step(loss, optimizers["generator"])
    return torch.stack([loss, judged])


def _compete(
    model: nn.Module, optimizers: Mapping, x: Tensor, rows: Tensor, spec: Generative, rng: torch.Generator
) -> Tensor:
    made = model.generator(torch.randn(len(x), spec.latent, generator=rng, device=x.device))
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
def _moments(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of what latents are drawn from."""
    if isinstance(model, Adversarial):
        latent = next(model.generator.parameters()).shape[1]
        return x.new_zeros(latent), torch.eye(latent, dtype=x.dtype, device=x.device)
    z = model.codes if isinstance(model, GLO) else torch.cat([model.encoder(part) for part in x.split(1024)])
    ridge = 1e-6 * z.var(0).mean() * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    return z.mean(0), z.T.cov() + ridge
