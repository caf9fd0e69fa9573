"""What larger flows emit, and how much volume they leave, where a whole Jacobian would take a minute a point.

The volume is then an integral of divergences along the way of the noise, which are estimated by Hutchinson's probes:
:func:`lib.measures.flow_density.hutchinson`. It needs no code, so nothing here is asked of an image.
"""

from typing import NamedTuple

import torch
from sklearn.neural_network import MLPClassifier

from lib.measures.axes import Images, PerSample
from lib.measures.copying import neighbour_ratio
from lib.measures.density import log_prior
from lib.measures.flow_density import hutchinson
from lib.measures.flows import sampler
from lib.measures.intervals import Estimate
from lib.measures.jacobian import singular_values
from lib.measures.nearest import nearest
from lib.models.data import Dataset
from lib.models.draws import rng_from
from lib.models.flows import FlowFit, VelocityNetwork
from lib.protocols import quality
from lib.protocols.flow_sizes import How, Numbers, Points, compared, emitted, noise_for, own, training

PROBES = 184  # what a seed is for


class Volume(NamedTuple):
    """Minus log volume at noise, nats: how much a ball of noise shrinks."""

    nats: PerSample
    standard_error: PerSample
    """over the probes of a point"""


def volume(fitted: FlowFit, z: Points, steps: int, probes: int) -> Volume:
    """The volume that a flow leaves at noise, estimated with probes that belong to the seed of the fit."""
    rng = rng_from(z.device, fitted.spec.seed, PROBES)
    found = hutchinson(fitted.model, z, steps, probes, rng=rng)
    return Volume(found.log_p - log_prior(z), found.standard_error)


def exact(fitted: FlowFit, z: Points, steps: int) -> PerSample:
    """The same of the sampler with its steps, by all singular values of its Jacobian, a point at a time."""
    decoder = sampler(fitted.model, steps)
    return torch.cat([-singular_values(decoder, one).double().log().sum(1) for one in z.split(1)])


def of_fit(fitted: FlowFit, images: Dataset, how: How, probes: int) -> Numbers:
    """What a fit emits, and its volume at ``how.points`` noises; NaN for what would need a code or a Jacobian."""
    device = next(fitted.model.parameters()).device
    train, held_out = training(fitted, images).to(device), VelocityNetwork.observe(images.test).to(device)
    how = own(how, fitted)
    samples, (_, unseen) = emitted(fitted.model, train, how), compared(train, held_out, fitted.spec.noise, how)
    return Numbers(*[torch.full((1,), torch.nan)] * len(Numbers._fields))._replace(
        ratio=neighbour_ratio(samples, train),
        distance=nearest(samples, train, 1)[0][:, 0],
        held_out_distance=nearest(unseen[: how.samples], train, 1)[0][:, 0],
        volume_noise=volume(fitted, noise_for(how.points, train, how), how.steps, probes).nats,
    )


def pictures(points: Points, side: int) -> Images:
    """Points of a flow, in [-1, 1] with noise, as grey images in [0, 1]."""
    return (points.view(-1, 1, side, side) / 2 + 0.5).clamp(0, 1)


def bar(network: MLPClassifier, samples: Points, held_out: Images, *, seed: int) -> Estimate:
    """:func:`lib.protocols.quality.uninformative` of what flows emit: at most one where it tells what it is of."""
    return quality.uninformative(network, pictures(samples, held_out.shape[-1]), held_out, seed=seed)
