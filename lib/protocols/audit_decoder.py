"""A decoder's training against its held-out images: how well a search finds them, and what is about their latents."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lib.measures.axes import Decoder, Images, Latents, PerSample, SingularValues
from lib.measures.density import log_prior
from lib.measures.intervals import number
from lib.measures.jacobian import singular_system
from lib.measures.paths import travel
from lib.models.draws import rng_from
from lib.protocols import audit_plateaus
from lib.protocols.audit_results import Finding, Keep, Section
from lib.protocols.audit_search import Searched, search
from lib.protocols.audit_two_sides import finding, gap, joint, lower

PLANTED = "this decoder, with all training images planted in it"
RANK_SHARE = 0.1
"""of the largest singular value; what is above counts as a dimension"""
UNDECIDED = " (undecided)"
RADII = (0.5, 1.0)
"""of the decay, in output units; Feiszli 2017"""
TENTH = ("a gap above 10 %", lambda value: value > 0.1)
"""the rule of Webster et al. 2019"""


HeldOut = Float[Tensor, "held_out *image"]


class Local(NamedTuple):
    """What the decoder does about latents; NaN where it is not defined."""

    spectrum: SingularValues
    rank: int
    """of the density: the median number of singular values above a tenth of the largest"""
    log_volume: PerSample
    r""":math:`\sum_{i \le r} \log \sigma_i`"""
    dimension: PerSample
    """number of singular values above a tenth of the largest"""
    decay: PerSample
    """mean over radii of the second difference of the log density about the latent, over the radius"""
    direction: Latents
    """in which the output moves most: the first right singular vector"""


def local(decoder: Decoder, z: Latents, rank: int | None = None) -> Local:
    """Measure about latents. Points at which the decoder has a lower rank have no volume and no decay: they are NaN."""
    spectrum, direction = systems(decoder, z)
    above = (spectrum > RANK_SHARE * spectrum[:, :1]).double().sum(1).where(spectrum[:, 0] > 0, torch.nan)
    rank = rank or (max(1, int(above.nanmedian())) if above.isfinite().any() else 1)
    fall = decay(decoder, z, rank, spectrum, direction)
    return Local(spectrum, rank, log_volume(spectrum, rank), above, fall, direction)


def systems(decoder: Decoder, z: Latents) -> tuple[SingularValues, Latents]:
    """Singular values, and the direction of the first; NaN and zero at a point at which the Jacobian is not finite."""
    try:
        found = singular_system(decoder, z)
        return found.values, found.vectors[:, 0]
    except ValueError:
        if len(z) == 1:
            count = min(z.shape[1], decoder(z).numel())
            return torch.full((1, count), torch.nan, dtype=z.dtype), torch.zeros_like(z)
        values, directions = zip(*(systems(decoder, point) for point in z.split(1)), strict=True)
        return torch.cat(values), torch.cat(directions)


def log_volume(spectrum: SingularValues, rank: int) -> PerSample:
    """The logarithm of the product of the first singular values; NaN where one of them is zero but for rounding.

    Example:
        >>> log_volume(torch.tensor([[2.0, 0.5], [1.0, 0.0]]), 2)
        tensor([0., nan])
    """
    floor = spectrum[:, :1] * 1e-6
    return torch.where(spectrum > floor, spectrum, torch.nan)[:, :rank].log().sum(1)


def decay(decoder: Decoder, z: Latents, rank: int, spectrum: SingularValues, direction: Latents) -> PerSample:
    r"""The decay of the density about latents, as :func:`lib.measures.paths.decay`, NaN where the rank is too low.

    .. math:: \eta(r) = (\log p(r) + \log p(-r) - 2 \log p(0)) / r
    """
    found, known = torch.full_like(z[:, 0], torch.nan), spectrum.isfinite().all(1)
    if not known.any():
        return found
    start, step = z[known], direction[known]
    centre = log_prior(start) - log_volume(spectrum[known], rank).to(z)
    there, back = (travel(decoder, start, side, RADII) for side in (step, -step))
    columns = []
    for column, radius in enumerate(RADII):
        ends = [start + t[:, column, None].nan_to_num(0) * side for t, side in ((there, step), (back, -step))]
        reached = (there + back)[:, column].isfinite()
        plus, minus = (log_prior(end) - log_volume(systems(decoder, end)[0], rank).to(z) for end in ends)
        columns.append(((plus + minus - 2 * centre) / radius).where(reached, torch.nan))
    found[known] = torch.stack(columns).mean(0)
    return found


def measure(
    decoder: Decoder, train: Images, held_out: HeldOut, latent: int, *, seed: int, data_dimension: float, forward: bool,
    batch: int, keep: Keep,
) -> Section:  # fmt: skip
    """Search for images of both sides, and compare what is found; the same of a copycat made of this decoder.

    Args:
        decoder: latents to images.
        train: training images, in the decoder's output units.
        held_out: held-out images.
        latent: number of latents.
        seed: of the starts and exchanges.
        data_dimension: that of the images, beside which the decoder's is read.
        forward: whether the decoder can be differentiated in forward mode.
        batch: searches side by side.
        keep: keeps what is finished.
    """
    # In random order: what a place among others does to the last digits is then the same for both sides.
    images = torch.cat([train, held_out])
    order = torch.randperm(len(images), generator=rng_from(images.device, seed, 21), device=images.device)
    images = images[order]
    options = {"seed": seed, "batch": batch, "keep": keep}
    found = search(decoder, images, latent, **options)
    notes, about = [_searched(found)], None
    if forward:
        try:
            about = keep("the decoder about the latents found", lambda: local(decoder, found.z))
            notes.append(_rank(about.rank, data_dimension))
        except (RuntimeError, ValueError) as error:  # what torch cannot differentiate
            notes.append(f"Decay, volume and dimension were not measured: {' '.join(str(error).split())}")
    else:
        notes.append("Decay, volume and dimension were not measured: the decoder has no derivatives in forward mode.")
    planted = audit_plateaus.planted(
        decoder, images, found.z, about and about.direction, about and about.spectrum[:, 0]
    )
    copied = search(planted, images, latent, **options, name="planted latents")
    there = about and keep("the planted decoder about its latents", lambda: local(planted, copied.z, about.rank))
    numbers, copies = (
        {name: values[order.argsort()] for name, values in _numbers(*each).items()}
        for each in ((found, about), (copied, there))
    )
    listed = _findings(found.decided, numbers, copies, len(train), seed, notes)
    names = [each.name.removesuffix(UNDECIDED) for each in listed]
    tests = {name: (READS[name][0], numbers[name], copies[name]) for name in names}
    limit = keep("how little would be seen", lambda: audit_plateaus.limit(tests, len(train), seed=seed))
    return Section("decoder", listed, joint(listed), "", notes, limit=limit)


def _numbers(found: Searched, about: Local | None) -> dict[str, PerSample]:
    """What is compared, by name."""
    rest = (
        {}
        if about is None
        else {"decay": about.decay, "log volume": about.log_volume, "local dimension": about.dimension}
    )
    return {"recovery gap": found.error, **rest}


def _searched(found: Searched) -> str:
    said = (
        f"{number(100 * found.converged)} % of the searches converged within {found.steps} steps, and two searches "
        f"from other starts end with errors within a tenth of each other for {number(100 * found.agreed)} %."
    )
    if found.decided:
        return said
    return f"Undecided: the search is what is measured, not the generator. {said} p is exact all the same."


def _rank(rank: int, data_dimension: float) -> str:
    return (
        f"The density has rank {rank}: the median number of singular values above a tenth of the largest. The "
        f"images have {number(data_dimension)} dimensions. Points of lower rank are counted as missing."
    )


READS = {
    "recovery gap": (gap, "share", "By what share the median recovery error of the training images is below that of "
     "the held-out images: zero, give or take the band, if the generator makes both alike; positive where it makes its "
     "training images better."),
    "decay": (lower, "nats per output unit", "How much deeper the density falls about the latents found for training "
     "images than about those of held-out images: positive where training images sit on sharper peaks."),
    "log volume": (lower, "nats", "How much smaller the decoder's volume is about training images: positive where they "
     "are crowded into less of the output than held-out images are."),
    "local dimension": (lower, "dimensions", "How many dimensions fewer the decoder has about training images than "
     "about held-out images."),
}  # fmt: skip
"""of each number the statistic, its unit, and how to read it"""


def _findings(
    decided: bool, numbers: dict[str, PerSample], copies: dict[str, PerSample], split: int, seed: int, notes: list[str]
) -> list[Finding]:
    listed = []
    for name, values in numbers.items():
        statistic, unit, reads = READS[name]
        rule = TENTH if name == "recovery gap" else None
        options = {"unit": unit, "seed": seed, "rule": rule, "copycat": (PLANTED, copies[name][:split])}
        try:
            listed.append(finding(name, values[:split], values[split:], statistic, reads, **options))
        except ValueError as error:
            notes.append(f"Not measured: {error}.")
    if not decided and listed and listed[0].name == "recovery gap":
        listed[0] = listed[0]._replace(name=f"recovery gap{UNDECIDED}")
    return listed
