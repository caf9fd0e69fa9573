"""Which variance makes held-out images likely? The evidence of models of one family, compared image by image.

The likelihoods of Arvanitidis et al. 2018, section 5, by quadrature over both latents, with importance sampling beside
it.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from lib.measures.axes import Images, PerSample
from lib.measures.intervals import Estimate, estimate, mean_of_few
from lib.measures.likelihood import log_evidence, log_evidence_quadrature

Evidences = Float[Tensor, "models images"]


@runtime_checkable
class Model(Protocol):
    """A model with two latents, its encoder and its decoder."""

    encode: Callable[[Tensor], Distribution]
    decode: Callable[[Tensor], Distribution]


class Judged(NamedTuple):
    """The evidence of images under several models, by two methods, in nats."""

    log_p: Evidences
    """by quadrature"""
    change: Evidences
    """by which the last refinement of the quadrature changed it"""
    sampled: Evidences
    """by importance sampling from the encoder"""
    ess: Evidences
    """effective number of those samples"""


class Gain(NamedTuple):
    """By how many nats per image the evidence under one kind of model is higher than under another."""

    over_images: Estimate
    """each image averaged over the models, with the interval over images"""
    over_models: Estimate
    """each model averaged over the images, with the interval over models"""
    higher: float
    """share of the images for which it is higher"""

    @property
    def over_both(self) -> Estimate:
        """With the errors of both intervals."""
        return self.over_images.widened((self.over_models.high - self.over_models.low) / 2)


def judge(
    models: Sequence[Model],
    images: Images,
    *,
    samples: int,
    rngs: Sequence[torch.Generator],
    executor: Executor,
) -> Judged:
    """The evidence of images under each model, by quadrature and by importance sampling.

    Args:
        models: with two latents.
        images: held out, on the models' device.
        samples: of the importance sampling, for each image.
        rngs: sources of random numbers for the samples, one for each model.
        executor: where the models are judged side by side.
    """

    def one_model(model: Model, rng: torch.Generator) -> tuple[Tensor, ...]:
        exact = log_evidence_quadrature(model.decode, images)
        drawn = log_evidence(model.encode, model.decode, images, samples, generator=rng)
        return tuple(values.double().cpu() for values in (*exact, *drawn))

    return Judged(*map(torch.stack, zip(*executor.map(one_model, models, rngs), strict=True)))


def gain(first: Evidences, second: Evidences, *, seed: int) -> Gain:
    """How much higher the first evidences are than the second, paired by model and image.

    Args:
        first: evidences under the models of one kind, nats.
        second: evidences under those of another kind, nats.
        seed: of the bootstrap.
    """
    differences = first - second
    by_image = differences.mean(0)
    higher = float((by_image > 0).double().mean())
    return Gain(estimate(by_image, seed=seed), mean_of_few(differences.mean(1)), higher)


def sampling_error(judged: Judged) -> Estimate:
    """Nats per image by which importance sampling is above the quadrature, with the interval over models."""
    return mean_of_few((judged.sampled - judged.log_p).mean(1))


def coarseness(decode: Callable[[Tensor], Distribution], images: Images, log_p: PerSample) -> float:
    """The most by which a quadrature that starts from cells of half the width differs from evidences, nats.

    Args:
        decode: from ``[batch, 2]`` to :math:`p(x | z)`, one log probability per image.
        images: as the model observes them.
        log_p: their evidences by a quadrature with the usual cells.
    """
    finer = log_evidence_quadrature(decode, images, side=128).log_p.double().cpu()
    return float((finer - log_p).abs().max())
