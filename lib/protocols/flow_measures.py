"""The measures of the four works on flows: dip and decay, search and inversion, curvature, local dimension.

A flow has as many latents as pixels, and maps one to one. So its rank is full, its codes are exact, and its metric is
that of the flat space of images in other coordinates: a shortest path is the straight line between two images.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch

from lib.measures.axes import Decoder, Latents, PerSample
from lib.measures.curves import curve_length, straight
from lib.measures.density import log_prior
from lib.measures.flows import Velocity, encode, sampler
from lib.measures.geodesic import shortest_path
from lib.measures.intervals import Estimate, mean_of_few
from lib.measures.jacobian import singular_system, singular_values
from lib.measures.local_dimension import flipd
from lib.measures.nearest import nearest
from lib.measures.paths import decay_along, midpoint
from lib.measures.recovery import recover
from lib.measures.statistics import auc
from lib.models.data import Dataset
from lib.models.draws import draw, rng_from
from lib.models.flows import FlowFit, VelocityNetwork
from lib.protocols import dips
from lib.protocols.dips import Paths, Point
from lib.protocols.flow_ends import Mixture
from lib.protocols.flow_sizes import Points, choice, noised, training
from lib.protocols.seen_or_not import where_of_rank

BLURS, STARTS, NOISES = 177, 178, 179  # what a seed is for
PATH = 33
"""points of a path"""


class How(NamedTuple):
    """What is measured, of every model alike."""

    steps: int
    """of the sampler"""
    pairs: int
    """pairs of training images and pairs of noises that are joined, and images of either kind that are looked for"""
    solved: int
    """of them, those for which a shortest path is sought"""
    iterations: int
    """of a search, for an image or for a path"""
    radii: Sequence[float]
    """arclengths of the decay, output units"""
    time: float
    """at which the dimension is asked for"""
    seed: int


class Joined(NamedTuple):
    """Pairs of points, joined by straight lines between their codes; a number for each pair."""

    dip: PerSample
    """nats"""
    volume_dip: PerSample
    """what is left of it without the prior, nats"""
    decay: PerSample
    """about the first point, nats per output unit"""
    detour: PerSample
    """length of the line's image over the distance of its ends"""


class Searched(NamedTuple):
    """Images and what finds them."""

    search: PerSample
    """root mean square error of the best image that a search finds, output units"""
    dimension: PerSample
    """FLIPD at the images"""


class Numbers(NamedTuple):
    """What one flow says; the fields that need codes are None for an end in closed form."""

    noise: Joined
    """of pairs of noises"""
    seen: Searched
    unseen: Searched
    train: Joined | None = None
    """of training images and their nearest neighbours in the training set"""
    inverse: PerSample | None = None
    """largest error of an image that is coded and decoded, of both kinds"""
    code_seen: PerSample | None = None
    """squared length of the code over the number of pixels"""
    code_unseen: PerSample | None = None
    solved: PerSample | None = None
    """length of the path that a search finds over the distance of its ends"""


def joined(decoder: Decoder, z0: Latents, z1: Latents, radii: Sequence[float]) -> Joined:
    """Dips, decays and detours of pairs, at full rank.

    Args:
        decoder: any map with as many outputs as latents.
        z0: first of each pair.
        z1: second.
        radii: arclengths of the decay, output units.
    """
    system = singular_system(decoder, z0)
    others = [Point(z, singular_values(decoder, z)) for z in (z1, midpoint(decoder, z0, z1, n=PATH))]
    parts = dips.parts(Paths(Point(z0, system.values), *others), z0.shape[1])
    centre = log_prior(z0) - system.values.log().sum(1)
    decay = where_of_rank(
        lambda rows: decay_along(decoder, z0[rows], system.vectors[rows, :, 0], centre[rows], None, radii).mean(1),
        len(z0),
    )
    line = straight(z0, z1, PATH)
    with torch.no_grad():
        apart = (decoder(z1) - decoder(z0)).norm(dim=1)
        detour = curve_length(decoder, line) / apart
    return Joined(parts.total, parts.generator, decay, detour.double().cpu())


