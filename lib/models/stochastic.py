"""Stochastic generators on few latents, after Arvanitidis, Hansen & Hauberg 2018: each pixel has a mean and a variance.

Encoder and mean are fitted first, with one variance for all pixels. The variance is fitted afterwards, with encoder and
mean held fixed: by a network of the latents, or by the paper's precision network, whose variance grows away from the
codes. For comparison, ``joint`` fits mean and variance network together, as an ordinary autoencoder does.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from lib.models import loop
from lib.models.draws import rng_from, seed_from, seeded
from lib.models.ensemble import advance, assemble
from lib.models.family import Fit, Index, Seen, Spec, Tensors
from lib.models.networks import VAE, codes, perceptron, posterior
from lib.models.streams import StochasticStream

VARIANCES = ("constant", "network", "rbf", "joint")
"""one variance for all pixels; a network or an RBF precision network fitted after the mean; a network fitted with it"""
HALF_LOG_TWO_PI = math.log(2 * math.pi) / 2
START = -3.0
"""logarithm of a constant variance before training; one that is too large makes latents collapse"""


@dataclass(frozen=True)
class Stochastic(Spec):
    """Everything that decides the fit of an ensemble, apart from the data. Its models differ by their chance alone."""

    stream = StochasticStream

    variance: str
    """one of :data:`VARIANCES`"""
    models: int = 1
    examples: int = 0
    """training images, drawn without replacement; zero means all"""
    steps: int = 1500
    """steps of training; a variance that is fitted after the mean gets half as many"""
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

    def check(self, examples: int) -> None:
        """Refuse unknown variances, and more centres than images."""
        if self.variance not in VARIANCES:
            raise ValueError(f"unknown variance {self.variance!r}; accepted: {', '.join(VARIANCES)}")
        if self.variance == "rbf" and self.centres > examples:
            raise ValueError(f"{self.centres} centres need at least as many images, there are {examples}")

    def canonical(self) -> "Stochastic":
        """With a constant variance, nothing that concerns the other variances."""
        return self._of_the_mean() if self.variance == "constant" else self

    def follows(self) -> "Stochastic | None":
        """The fit of encoder and mean, for a variance that is fitted afterwards."""
        return self._of_the_mean() if self.variance in ("network", "rbf") else None

    def _of_the_mean(self) -> "Stochastic":
        variance = ("centres", "bandwidth", "least_precision", "floor")
        defaults = {name: Stochastic.__dataclass_fields__[name].default for name in variance}
        return replace(self, variance="constant", **defaults)

    def build(self, shape: Sequence[int], member: int) -> "StochasticVAE":
        """An untrained model; its weights belong to (seed, member)."""
        pixels = torch.Size(shape).numel()

        def network() -> StochasticVAE:
            if self.variance == "constant":
                variance = Constant(pixels)
            elif self.variance == "rbf":
                variance = Precision(pixels, self.latent, self.centres, self.least_precision, self.floor)
            else:
                variance = Network(pixels, self.latent, self.width, self.floor)
            return StochasticVAE(shape, self.latent, self.width, variance)

        return seeded(network, seed_from(self.stream.WEIGHTS, self.seed, member))

    def train(self, seen: Seen, device: str, checkpoint: Path, followed: Tensors | None) -> Tensors:
        """The weights, stacked, and the losses of :class:`StochasticFit`."""
        x = seen.train.to(device)
        models = [self.build(x.shape[1:], member).to(device) for member in range(self.models)]
        if followed is not None:
            for member, model in enumerate(models):
                _take_over(model, _member(followed, member), x, self)
        ensemble = assemble(models)
        learnt = [weights for weights in ensemble.weights.values() if weights.requires_grad]
        optimizer = torch.optim.Adam(learnt, fused=True)
        steps = self.steps if followed is None else max(1, self.steps // 2)

        def step(number: int) -> Tensor:
            rng = rng_from(x.device, self.stream.STEPS, self.seed, number)
            rows = torch.randint(len(x), (self.models, self.batch), generator=rng, device=x.device)
            noise = torch.randn(self.models, self.batch, self.latent, generator=rng, device=x.device)
            optimizer.param_groups[0]["lr"] = loop.rate(self.rate, number, steps)
            return advance(ensemble, optimizer, x[rows], noise)

        label = f"{self.models} of {self.variance} variance, {len(x)} images, seed {self.seed}"
        losses = loop.run(ensemble.state, {"adam": optimizer}, step, steps, checkpoint=checkpoint, label=label)
        return {**ensemble.state, "losses": losses}

    def restore(self, tensors: Tensors, index: Index, shape: Sequence[int], device: str) -> "StochasticFit":
        """The models, on ``device``."""
        models = [self.build(shape, member) for member in range(self.models)]
        for member, model in enumerate(models):
            model.load_state_dict(_member(tensors, member))
            model.to(device).eval().requires_grad_(False)
        return StochasticFit(self, index, tensors["losses"], models)


@dataclass(frozen=True, eq=False)
class StochasticFit(Fit):
    """Fitted models.

    Their losses are the negative evidence lower bound, nats per image, mean of every 25 steps, ``[records, models]``.
    """

    models: list["StochasticVAE"]


def _take_over(model: "StochasticVAE", mean: Mapping[str, Tensor], x: Tensor, spec: Stochastic) -> None:
    """Take encoder and mean from a fit with a constant variance, and exclude them from training."""
    kept = {name: value for name, value in mean.items() if name.startswith(("encoder.", "mean."))}
    model.load_state_dict(kept, strict=False)
    model.encoder.requires_grad_(False)
    model.mean.requires_grad_(False)
    if spec.variance == "rbf":
        z = codes(model, x)
        model.variance.place(z, (model.mean(z) - x.flatten(1)).square(), spec.bandwidth, spec.seed)


def _member(stacked: Mapping[str, Tensor], member: int) -> Tensors:
    return {name: value[member] for name, value in stacked.items() if name != "losses"}


class StochasticVAE(VAE):
    r"""A variational autoencoder with :math:`p(x | z) = N(\mu(z), \operatorname{diag} \sigma^2(z))` in [0, 1].

    Layers of ``2 width`` and ``width`` hyperbolic tangents towards the latents, the same backwards, a sigmoid mean.

    Args:
        shape: of an image.
        latent: latents.
        width: units of the layer next to the latents, half of those of the other.
        variance: from latents ``[batch, latent]`` to the variance of each pixel ``[batch, pixels]``.
    """

    def __init__(self, shape: Sequence[int], latent: int, width: int, variance: nn.Module) -> None:
        super().__init__()
        self.shape = tuple(shape)
        pixels = torch.Size(shape).numel()
        self.encoder = perceptron(pixels, 2 * width, width, 2 * latent, activation=nn.Tanh)
        self.mean = nn.Sequential(perceptron(latent, width, 2 * width, pixels, activation=nn.Tanh), nn.Sigmoid())
        self.variance = variance

    def encode(self, x: Float[Tensor, "batch *shape"]) -> Distribution:
        """The posterior q(z | x) of images in [0, 1]."""
        return posterior(self.encoder(x.flatten(1)))

    def decode(self, z: Float[Tensor, "batch latent"]) -> Distribution:
        """The likelihood p(x | z): independent pixels."""
        variance = self.variance(z).unflatten(1, self.shape)
        return Independent(Gaussian(self.generate(z), variance), len(self.shape), validate_args=False)

    def generate(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch *shape"]:
        """The mean of p(x | z)."""
        return self.mean(z).unflatten(1, self.shape)

    def deviation(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch *shape"]:
        """The standard deviation of p(x | z), output units."""
        return self.variance(z).sqrt().unflatten(1, self.shape).expand(len(z), *self.shape)


class Gaussian(Normal):
    """A normal by its variance, with a ``log_prob`` of fewer passes over the pixels than torch's."""

    def __init__(self, mean: Tensor, variance: Tensor) -> None:
        super().__init__(mean, variance.sqrt(), validate_args=False)
        self.inverse, self.log_variance = variance.reciprocal(), variance.log()

    def log_prob(self, value: Tensor) -> Tensor:
        """The same numbers."""
        return (-0.5) * torch.addcmul(self.log_variance, (value - self.loc).square(), self.inverse) - HALF_LOG_TWO_PI


