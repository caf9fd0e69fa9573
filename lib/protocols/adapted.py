"""Does a normal distribution for a curved space fit codes better than a Gaussian mixture?

The maps of Arvanitidis et al. 2018, section 5, with a test that the paper does not have: the density of codes that
neither was fitted to. Both densities are per unit of latent volume.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from sklearn.mixture import GaussianMixture
from torch import Tensor

from lib.measures import geodesic, land
from lib.measures.axes import Decoder, Latents, PerSample
from lib.measures.intervals import Estimate, estimate
from lib.measures.recipes import remembered

SAMPLES = 13
"""points of each shortest path"""
MARGIN = 0.7
"""latent units that a map reaches beyond the codes"""
Map = Float[Tensor, "side side"]


class Maps(NamedTuple):
    """Both log densities over a square grid about the codes, nats per unit of latent volume."""

    gaussian: Map
    land: Map
    """NaN where there is no shortest path from one of the means"""
    extent: list[float]
    """of the map: left, right, bottom, top"""
    totals: tuple[float, float]
    """what either density adds up to over the map: one, if the map holds all of it and is fine enough"""


class Adapted(NamedTuple):
    """A mixture of LANDs beside the Gaussian mixture that it starts from, and how they judge held-out codes."""

    land: land.Land
    gaussian: PerSample
    """log density of the held-out codes by the Gaussian mixture, nats per unit of latent volume"""
    adapted: PerSample
    """the same by the LANDs; NaN where there is no shortest path from one of the means"""
    maps: Maps


class Comparison(NamedTuple):
    """By how many nats per code the density of LANDs is higher than that of the Gaussian mixtures."""

    models: list[Estimate]
    """of each model, with the interval over its codes"""
    over_codes: Estimate
    """each code averaged over the models, with the interval over codes"""
    gain: Estimate
    """the same with a wider interval: the error of LAND's constants is added on either side"""


def adapt(
    decoder: Decoder,
    codes: Latents,
    held_out: Float[Tensor, "others latent"],
    *,
    components: int,
    nodes: int,
    side: int,
    seed: int,
) -> Adapted:
    """Fit a Gaussian mixture and a mixture of LANDs to the same codes, and judge other codes by both.

    Args:
        decoder: whose metric the LANDs adapt to.
        codes: to fit.
        held_out: codes to judge.
        components: of either mixture.
        nodes: of LAND's constants, per component; a power of two.
        side: cells of the maps in either direction.
        seed: of the Gaussian mixture's starts and of the nodes.
    """
    mixture = GaussianMixture(components, n_init=5, random_state=seed).fit(codes.double().cpu().numpy())
    shares = torch.from_numpy(mixture.predict_proba(codes.double().cpu().numpy()).T).to(codes)
    fitted = land.fit_land(decoder, codes, shares, nodes=nodes, n=SAMPLES, seed=seed)

    def both(z: Tensor) -> tuple[Tensor, Tensor]:
        gaussian = torch.from_numpy(mixture.score_samples(z.double().cpu().numpy()))
        per_measure = land.log_prob(fitted, decoder, z, n=SAMPLES)
        return gaussian, (per_measure + geodesic.log_measure(decoder, z)).double().cpu()

    return Adapted(fitted, *both(held_out), _maps(both, codes, side))


def _maps(both: Callable, codes: Latents, side: int) -> Maps:
    low, high = codes.amin(0) - MARGIN, codes.amax(0) + MARGIN
    middle = (torch.arange(side, device=codes.device) + 0.5) / side
    densities = both(low + torch.cartesian_prod(middle, middle) * (high - low))
    area = float((high - low).prod())
    totals = [float(values.nan_to_num(-torch.inf).exp().mean()) * area for values in densities]
    extent = [float(end) for axis in zip(low, high, strict=True) for end in axis]
    return Maps(*(values.view(side, side) for values in densities), extent, tuple(totals))


def compare(parts: Sequence[Adapted], *, seed: int) -> Comparison:
    r"""The differences of the held-out densities, LAND less Gaussian mixture.

    A constant is a sum over nodes with a relative error of about :math:`1 / \sqrt{\text{ess}}`, which every code of a
    model shares: 1.96 of its standard deviation, averaged over components and models, is added to the interval.

    Args:
        parts: one for each model, with as many held-out codes.
        seed: of the bootstrap.
    """
    differences = torch.stack([part.adapted - part.gaussian for part in parts])
    variance = torch.stack([(1 / part.land.ess).mean() for part in parts]).sum() / len(parts) ** 2
    error = 1.96 * math.sqrt(float(variance))
    over_codes = estimate(differences.mean(0), seed=seed)
    return Comparison([estimate(row, seed=seed) for row in differences], over_codes, _beyond(over_codes, error))


@remembered
def _beyond(over_codes: Estimate, error: float) -> Estimate:
    return over_codes._replace(low=over_codes.low - error, high=over_codes.high + error)