def searched(velocity: Velocity, x: Points, how: How) -> Searched:
    """Images, searched for from random noise, and their dimension."""
    rng = rng_from(x.device, how.seed, STARTS)
    found = recover(sampler(velocity, how.steps), x, latent=x.shape[1], steps=how.iterations, rng=rng)
    return Searched(found.error.sqrt().double().cpu(), flipd(velocity, x, how.time).double().cpu())


def without_codes(velocity: Velocity, seen: Points, unseen: Points, how: How) -> Numbers:
    """What can be said of any flow, at noise and at images."""
    rng = rng_from(seen.device, how.seed, NOISES)
    z = torch.randn(2 * how.pairs, seen.shape[1], generator=rng, device=seen.device, dtype=seen.dtype)
    noise = joined(sampler(velocity, how.steps), z[: how.pairs], z[how.pairs :], how.radii)
    return Numbers(noise, searched(velocity, seen, how), searched(velocity, unseen, how))


def compared(train: Points, held_out: Points, noise: float, how: How) -> tuple[Points, ...]:
    """Training images, their nearest neighbours in the training set, and held-out images, with noise."""
    chosen = train[draw(len(train), min(how.pairs, len(train) - 1), how.seed)]
    neighbours = train[nearest(chosen, train, 2)[1][:, 1]]
    both = (chosen, neighbours, held_out[choice(len(held_out), how.pairs, how.seed)])
    return tuple(noised(part, noise, (how.seed, BLURS, k)) for k, part in enumerate(both))


def of_fit(fitted: FlowFit, images: Dataset, how: How) -> Numbers:
    """All numbers of a fit, at points that belong to its seed."""
    how = how._replace(seed=fitted.spec.seed)
    place = next(fitted.model.parameters()).device
    held_out = VelocityNetwork.observe(images.test)
    points = [part.to(place) for part in compared(training(fitted, images), held_out, fitted.spec.noise, how)]
    return measure(fitted.model, copy.deepcopy(fitted.model).double(), *points, how)