class Constant(nn.Module):
    """One variance for all pixels and latents."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.pixels = pixels
        self.log_variance = nn.Parameter(torch.tensor(START))

    def forward(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "1 pixels"]:
        """The variance, squared output units."""
        return self.log_variance.exp().expand(1, self.pixels)


class Network(nn.Module):
    """The variance as an ordinary network has it, with a softplus; away from the codes nothing trains it."""

    def __init__(self, pixels: int, latent: int, width: int, floor: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(perceptron(latent, width, 2 * width, pixels, activation=nn.Tanh), nn.Softplus())
        self.least = floor**2

    def forward(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch pixels"]:
        """The variance, squared output units."""
        return self.layers(z) + self.least


class Precision(nn.Module):
    r"""The precision as a sum of bumps on the codes: without codes, no precision.

    .. math:: \sigma^2(z) = \frac{1}{W v(z) + \zeta} + \text{floor}^2 , \qquad
              v_k(z) = \exp(-\lambda_k \|z - c_k\|^2) , \qquad W > 0 ,

    with centres :math:`c_k` by k-means and :math:`\lambda_k = \frac12 (a\, d_k)^{-2}` from the mean distance
    :math:`d_k` of a centre's codes. Arvanitidis et al. 2018, equations 9 and 10.
    """

    def __init__(self, pixels: int, latent: int, centres: int, least_precision: float, floor: float) -> None:
        super().__init__()
        self.log_weights = nn.Parameter(torch.zeros(centres, pixels))
        self.register_buffer("centres", torch.zeros(centres, latent))
        self.register_buffer("sharpness", torch.ones(centres))
        self.least_precision, self.least = least_precision, floor**2

    @torch.no_grad()
    def place(
        self, z: Float[Tensor, "n latent"], squared: Float[Tensor, "n pixels"], bandwidth: float, seed: int
    ) -> None:
        """Put the centres among the codes, and start from the squared residuals near each."""
        clusters = KMeans(len(self.centres), n_init=1, random_state=seed % 2**32).fit(z.double().cpu().numpy())
        self.centres.copy_(torch.from_numpy(clusters.cluster_centers_))
        member = nn.functional.one_hot(torch.from_numpy(clusters.labels_).long()).to(z)
        reach = (member * (z[:, None] - self.centres).norm(dim=2)).sum(0) / member.sum(0)
        reach = reach.clamp(min=1e-3 * float(reach.mean()))  # a centre of one code has none
        self.sharpness.copy_(0.5 / (bandwidth * reach).square())
        near = self._near(z)
        excess = (near.T @ squared / near.sum(0)[:, None] - self.least).clamp(min=self.least / 10)
        self.log_weights.copy_(-(excess * near.sum(1).mean()).log())

    def _near(self, z: Tensor) -> Tensor:
        return (-self.sharpness * (z[:, None] - self.centres).square().sum(2)).exp()

    def forward(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch pixels"]:
        """The variance, squared output units."""
        precision = self._near(z) @ self.log_weights.exp() + self.least_precision
        return precision.reciprocal() + self.least
