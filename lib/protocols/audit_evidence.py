"""An encoder's reconstructions, or log p of a model that has it: training images against held-out images."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from lib.measures.axes import Decoder, Images, Latents, PerSample
from lib.measures.intervals import number
from lib.measures.likelihood import log_evidence
from lib.models.draws import rng_from
from lib.protocols.audit_results import Finding, Section
from lib.protocols.audit_two_sides import finding, gap, joint, lower

SAMPLES = 64
"""importance samples of each evidence"""
BATCH = 500

BothCodes = Float[Tensor, "both latent"]
HeldOut = Float[Tensor, "held_out channels height width"]
Answer = Callable[[Tensor], Tensor | Distribution | tuple]


def encoded(encode: Answer, x: Images) -> tuple[Latents, bool]:
    """The codes of images, and whether an encoder gives distributions: else codes, or a tuple of means and more.

    Raises:
        ValueError: codes that are not ``[batch, latent]``.
    """
    parts = []
    for part in x.split(BATCH):
        given = encode(part)
        posterior = isinstance(given, Distribution)
        first = given.mean if isinstance(given, Distribution) else given[0] if isinstance(given, tuple) else given
        parts.append(first.detach().to(x))
    mean = torch.cat(parts)
    if mean.ndim != 2 or len(mean) != len(x):
        raise ValueError(f"the encoder gives {list(mean.shape)} for {len(x)} images; expected [images, latent]")
    return mean, posterior


def encoder(
    encode: Answer | None, decoder: Decoder, train: Images, held_out: HeldOut, *, seed: int,
    codes: BothCodes | None = None,
) -> Section:  # fmt: skip
    """Reconstruction errors of both sides, and their evidence if the encoder gives a distribution.

    Args:
        encode: from images to codes or their distribution.
        decoder: from codes to images.
        train: training images.
        held_out: held-out images.
        seed: of exchanges and importance samples.
        codes: those of training and then of held-out images, in place of an encoder.
    """
    both, split = torch.cat([train, held_out]), len(train)
    with torch.no_grad():
        z, posterior = encoded(encode, both) if codes is None else (codes, False)
        made = torch.cat([decoder(part) for part in z.split(BATCH)])
    error = (made - both).flatten(1).square().mean(1)
    reads = (
        "By what share the median reconstruction error of the training images is below that of the held-out images. "
        "An encoder that overfits gives this, too, with an innocent decoder."
    )
    copycat = ("an encoder and decoder that give training images back", torch.zeros(split))
    sides = error[:split], error[split:]
    listed = [finding("reconstruction gap", *sides, gap, reads, unit="share", seed=seed, copycat=copycat)]
    notes = ["There are codes and no distribution of them, so that there is no evidence."]
    if posterior:
        scale = float(error[split:].mean().sqrt())
        evidence = log_evidence(
            lambda x: _vectors(encode(x)), lambda z: Independent(Normal(decoder(z), scale), both.ndim - 1),
            both, SAMPLES, generator=rng_from(both.device, seed, 7),
        )  # fmt: skip
        listed.append(_difference(evidence.log_p, split, seed))
        notes = [
            f"The evidence is of a normal likelihood of standard deviation {number(scale)} (that of the held-out "
            f"reconstructions) about the decoder, by {SAMPLES} importance samples: {_effective(evidence.ess)}"
        ]
    return Section("encoder", listed, joint(listed), "", notes)


def _vectors(posterior: Distribution) -> Distribution:
    """One distribution per image, whether or not the coordinates were declared to be one event."""
    if len(posterior.batch_shape) == 1:
        return posterior
    return Independent(posterior, len(posterior.batch_shape) - 1)


def log_p(function: Answer, train: Images, held_out: HeldOut, *, seed: int) -> Section:
    """Log probabilities of both sides under a model that states them, with effective sample sizes if it gives them."""
    both, split = torch.cat([train, held_out]), len(train)
    with torch.no_grad():
        answers = [function(part) for part in both.split(BATCH)]
    pairs = [given if isinstance(given, tuple) else (given, None) for given in answers]
    values = torch.cat([first.detach().flatten().double() for first, *_ in pairs])
    if len(values) != len(both):
        raise ValueError(f"log p has {len(values)} numbers for {len(both)} images; expected one each")
    listed = [_difference(values.where(values.isfinite(), torch.nan), split, seed)]
    sizes = [rest[0] for _, *rest in pairs]
    known = all(isinstance(size, Tensor) for size in sizes)
    notes = [f"As the model states it: {_effective(torch.cat(sizes))}" if known else "Taken as exact."]
    return Section("log p", listed, joint(listed), "", notes)


def _difference(values: Float[Tensor, " images"], split: int, seed: int) -> Finding:
    reads = (
        "By how many nats the mean log probability of the training images is above that of the held-out images: zero, "
        "give or take the band, without overfitting."
    )
    most = torch.full((split,), -float(values.nan_to_num(-torch.inf).max()))
    copycat = ("training images as probable as the most probable of all", most)
    sides = -values[:split], -values[split:]
    return finding("log probability", *sides, lower, reads, unit="nats", seed=seed, copycat=copycat)


def _effective(size: PerSample) -> str:
    few = float((size < 2).double().mean())
    text = f"the median effective sample size is {number(float(size.median()))}"
    if math.isclose(few, 0):
        return text + "."
    return f"{text}, and {number(100 * few)} % of the estimates rest on fewer than two samples: read them with care."