def measure(velocity: Velocity, wide: Velocity, seen: Points, neighbours: Points, unseen: Points, how: How) -> Numbers:
    """All numbers of a flow that can be run backwards.

    Args:
        velocity: of the flow.
        wide: the same in float64, for the codes.
        seen: training images, with noise.
        neighbours: of each the nearest other training image.
        unseen: held-out images.
        how: sizes.
    """
    decoder = sampler(velocity, how.steps)
    codes = [encode(wide, part.double(), how.steps) for part in (seen, neighbours, unseen)]
    known = (codes[0].error < 1e-3) & (codes[1].error < 1e-3)
    z0, z1 = (code.z[known].to(seen) for code in codes[:2])
    lengths = [code.z.square().mean(1).where(code.error < 1e-3, torch.nan).cpu() for code in codes]
    some = slice(None, how.solved)
    path = shortest_path(decoder, z0[some], z1[some], n=PATH // 2 + 1, steps=how.iterations)
    return without_codes(velocity, seen, unseen, how)._replace(
        train=joined(decoder, z0, z1, how.radii),
        inverse=torch.cat([codes[0].error, codes[2].error]).cpu(),
        code_seen=lengths[0],
        code_unseen=lengths[2],
        solved=(path.length / (seen - neighbours)[known][some].norm(dim=1)).cpu(),
    )


def walks(fitted: FlowFit, ends: Points, steps: int, shown: int = 12) -> tuple[Points, Points]:
    """From one image to another: along the straight line of codes, and along that of pixels, the shortest path."""
    both = ends.double().to(next(fitted.model.parameters()).device)[:, None]
    model = copy.deepcopy(fitted.model).double()
    z0, z1 = (encode(model, one, steps).z for one in both)
    with torch.no_grad():
        line = sampler(model, steps)(straight(z0, z1, shown)[0])
    return line.cpu(), straight(*both, shown)[0].cpu()


def of_end(end: Mixture, fitted: FlowFit, images: Dataset, how: How) -> Numbers:
    """The numbers of an end in closed form that need no code, at the points of a fit."""
    how = how._replace(seed=fitted.spec.seed)
    held_out = VelocityNetwork.observe(images.test)
    seen, _, unseen = compared(training(fitted, images), held_out, fitted.spec.noise, how)
    return without_codes(end.velocity(), seen, unseen, how)


def _auc(more: PerSample, less: PerSample) -> float:
    return float(auc(*(part[~part.isnan()].numpy() for part in (more, less))))


Summary = Callable[[Numbers], float]
SUMMARIES: dict[str, Summary] = {
    "dip at noise, nats": lambda n: float(n.noise.dip.mean()),
    "dip at noise without the prior, nats": lambda n: float(n.noise.volume_dip.mean()),
    "decay at noise, nats per unit": lambda n: float(n.noise.decay.nanmean()),
    "straight line between noises, over the distance": lambda n: float(n.noise.detour.mean()),
    "error of the search, training": lambda n: float(n.seen.search.nanmean()),
    "error of the search, AUC": lambda n: _auc(n.unseen.search, n.seen.search),
    "local dimension, training": lambda n: float(n.seen.dimension.mean()),
    "local dimension, AUC": lambda n: _auc(n.unseen.dimension, n.seen.dimension),
}
"""Numbers of every flow, by name; an AUC is the probability that a held-out image has more than a training image."""
WITH_CODES: dict[str, Summary] = {
    "dip between training images, nats": lambda n: float(n.train.dip.mean()),
    "dip between training images without the prior, nats": lambda n: float(n.train.volume_dip.mean()),
    "decay at training images, nats per unit": lambda n: float(n.train.decay.nanmean()),
    "straight line between training images, over the distance": lambda n: float(n.train.detour.mean()),
    "shortest path found, over the distance": lambda n: float(n.solved.mean()),
    "largest error of the inverse": lambda n: float(n.inverse.max()),
    "length of the code, AUC": lambda n: _auc(n.code_unseen, n.code_seen),
}
"""Numbers of flows that are run backwards"""


def over_models(models: Sequence[Numbers], of: Summary) -> Estimate:
    """The mean of a number over models, with its interval over models."""
    return mean_of_few(torch.tensor([of(numbers) for numbers in models]))


def change(few: Sequence[Numbers], many: Sequence[Numbers], of: Summary) -> Estimate:
    """A number of models of few images less that of models of many, of one seed each."""
    return mean_of_few(torch.tensor([of(a) - of(b) for a, b in zip(few, many, strict=True)]))


def transfers(learnt: Estimate, ends: Estimate) -> str:
    """Whether a measure goes the same way from many images to few as from the learner to the memoriser.

    Args:
        learnt: of models of few images less of models of many.
        ends: of the memoriser less of the learner.
    """
    decided = [0 if found.low <= 0 <= found.high else math.copysign(1, found.value) for found in (learnt, ends)]
    if 0 in decided:
        return "the ends do not differ" if not decided[1] else "not seen"
    return "yes" if decided[0] == decided[1] else "reversed"


def table(
    learnt: Mapping[str, Sequence[Numbers]], ends: Mapping[str, Sequence[Numbers]]
) -> list[list[Estimate | str | None]]:
    """A row for every measure: its name, every column of models, every end, and whether it transfers.

    Args:
        learnt: models by size, from few images to many.
        ends: the memoriser and the learner.
    """
    few, *_, many = learnt.values()
    rows = []
    for name, of in {**SUMMARIES, **WITH_CODES}.items():
        closed = name in SUMMARIES
        both = [*learnt.values(), *(ends.values() if closed else ())]
        cells = [over_models(models, of) for models in both]
        if name.endswith("AUC"):
            cells = [cell.within(0.0, 1.0) for cell in cells]
        said = transfers(change(few, many, of), change(*ends.values(), of)) if closed else "no control"
        rows.append([name, *cells, *[None] * (len(learnt) + len(ends) - len(both)), said])
    return rows
