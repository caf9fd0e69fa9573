"""What random walks look like: how much the image changes with each of their steps."""

import torch
from jaxtyping import Float
from scipy.stats import chi2
from torch import Tensor

from lib.measures.axes import Decoder, Latents
from lib.measures.curves import chords
from lib.measures.intervals import Estimate, share
from lib.measures.walks import walk
from lib.protocols.wandering import equal_step


def changes(
    decoder: Decoder, metric: Decoder, codes: Latents, *, walkers: int, steps: int, step: float, rng: torch.Generator
) -> tuple[Float[Tensor, "times walkers latent"], Float[Tensor, "walkers steps"]]:
    """Random walks by a metric from the first codes, and how much a decoder's image changes with each of their steps.

    Args:
        decoder: draws the images.
        metric: the decoder whose metric gives the steps; with the identity, the walk is Euclidean.
        codes: of the data, all of them typical.
        walkers: how many walk.
        steps: of each.
        step: standard deviation of a step in each latent at a typical code, latent units.
        rng: the source of random numbers for the steps.

    Returns:
        Where the walkers were, NaN after one is lost, and the changes, output units.
    """
    scale = equal_step(metric, codes, step)
    z = walk(metric, codes[:walkers], steps, scale, rng=rng).z
    return z, chords(decoder, z.transpose(0, 1))


def unevenness(changed: Float[Tensor, "walkers steps"]) -> Float[Tensor, " walkers"]:
    """Standard deviation over mean of the changes along each walk: zero if all steps change the image alike."""
    return changed.std(1) / changed.mean(1)


def outside(z: Float[Tensor, "times walkers latent"], chance: float = 0.001) -> Estimate:
    """The share of walkers that end where the prior N(0, I) hardly is, or are lost, with its exact 95 % interval.

    Args:
        z: where they were.
        chance: of a draw from the prior to be as far from the origin.
    """
    last = z[-1].square().sum(1)
    inside = last < chi2.isf(chance, z.shape[2])
    return share(int((~inside).sum()), len(inside))
