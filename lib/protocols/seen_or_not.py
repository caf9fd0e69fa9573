"""What every measure says of images that a model may have been trained on: larger where it points to memorisation.

All models are taken as maps from standard normal latents to images in [-1, 1], so that output units, radii and
thresholds mean the same in all of them.
"""

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from lib.measures.axes import Decoder, Images, Latents, PerSample
from lib.measures.density import log_density_from, log_prior
from lib.measures.jacobian import singular_values
from lib.measures.likelihood import log_evidence
from lib.measures.paths import decay
from lib.measures.recovery import Recovery, recover
from lib.models.convolutional import ConvVAEFit
from lib.models.draws import rng_from
from lib.models.generative import GeneratorFit

SAMPLES, STARTS, GENERATED = 0, 1, 2
"""What follows a model's seed in the identity of its sources: importance samples, starts of searches, outputs."""
AT_ONCE = 1000
"""generated images in memory at a time"""


Rows = Int64[Tensor, " rows"]


class How(NamedTuple):
    """Sizes of the measures."""

    rank: int
    """singular values in densities and volumes"""
    samples: int
    """importance samples of log p(x)"""
    iterations: int
    """of a search"""
    start: float
    """standard deviation of its start, in that of the prior"""
    generated: int
    """images that the model makes, of which the nearest is looked for"""
    threshold: float
    """share of the largest singular value from which on another counts as a dimension"""
    radii: tuple[float, ...] = (0.5, 1.0)
    """arclengths of the decay, output units"""


class Measured(NamedTuple):
    """What a model says of images."""

    values: dict[str, PerSample]
    """every measure, larger where it points to memorisation"""
    made: Images
    """what the model makes of each image: of its code, in [0, 1]"""


def of_vae(fit: ConvVAEFit, images: Images, how: How) -> Measured:
    """Every measure that a variational autoencoder allows; codes are posterior means.

    Args:
        fit: the model.
        images: in [0, 1].
        how: sizes.
    """
    model, place = fit.model, next(fit.model.parameters()).device
    x = model.observe(images).to(place)
    with torch.no_grad():
        z = model.encode(x).mean
        made = model.generate(z)
    rng = rng_from(place, fit.spec.seed, SAMPLES)
    found = {
        "reconstruction": -(made - x).flatten(1).square().mean(1),
        "log p(x)": log_evidence(model.encode, model.decode, x, how.samples, generator=rng).log_p,
        "latent recovery": -_search(model.generate, x, z.shape[1], fit.spec.seed, how).error,
        "nearest generated": -nearest_generated(model.generate, x, z.shape[1], how.generated, fit.spec.seed),
        **at_codes(model.generate, z, how),
    }
    return Measured({name: values.double().cpu() for name, values in found.items()}, (made.cpu() + 1) / 2)


def of_generator(fit: GeneratorFit, images: Images, how: How) -> Measured:
    """Every measure that a generator without an encoder allows; codes are the latents that a search has found.

    Latents are those of which the prior is standard normal: the generator's, less their mean, divided by a square root
    of their covariance. What is measured at them is computed in float64: where outputs saturate, the smaller singular
    values of the Jacobian are below the rounding of float32. Arguments are those of :func:`of_vae`.
    """
    latent, seed = len(fit.prior.loc), fit.spec.seed
    x = 2 * images.to(fit.prior.loc.device) - 1
    decoder = standardised(fit)
    recovery = _search(decoder, x, latent, seed, how)
    with torch.no_grad():
        made = decoder(recovery.z)
    found = {
        "latent recovery": -recovery.error,
        "nearest generated": -nearest_generated(decoder, x, latent, how.generated, seed),
        **at_codes(standardised(fit, torch.float64), recovery.z.double(), how),
    }
    return Measured({name: values.double().cpu() for name, values in found.items()}, (made.cpu() + 1) / 2)


def standardised(fit: GeneratorFit, dtype: torch.dtype | None = None) -> Decoder:
    """The generator as a map from standard normal latents to images in [-1, 1].

    Args:
        fit: a generator with a normal prior, whose images are in [0, 1].
        dtype: of its arithmetic; by default its own.
    """
    dtype = dtype or fit.prior.loc.dtype
    generator: Callable = copy.deepcopy(fit.generator).to(dtype)
    middle, root = fit.prior.loc.to(dtype), fit.prior.scale_tril.to(dtype)
    return lambda u: 2 * generator(middle + u @ root.T) - 1


@torch.no_grad()
def nearest_generated(decoder: Decoder, images: Images, latent: int, count: int, seed: int) -> PerSample:
    """The distance of each image to the nearest of ``count`` generated ones, output units."""
    best = torch.full((len(images),), torch.inf, device=images.device, dtype=images.dtype)
    rng, flat = rng_from(images.device, seed, GENERATED), images.flatten(1)
    for done in range(0, count, AT_ONCE):
        z = torch.randn(min(AT_ONCE, count - done), latent, generator=rng, device=images.device, dtype=images.dtype)
        best = torch.minimum(best, torch.cdist(flat, decoder(z).flatten(1)).amin(1))
    return best


def at_codes(decoder: Decoder, z: Latents, how: How) -> dict[str, PerSample]:
    r"""What is measured at a latent, on the image of the decoder, each larger where it points to memorisation.

    With the singular values :math:`\sigma_i` of the Jacobian at the latent: minus the log volume,
    :math:`-\sum_{i \le r} \log \sigma_i`; the log density, which is that and the log prior; minus the decay; and minus
    the number of singular values above a share of the largest.

    NaN stands where the Jacobian has a lower rank than is asked for, at the latent or about it: where most outputs are
    saturated, a generator has no volume to speak of.
    """
    spectrum = singular_values(decoder, z)

    def density(rows: Rows) -> PerSample:
        return log_density_from(spectrum[rows], decoder, z[rows], how.rank)

    def peak(rows: Rows) -> PerSample:
        return -decay(decoder, z[rows], rank=how.rank, radii=how.radii)

    log_p = where_of_rank(density, len(z))
    return {
        "small volume": log_p - log_prior(z).double().cpu(),
        "density": log_p,
        "sharp peak": where_of_rank(peak, len(z)),
        "few dimensions": -(spectrum > how.threshold * spectrum[:, :1]).sum(1).to(z.dtype),
    }


def where_of_rank(measure: Callable[[Rows], PerSample], count: int) -> PerSample:
    """What a measure says of rows, and NaN at those where it refuses the rank that is asked for.

    Args:
        measure: of rows, all at once; it raises a ValueError that speaks of the rank if one of them lacks it.
        count: rows.
    """
    parts, waiting = [], [torch.arange(count)]
    while waiting:
        rows = waiting.pop()
        try:
            parts.append(measure(rows))
        except ValueError as error:
            if "the Jacobian has rank" not in str(error):
                raise
            if len(rows) == 1:
                parts.append(torch.full((1,), torch.nan))
            else:
                waiting += reversed(rows.chunk(2))
    return torch.cat([part.double().cpu() for part in parts])


def _search(decoder: Decoder, x: Images, latent: int, seed: int, how: How) -> Recovery:
    rng = rng_from(x.device, seed, STARTS)
    return recover(decoder, x, latent=latent, steps=how.iterations, scale=how.start, rng=rng)
