"""Does a near-duplicate of an image come out of a model? Asked of learnt models and of samplers that know the answer.

A sampler of *kernels* draws a training row and adds normal noise of one width to it. Its density is known, so that what
the presence of a row does to an image is known, too.
"""

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from lib.measures.axes import Decoder
from lib.measures.copying import THIRD
from lib.measures.nearest import nearest

AT_ONCE = 500
"""generated images in memory at a time"""

Points = Float[Tensor, "n pixels"]
Made = Float[Tensor, "made pixels"]
Index = Int64[Tensor, " chosen"]


@torch.no_grad()
def generated(decoder: Decoder, latent: int, count: int, *, rng: torch.Generator) -> Made:
    """Images that a decoder makes of standard normal latents, as vectors.

    Args:
        decoder: of latents to images.
        latent: their dimension.
        count: how many.
        rng: the source of the latents, on the decoder's device.
    """
    z = torch.randn(count, latent, generator=rng, device=rng.device)
    return torch.cat([decoder(some).flatten(1) for some in z.split(AT_ONCE)])


def emitted(samples: Made, images: Points, *, threshold: float = THIRD) -> Bool[Tensor, " n"]:
    """Which images a near-duplicate of is among the samples.

    A sample is a near-duplicate of its nearest image if it is nearer to it than a share of the distance to the second
    nearest.

    Args:
        samples: what a model made.
        images: different ones.
        threshold: the share; :func:`lib.measures.copying.neighbour_ratio_null` says how often chance is below it.

    Example:
        >>> emitted(torch.tensor([[0.1], [0.5]]), torch.tensor([[0.0], [1.0]]))
        tensor([ True, False])
    """
    distances, which = nearest(samples, images, 2)
    found = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    found[which[distances[:, 0] < threshold * distances[:, 1], 0]] = True
    return found


def kernel_samples(rows: Points, count: int, width: float, *, rng: torch.Generator) -> Made:
    """Rows drawn with replacement, each with normal noise of standard deviation ``width`` on every pixel."""
    chosen = torch.randint(len(rows), (count,), generator=rng, device=rows.device)
    return rows[chosen] + width * torch.randn(count, rows.shape[1], generator=rng, device=rows.device, dtype=rows.dtype)


def kernel_effect(
    rows: Points, copies: Float[Tensor, " n"], width: float, which: Index, removed: Float[Tensor, " chosen"]
) -> Float[Tensor, " chosen"]:
    r"""How much log p at training images falls when some of their copies are removed, in nats.

    .. math:: \log p(x) = \text{const} + \log \sum_i \tfrac{c_i}{\sum_j c_j} \exp(-\|x - t_i\|^2 / (2 h^2))

    Args:
        rows: different training images.
        copies: how often each is in the training set.
        width: the standard deviation h.
        which: the images.
        removed: how many copies of each of these are taken away.

    Example:
        Of four rows, three are copies of the image, and the fourth is far away. Without one copy, two of three are.

        >>> rows, copies = torch.tensor([[0.0], [100.0]]), torch.tensor([3.0, 1.0])
        >>> kernel_effect(rows, copies, 1.0, torch.tensor([0]), torch.tensor([1.0])).exp()
        tensor([1.1250])
    """
    squares = torch.cdist(rows[which], rows, compute_mode="donot_use_mm_for_euclid_dist").square()
    others = copies.log() - squares / (2 * width**2)
    others[torch.arange(len(which)), which] = -torch.inf
    others, own, rest = others.logsumexp(1), copies[which], copies.sum() - copies[which]

    def log_p(of: Tensor) -> Tensor:
        return torch.logaddexp(others, of.log()) - (rest + of).log()

    return log_p(own) - log_p(own - removed)


def width_of(share: float, rows: Points) -> float:
    """The width at which the noise of a kernel is as long as a share of the median distance between nearest rows.

    Args:
        share: of that distance.
        rows: different images; noise in d pixels has the length of the width times the square root of d.
    """
    own = torch.arange(len(rows), device=rows.device)
    between = nearest(rows, rows, 1, without=own)[0].median()
    return share * float(between) / math.sqrt(rows.shape[1])
