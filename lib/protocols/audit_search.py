"""The search for the latents of images.

A search that does not converge, or ends elsewhere from another start, measures the search and not the generator. It is
given more steps and starts until it does neither, or the result is called undecided.
"""

from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lib.measures.axes import Decoder, Images, Latents, PerSample
from lib.measures.minimise import minimise
from lib.models.draws import rng_from
from lib.protocols.audit_results import Keep

STEPS = (50, 150, 400)
"""iterations of the searches in all, more of them if the last were not enough"""
TOLERANCE = 1e-9
"""relative decrease of the error in a step, below which a search has converged"""
ZERO = 1e-6
"""mean squared errors, of a range of 1, below which two do not differ"""
SCALE = 0.1
"""standard deviation of the starts, in that of the prior"""
CONVERGED = 0.9
"""share of searches that must have ended because nothing changed any more"""
AGREED = 0.8
"""share of images whose two searches must end with errors within a tenth of each other"""


class Searched(NamedTuple):
    """The latents found for images of both sides, training images first."""

    z: Latents
    error: PerSample
    steps: int
    converged: float
    """share of searches that converged"""
    agreed: float
    """share of images whose two best searches end with errors within a tenth of each other"""

    @property
    def decided(self) -> bool:
        """Whether the errors are the generator's, not the search's."""
        return self.converged >= CONVERGED and self.agreed >= AGREED


class Runs(NamedTuple):
    """Searches of every image from several starts."""

    z: Float[Tensor, "starts images latent"]
    error: Float[Tensor, "starts images"]
    """infinite where nothing was searched, or the search diverged"""
    going: Bool[Tensor, "starts images"]
    """which have not converged yet"""


def search(
    decoder: Decoder, images: Images, latent: int, *, seed: int, batch: int, keep: Keep, name: str = "latents"
) -> Searched:
    """Search for all images from two starts; go on where nothing has converged, and anew where the two disagree.

    Args:
        decoder: latents to images.
        images: all that are searched for.
        latent: number of latents.
        seed: of the starts.
        batch: searches side by side, which bounds the memory.
        keep: keeps the searches after each round.
        name: under which.
    """
    count, done = len(images), 0
    runs = Runs(images.new_zeros(0, count, latent), images.new_zeros(0, count), torch.zeros(0, count, dtype=torch.bool))
    for steps in STEPS:
        further = partial(_further, decoder, images, runs, steps - done, seed=seed, batch=batch)
        runs, done = keep(f"{name} of {count} images, {steps} steps", further), steps
        found = _best(runs, steps)
        if found.decided:
            break
    return found


def _further(decoder: Decoder, images: Images, runs: Runs, steps: int, *, seed: int, batch: int) -> Runs:
    """More steps of searches that have not converged, and a new start, first two, for images without agreement."""
    first, fresh = len(runs.z), 1 if len(runs.z) else 2
    rngs = [rng_from(images.device, seed, 6, first + start) for start in range(fresh)]
    starts = torch.stack([SCALE * torch.randn(runs.z.shape[1:], generator=rng).to(images) for rng in rngs])
    again = ~_agreed(runs.error) if first else torch.ones(len(images), dtype=torch.bool)
    z = torch.cat([runs.z, starts])
    error = torch.cat([runs.error, torch.full_like(starts[..., 0], torch.inf)])
    going = torch.cat([runs.going, again.expand(fresh, -1)])
    for part in going.nonzero().split(batch):
        at = tuple(part.T)
        z[at], error[at], converged = _minimised(decoder, images[at[1]], z[at], steps)
        going[at] = ~converged
    return Runs(z, error, going)


def _minimised(decoder: Decoder, images: Images, z: Latents, steps: int) -> tuple[Latents, PerSample, Tensor]:
    """Where searches end, their mean squared errors, and whether they have converged."""

    def loss(z: Latents, rows: Tensor) -> Tensor:
        return (decoder(z) - images[rows]).flatten(1).square().mean(1)

    return minimise(loss, z, steps, TOLERANCE)


def _agreed(error: Float[Tensor, "starts images"]) -> Bool[Tensor, " images"]:
    least, next_ = error.sort(0).values[:2]
    return next_ <= 1.1 * least + ZERO


def _best(runs: Runs, steps: int) -> Searched:
    least, which = runs.error.min(0)
    tried = runs.going | runs.error.isfinite()
    converged = float((tried & ~runs.going).sum() / tried.sum())
    z = runs.z[which, torch.arange(len(which))]
    error = least.where(least.isfinite(), torch.nan)
    return Searched(z, error, steps, converged, float(_agreed(runs.error).double().mean()))
