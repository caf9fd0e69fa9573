"""A decoder's training against its held-out images: how well a search finds them, and what is about their latents.

A search that does not converge, or ends elsewhere from another start, measures the search and not the generator. It is
given more steps and starts until it does neither, or the result is called undecided.
"""

from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lib.measures.axes import Decoder, Images, Latents, PerSample, SingularValues
from lib.measures.density import log_prior
from lib.measures.intervals import number
from lib.measures.jacobian import singular_system, singular_values
from lib.measures.minimise import minimise
from lib.measures.paths import travel
from lib.models.draws import rng_from
from lib.protocols import audit_plateaus
from lib.protocols.audit_results import Finding, Keep, Section
from lib.protocols.audit_two_sides import finding, gap, joint, lower

STEPS = (50, 150, 400)
"""iterations of the searches in all, more of them if the last were not enough"""
TOLERANCE = 1e-9
"""relative decrease of the error in a step, below which a search has converged"""
ZERO = 1e-6
"""mean squared errors, of a range of 1, below which two do not differ"""
PLANTED = "this decoder, with all training images planted in it"
SCALE = 0.1
"""standard deviation of the starts, in that of the prior"""
CONVERGED = 0.9
"""share of searches that must have ended because nothing changed any more"""
AGREED = 0.8
"""share of images whose two searches must end with errors within a tenth of each other"""
RANK_SHARE = 0.1
"""of the largest singular value; what is above counts as a dimension"""
UNDECIDED = " (undecided)"
RADII = (0.5, 1.0)
"""of the decay, in output units; Feiszli 2017"""
TENTH = ("a gap above 10 %", lambda value: value > 0.1)
"""the rule of Webster et al. 2019"""


HeldOut = Float[Tensor, "held_out *image"]


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
    spectrum = spectra(decoder, z)
    above = (spectrum > RANK_SHARE * spectrum[:, :1]).double().sum(1).where(spectrum[:, 0] > 0, torch.nan)
    rank = rank or (max(1, int(above.nanmedian())) if above.isfinite().any() else 1)
    known, direction = spectrum.isfinite().all(1), torch.zeros_like(z)
    if known.any():
        direction[known] = singular_system(decoder, z[known]).vectors[:, 0]
    fall = decay(decoder, z, rank, spectrum, direction)
    return Local(spectrum, rank, log_volume(spectrum, rank), above, fall, direction)


def spectra(decoder: Decoder, z: Latents) -> SingularValues:
    """Singular values; those of a point at which the Jacobian is not finite are NaN."""
    try:
        return singular_values(decoder, z)
    except ValueError:
        if len(z) == 1:
            return torch.full((1, min(z.shape[1], decoder(z).numel())), torch.nan, dtype=z.dtype)
        return torch.cat([spectra(decoder, point) for point in z.split(1)])


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
        plus, minus = (log_prior(end) - log_volume(spectra(decoder, end), rank).to(z) for end in ends)
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
    images = torch.cat([train, held_out])
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
    numbers, copies = _numbers(found, about), _numbers(copied, there)
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
