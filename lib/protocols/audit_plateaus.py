"""A copycat made of the user's own decoder: what the tests of a decoder say where the answer is known.

The decoder is changed about the latents that were found for some images, and nowhere else: there it makes exactly these
images, and moves in one direction only, as a decoder does that keeps an image whatever the latent is.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lib.measures.axes import Decoder, Images, Latents, PerSample
from lib.protocols.audit_controls import limit as least
from lib.protocols.audit_results import LEVEL, Limit
from lib.protocols.audit_two_sides import LEAST, Statistic

FLAT = 0.95
"""share of a movement that is taken away on a plateau, but in the direction in which the decoder moves most"""
APART = 4
"""widths of a plateau between an image's latent and the nearest other: other images keep their numbers (e^-8)"""
TRIALS = 200
"""divisions, each of which is the true one once"""
Columns = Float[np.ndarray, "tests 2 images"]


def planted(
    decoder: Decoder, images: Images, z: Latents, direction: Latents | None, steepest: PerSample | None
) -> Decoder:
    r"""The decoder with a plateau about the latent of each image.

    .. math:: D'(z) = D\Big(z - c \sum_k \phi_k(z) (I - v_k v_k^T) (z - z_k)\Big)
              + \sum_k \phi_k(z) (x_k - D(z_k)), \quad \phi_k(z) = e^{-\|z - z_k\|^2 / 2 w_k^2}

    The width is a quarter of the distance to the nearest other latent, and one output unit at most.

    Args:
        decoder: latents to images.
        images: what it makes on the plateaus.
        z: their latents.
        direction: of each the direction in which the decoder moves most, which stays; by default none does.
        steepest: of each the singular value of that direction, in output units.
    """
    across = torch.zeros_like(z) if direction is None else direction
    distance = torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf).amin(1)
    width = (distance / APART).clamp(min=1e-6)
    if steepest is not None:
        width = width.minimum(1 / steepest.nan_to_num(0))
    with torch.no_grad():
        rest = images - torch.cat([decoder(part) for part in z.split(64)])

    def changed(new: Latents) -> Tensor:
        apart = new[:, None] - z
        near = (-(apart / width[:, None]).square().sum(2) / 2).exp()
        along = (apart * across).sum(2, keepdim=True) * across
        moved = new - FLAT * (near[..., None] * (apart - along)).sum(1)
        return decoder(moved) + torch.tensordot(near, rest, 1)

    return changed


def limit(tests: dict[str, tuple[Statistic, PerSample, PerSample]], split: int, *, seed: int) -> Limit | None:
    """The smallest share of training images that is seen in 95 % of trials if they are planted in the decoder.

    In a trial a random division of the images is the true one, and so many of its training images have the numbers of
    the planted decoder. Images that lack one of the numbers take no part.

    Args:
        tests: of each the statistic, the numbers of all images, and those of the planted decoder.
        split: how many training images there are.
        seed: of the trials.

    Returns:
        The limit; none if there are too few images.
    """
    if not tests:
        return None
    both = torch.stack([torch.stack(columns) for _, *columns in tests.values()]).double().cpu().numpy()
    both = both[:, :, np.isfinite(both).all((0, 1))]
    half = both.shape[2] // 2
    if half < LEAST:
        return None
    rng = np.random.default_rng([seed, 18, split])
    orders = np.stack([rng.permutation(both.shape[2])[: 2 * half] for _ in range(TRIALS)])
    statistics = [statistic for statistic, *_ in tests.values()]

    def power(number: int) -> float:
        return float(np.mean([_seen(statistics, both, orders, trial, number) for trial in range(TRIALS)]))

    return least("planted", power, half, TRIALS)


def _seen(statistics: list[Statistic], both: Columns, orders: np.ndarray, trial: int, number: int) -> bool:
    """Whether all tests together see so many images of one division among all."""
    chosen, p = orders[trial, :number], []
    for statistic, (values, copies) in zip(statistics, both, strict=True):
        mixed = values.copy()
        mixed[chosen] = copies[chosen]
        sides = np.split(mixed[orders], 2, axis=1)
        found = statistic(*sides)
        p.append((found >= found[trial]).mean())
    return bool(len(p) * min(p) <= LEVEL)
