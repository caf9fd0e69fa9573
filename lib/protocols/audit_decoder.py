"""A decoder's training against its held-out images: how well a search finds them, and what is about their latents.

A search that does not converge, or ends elsewhere from another start, measures the search and not the generator. It is
given more steps until it does neither, or the result is called undecided.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lib.measures.axes import Decoder, Images, Latents, PerSample, SingularValues
from lib.measures.density import log_prior
from lib.measures.intervals import number
from lib.measures.jacobian import singular_system, singular_values
from lib.measures.paths import travel
from lib.measures.recovery import recover
from lib.models.draws import rng_from
from lib.protocols.audit_results import Finding, Section
from lib.protocols.audit_two_sides import finding, gap, joint, lower

STEPS = (50, 150, 400)
"""iterations of the searches, the next if the last were not enough"""
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
    """share of images whose two searches end with errors within a tenth of each other"""

    @property
    def decided(self) -> bool:
        """Whether the errors are the generator's, not the search's."""
        return self.converged >= CONVERGED and self.agreed >= AGREED


def search(decoder: Decoder, images: Images, latent: int, *, seed: int, progress: Callable[[str], None]) -> Searched:
    """Search for all images twice, from other starts, with more and more steps until it is decided."""
    for steps in STEPS:
        progress(f"latents of {len(images)} images, {steps} steps")
        rngs = [rng_from(images.device, seed, 6, start) for start in range(2)]
        runs = [recover(decoder, images, latent=latent, steps=steps, scale=SCALE, rng=rng) for rng in rngs]
        errors = torch.stack([run.error for run in runs])
        least = errors.nan_to_num(torch.inf).amin(0)
        agreed = ((errors - least).abs() <= 0.1 * least).all(0).double().mean()
        best = errors.nan_to_num(torch.inf).argmin(0)
        z = torch.stack([run.z for run in runs])[best, torch.arange(len(images))]
        converged = torch.stack([run.converged for run in runs]).double().mean()
        found = Searched(z, least.where(least.isfinite(), torch.nan), steps, float(converged), float(agreed))
        if found.decided:
            break
    return found


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


def local(decoder: Decoder, z: Latents) -> Local:
    """Measure about latents. Points at which the decoder has a lower rank have no volume and no decay: they are NaN."""
    spectrum = spectra(decoder, z)
    above = (spectrum > RANK_SHARE * spectrum[:, :1]).double().sum(1).where(spectrum[:, 0] > 0, torch.nan)
    rank = max(1, int(above.nanmedian())) if above.isfinite().any() else 1
    return Local(spectrum, rank, log_volume(spectrum, rank), above, decay(decoder, z, rank, spectrum))


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


def decay(decoder: Decoder, z: Latents, rank: int, spectrum: SingularValues) -> PerSample:
    r"""The decay of the density about latents, as :func:`lib.measures.paths.decay`, NaN where the rank is too low.

    .. math:: \eta(r) = (\log p(r) + \log p(-r) - 2 \log p(0)) / r
    """
    found, known = torch.full_like(z[:, 0], torch.nan), spectrum.isfinite().all(1)
    if not known.any():
        return found
    start = z[known]
    step = singular_system(decoder, start).vectors[:, 0]
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
    progress: Callable[[str], None],
) -> tuple[Section, Searched]:  # fmt: skip
    """Search for images of both sides, and compare what is found.

    Args:
        decoder: latents to images.
        train: training images, in the decoder's output units.
        held_out: held-out images.
        latent: number of latents.
        seed: of the starts and exchanges.
        data_dimension: that of the images, beside which the decoder's is read.
        forward: whether the decoder can be differentiated in forward mode.
        progress: told what is done next.

    Returns:
        The section, and the latents found, training images first.
    """
    found = search(decoder, torch.cat([train, held_out]), latent, seed=seed, progress=progress)
    notes = [_searched(found)]
    listed = [_recovery(found, len(train), seed)]
    if forward:
        progress("the decoder about the latents found")
        try:
            listed += _about(local(decoder, found.z), len(train), seed, data_dimension, notes)
        except (RuntimeError, ValueError) as error:  # what torch cannot differentiate
            notes.append(f"Decay, volume and dimension were not measured: {' '.join(str(error).split())}")
    else:
        notes.append("Decay, volume and dimension were not measured: the decoder has no derivatives in forward mode.")
    return Section("decoder", listed, joint(listed), "", notes), found


def _searched(found: Searched) -> str:
    said = (
        f"{number(100 * found.converged)} % of the searches converged within {found.steps} steps, and two searches "
        f"from other starts end with errors within a tenth of each other for {number(100 * found.agreed)} %."
    )
    if found.decided:
        return said
    return f"Undecided: the search is what is measured, not the generator. {said} p is exact all the same."


def _recovery(found: Searched, split: int, seed: int) -> Finding:
    reads = (
        "By what share the median recovery error of the training images is below that of the held-out images: zero, "
        "give or take the band, if the generator makes both alike; positive where it makes its training images better."
    )
    name = "recovery gap" if found.decided else f"recovery gap{UNDECIDED}"
    return finding(name, found.error[:split], found.error[split:], gap, reads, unit="share", seed=seed, rule=TENTH)


def _about(about: Local, split: int, seed: int, data_dimension: float, notes: list[str]) -> list[Finding]:
    notes.append(
        f"The density has rank {about.rank}: the median number of singular values above a tenth of the largest. The "
        f"images have {number(data_dimension)} dimensions. Points of lower rank are counted as missing."
    )
    measured = [
        ("decay", about.decay, "nats per output unit", "How much deeper the density falls about the latents found for "
         "training images than about those of held-out images: positive where training images sit on sharper peaks."),
        ("log volume", about.log_volume, "nats", "How much smaller the decoder's volume is about training images: "
         "positive where they are crowded into less of the output than held-out images are."),
        ("local dimension", about.dimension, "dimensions", "How many dimensions fewer the decoder has about training "
         "images than about held-out images."),
    ]  # fmt: skip
    listed = []
    for name, values, unit, reads in measured:
        sides: list[Float[Tensor, " side"]] = [values[:split], values[split:]]
        try:
            listed.append(finding(name, *sides, lower, reads, unit=unit, seed=seed))
        except ValueError as error:
            notes.append(f"Not measured: {error}.")
    return listed
