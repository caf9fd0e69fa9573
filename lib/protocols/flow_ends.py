"""The ends of the scale in closed form: mixtures of round normal distributions, flows whose density is known."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from sklearn.mixture import GaussianMixture
from torch import Tensor

from lib.measures.axes import PerSample
from lib.measures.density import log_density
from lib.measures.flows import Velocity, blurred_velocity, mixture_velocity, sampler
from lib.measures.intervals import Estimate
from lib.models.data import Dataset
from lib.models.flows import FlowFit, VelocityNetwork
from lib.protocols import flow_sizes
from lib.protocols.flow_sizes import How, Numbers, Points


class Mixture(NamedTuple):
    """A mixture of round normal distributions, as a density and as the end of a flow."""

    weights: Float[Tensor, " parts"]
    means: Float[Tensor, "parts pixels"]
    scales: Float[Tensor, " parts"]

    def velocity(self) -> Velocity:
        """The velocity of the flow that ends here; of equal parts in the form that takes less memory."""
        first = self.weights[0], self.scales[0]
        if (self.weights == first[0]).all() and (self.scales == first[1]).all():
            return blurred_velocity(self.means, float(first[1]))
        return mixture_velocity(self.weights, self.means, self.scales)

    def log_p(self, x: Points) -> PerSample:
        """Its log density, in nats."""
        squares = (x[:, None] - self.means).square().sum(2) / self.scales**2
        constants = (self.weights / self.weights.sum()).log() - x.shape[1] * (
            self.scales.log() + math.log(2 * math.pi) / 2
        )
        return (constants - squares / 2).logsumexp(1)

    def double(self) -> "Mixture":
        """The same in float64."""
        return Mixture(*(part.double() for part in self))


def memoriser(train: Points, noise: float) -> Mixture:
    """What a flow of a set with noise would learn if nothing held it back: a kernel density estimate."""
    return Mixture(train.new_full((len(train),), 1 / len(train)), train, train.new_full((len(train),), noise))


def learner(train: Points, parts: int, *, seed: int) -> Mixture:
    """A few round normal distributions fitted to the images, which cannot copy any of them."""
    found = GaussianMixture(parts, covariance_type="spherical", random_state=seed % 2**32)
    found.fit(train.double().cpu().numpy())
    weights, means, variances = (
        torch.from_numpy(part).to(train) for part in (found.weights_, found.means_, found.covariances_)
    )
    return Mixture(weights, means, variances.sqrt())


def errors(end: Mixture, z: Points, grid: Sequence[int]) -> list[float]:
    """Log density of samplers with these numbers of steps less that of the flow, at what they make of noise.

    Returns:
        The root mean square over points, nats, for each number of steps.
    """
    wide, z = end.double(), z.double()
    found = []
    for steps in grid:
        decoder = sampler(wide.velocity(), steps)
        difference = log_density(decoder, z) - wide.log_p(decoder(z))
        found.append(float(difference.square().mean().sqrt()))
    return found


def summaries(
    ends: Sequence[Mixture], fits: Sequence[FlowFit], images: Dataset, how: How
) -> dict[str, Estimate | None]:
    """:func:`lib.protocols.flow_sizes.summaries` of ends in closed form; None for what has no value there.

    Log p is the mixture's own. Codes are not looked for: between its parts such a flow drives points apart so far that
    the codes of held-out images cannot be told from their neighbours' in float64.

    Args:
        ends: one for each of the fits.
        fits: whose training images and noise they are measured with.
        images: that the fits are of.
        how: sizes.
    """
    numbers = [_numbers(end, fitted, images, how) for end, fitted in zip(ends, fits, strict=True)]
    known = flow_sizes.CODELESS
    return {name: flow_sizes.summary(name, numbers) if name in known else None for name in flow_sizes.SUMMARIES}


def _numbers(end: Mixture, fitted: FlowFit, images: Dataset, how: How) -> Numbers:
    train, held_out = flow_sizes.training(fitted, images), VelocityNetwork.observe(images.test)
    how = flow_sizes.own(how, fitted)
    seen, unseen = flow_sizes.compared(train, held_out, fitted.spec.noise, how)
    without = Numbers(*[torch.full((1,), torch.nan)] * len(Numbers._fields))
    measured = flow_sizes.without_codes(end.velocity(), train, unseen, how)
    log_p = [end.double().log_p(part[: how.points].double()) for part in (seen, unseen)]
    return without._replace(**measured, log_p_train=log_p[0], log_p_held_out=log_p[1])
