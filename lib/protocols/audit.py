"""The audit of a generator from elsewhere: what its samples, its decoder, its encoder and its log p say of its images.

Each kind of access is a section; what is not given is skipped, and said to be. A section that fails, because a model
does, says why, and the others go on.
"""

import math
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lib.measures.axes import Decoder, Images, Latents
from lib.measures.nearest import comparable
from lib.models.draws import rng_from
from lib.protocols import audit_decoder, audit_evidence, audit_lists, audit_models, audit_samples, audit_search
from lib.protocols.audit_lists import Sides
from lib.protocols.audit_models import LogP, Trained
from lib.protocols.audit_results import Audit, Counts, Finding, Keep, Limit, PerImage, Pictures, Section
from lib.protocols.exchangeable import sides as compared

MAXIMUM = 5000
SEARCHED = 200
"""images of a side whose latents are searched for"""
EVALUATED = 1000
"""images of a side that an encoder or log p is asked about"""
DRAWN = 1000
"""samples that are drawn from a decoder, or as many as there are images of a side"""
SHOWN = 8
"""most suspicious images that are shown, and as many least suspicious"""
FEWEST = 16
COST = 100_000_000
"""numbers of the Jacobians of the images of a side that are searched for"""
BATCH = 500
FAILURES = (ValueError, TypeError, RuntimeError, FloatingPointError, AttributeError, IndexError)
"""what a model from elsewhere may raise"""

Progress = Callable[[str], None]
HeldOut = Float[Tensor, "held_out channels height width"]
Samples = Float[Tensor, "samples channels height width"]
HeldOutCodes = Float[Tensor, "held_out latent"]


class Access(NamedTuple):
    """What there is of a model."""

    samples: Samples | None
    decoder: Decoder | None
    latent: int | None
    encode: Callable | None
    log_p: Callable | None
    search: bool
    """whether gradients reach the decoder's latents"""
    forward: bool
    """whether the decoder can be differentiated in forward mode"""
    missing: dict[str, str]
    """by kind of access, why it is not there"""
    batch: int
    """searches side by side"""
    codes: tuple[Latents, HeldOutCodes] | None
    """of training and of held-out images, if they are known"""
    models: tuple[LogP, Trained] | None
    """log p of images under several models, and whether these were trained with them"""


def audit(
    train: Images,
    held_out: HeldOut,
    *,
    samples: Samples | None = None,
    decoder: Decoder | None = None,
    latent: int | None = None,
    encode: Callable | None = None,
    log_p: Callable | None = None,
    search: bool = True,
    forward: bool = True,
    codes: tuple[Latents, HeldOutCodes] | None = None,
    models: tuple[LogP, Trained] | None = None,
    missing: dict[str, str] | None = None,
    seed: int = 0,
    maximum: int = MAXIMUM,
    batch: int = BATCH,
    progress: Progress | None = None,
    keep: Keep | None = None,
) -> Audit:
    """Measure all that the access allows; without samples, a decoder's are drawn from the standard normal prior.

    Args:
        train: images in [0, 1] that the model was trained with.
        held_out: images of the same source that it has not seen.
        samples: images that it made, in [0, 1].
        decoder: latents to images in [0, 1].
        latent: number of its latents.
        encode: images to codes, a tuple of codes and more, or a distribution of codes.
        log_p: images to log probabilities in nats, or to those and their effective sample sizes.
        search: whether gradients reach the decoder's latents.
        forward: whether the decoder can be differentiated in forward mode.
        codes: latents of all training and of all held-out images, in place of an encoder.
        models: log p of any images under several models, and whether each model was trained with each image.
        missing: by kind of access, why it is not there, to be said in place of "none was given".
        seed: of everything that is drawn.
        maximum: images of a side, and samples, that are compared.
        batch: searches side by side, which bounds the memory of their gradients.
        progress: told what is done next.
        keep: of a name and a function without arguments, its result, from now or from an earlier call. It must depend
            on all other arguments.

    Raises:
        ValueError: images of different shapes or not finite, too few of them, or a decoder without number of latents.
    """
    say, kept = progress or (lambda _: None), _said_and(keep, progress)
    if decoder is not None and latent is None:
        raise ValueError("a decoder needs the number of its latents")
    comparable(("training images", train, 1), *[("samples", samples, 2)] * (samples is not None))
    duplicates = audit_samples.near_twice(train, held_out)
    sides = audit_lists.sides(train, held_out, maximum, seed=seed)
    access = Access(samples, decoder, latent, encode, log_p, search, forward, missing or {}, batch, codes, models)
    given = sides.images.split(len(sides.train))  # views: the images are large
    exchangeable = kept(
        "whether the two sides differ without any model",
        lambda: compared(*given, rng=np.random.default_rng([seed, 16])),
    )
    access, notes = _with_samples(access, sides, train, seed)
    section, limits, found, dimension = kept("samples", lambda: _sampled(access, sides, duplicates, maximum, seed, say))
    sections = {"samples": section, **_models(access, sides, dimension, seed, kept)}
    pictures = found and kept("pictures", lambda: _pictures(found, access, (train, held_out), maximum, seed))
    counts = _counts(train, held_out, access, sides, maximum)
    notes = [*(f"{text[:1].upper()}{text[1:]}." for text in exchangeable.notes), *notes]
    return Audit(counts, sections, limits, found, pictures, notes, seed, exchangeable)


def _said_and(keep: Keep | None, progress: Progress | None) -> Keep:
    """Says what is made next, and makes or keeps it."""

    def kept(name: str, make: Callable) -> object:
        if progress is not None:
            progress(name)
        return make() if keep is None else keep(name, make)

    return kept


def _with_samples(access: Access, sides: Sides, train: Images, seed: int) -> tuple[Access, list[str]]:
    """A decoder's own samples if there are no others."""
    if access.samples is not None or access.decoder is None:
        return access, []
    count = max(len(sides.train), DRAWN)
    z = torch.randn(count, access.latent, generator=rng_from(train.device, seed, 8)).to(train)
    try:
        with torch.no_grad():
            made = torch.cat([access.decoder(part) for part in z.split(BATCH)]).to(train)
        comparable(("training images", train, 1), ("the decoder's images", made, 2))
    except FAILURES as error:
        return access._replace(missing={**access.missing, "samples": f"the decoder failed: {error}"}), []
    note = f"The {len(made):,} samples are the decoder's, of latents drawn from a standard normal distribution."
    return access._replace(samples=made), [note]


def _sampled(
    access: Access, sides: Sides, duplicates: Finding, maximum: int, seed: int, say: Progress
) -> tuple[Section, list[Limit], PerImage | None, float]:
    """The section of samples, the limits, the images and the dimension."""
    if access.samples is None:
        skipped = access.missing.get("samples", "none were given")
        return Section("samples", [duplicates], skipped=skipped), [], None, math.nan
    points = _some(access.samples, maximum, seed).flatten(1)
    measured = audit_samples.measure(sides, points, seed=seed, progress=say, duplicates=duplicates)
    return measured.section, measured.limits, measured.per_image, measured.dimension.value


def _some(samples: Samples, maximum: int, seed: int) -> Tensor:
    if len(samples) <= maximum:
        return samples
    chosen = torch.randperm(len(samples), generator=rng_from(samples.device, seed, 9))[:maximum]
    return samples[chosen.sort().values]


def _models(access: Access, sides: Sides, dimension: float, seed: int, keep: Keep) -> dict[str, Section]:
    """The sections of decoder, encoder and log p."""
    train, held_out = sides.images.split(len(sides.train))
    asked = train[:EVALUATED], held_out[:EVALUATED]
    count = searched(access.latent or 1, train[0].numel())

    def decoded() -> Section:
        options = {"seed": seed, "data_dimension": dimension, "forward": access.forward, "batch": access.batch}
        return audit_decoder.measure(
            access.decoder, train[:count], held_out[:count], access.latent, **options, keep=keep
        )

    def encoded() -> Section:
        rows = sides.train[:EVALUATED], sides.held_out[:EVALUATED]
        codes = access.codes and torch.cat([of[at] for of, at in zip(access.codes, rows, strict=True)]).to(train)
        return audit_evidence.encoder(access.encode, access.decoder, *asked, seed=seed, codes=codes)

    coded = access.encode if access.codes is None else access.codes
    wanted = {
        "decoder": (access.decoder if access.search else None, decoded),
        "encoder": (coded if access.decoder is not None else None, encoded),
        "log p": (access.log_p, lambda: audit_evidence.log_p(access.log_p, *asked, seed=seed)),
        "several models": (access.models, lambda: audit_models.measure(*access.models, seed=seed)),
    }
    return {name: _section(name, access, *parts, keep) for name, parts in wanted.items()}


def searched(latent: int, pixels: int) -> int:
    """How many images of a side are searched for: fewer where a Jacobian has many numbers.

    Example:
        >>> searched(16, 784), searched(512, 64 * 64 * 3)
        (200, 16)
    """
    return max(FEWEST, min(SEARCHED, COST // (latent * pixels)))


def _section(name: str, access: Access, given: object, measure: Callable[[], Section], keep: Keep) -> Section:
    if given is None:
        return Section(name, skipped=access.missing.get(name, _reason(name, access)))
    try:
        return keep(name, measure)
    except FAILURES as error:  # not kept: another call may have more memory
        return Section(name, skipped=f"it failed: {' '.join(str(error).split())}")


def _reason(name: str, access: Access) -> str:
    if name == "decoder" and access.decoder is not None:
        return "no gradients reach its latents, so that they cannot be searched for"
    return "it needs a decoder" if name == "encoder" and access.encode is not None else "none was given"


def _pictures(found: PerImage, access: Access, given: tuple[Tensor, Tensor], maximum: int, seed: int) -> Pictures:
    """The most suspicious training images and the least, beside what belongs to them."""
    count = min(SHOWN, len(found.image) // 2)
    rows = torch.cat([torch.arange(count), torch.arange(len(found.image) - count, len(found.image))])
    training = given[0][found.image[rows]]
    made = None
    if access.decoder is not None and access.search:
        with suppress(*FAILURES), torch.no_grad():
            options = {"seed": seed, "batch": access.batch, "keep": lambda _, make: make()}
            latents = audit_search.search(access.decoder, training, access.latent, **options).z
            made = access.decoder(latents).to(training)
    compared = _some(access.samples, maximum, seed)
    return Pictures(rows, training, made, compared[found.sample[rows]], given[1][found.held_out[rows]])


def _counts(train: Images, held_out: HeldOut, access: Access, sides: Sides, maximum: int) -> Counts:
    samples = 0 if access.samples is None else len(access.samples)
    return Counts(
        len(train), len(held_out), samples, len(sides.train), min(samples, maximum), sides.repeated, sides.shared
    )
