"""Does the deviation of a decoder say where the mean is to be trusted? Deviation near codes and far from all of them.

Arvanitidis et al. 2018 show it by maps; here it is also counted.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lib.measures import geodesic
from lib.measures.axes import Decoder, Latents, PerSample
from lib.measures.intervals import Estimate, mean_of_few
from lib.protocols.embeddings import Generator, expected, lattice

FAR = 1.0
"""latent units from every code"""


class Doubt(NamedTuple):
    """The deviation far from all codes, beside that at the codes."""

    far_over_near: float
    """log10 of the ratio of the geometric means"""
    surer: float
    """share of the far places where the deviation is below its median at the codes"""


class DoubtOfModels(NamedTuple):
    """The means of :class:`Doubt` over models, with their intervals."""

    far_over_near: Estimate
    surer: Estimate


class LatentMap(NamedTuple):
    """What a model does over its latent space."""

    measure: Float[Tensor, "side side"]
    """log10 of the measure of the expected metric, first index upwards"""
    deviation: Float[Tensor, "side side"]
    """log10 of the mean standard deviation over pixels"""
    extent: list[float]
    """left, right, bottom, top; latent units"""


def doubt(deviation: Decoder, codes: Latents, places: Float[Tensor, "places latent"]) -> Doubt:
    """How a decoder's deviation differs between codes and places that are farther than a latent unit from all codes.

    Args:
        deviation: the standard deviation of every output.
        codes: of the data.
        places: of a map; those near a code are left out.

    Raises:
        ValueError: no place is far from all codes.
    """
    away = torch.cdist(places, codes).amin(1) > FAR
    if not away.any():
        raise ValueError(f"none of {len(places)} places is farther than {FAR:g} from all {len(codes)} codes")
    here, there = _mean_deviation(deviation, codes), _mean_deviation(deviation, places[away])
    ratio = (there.log().mean() - here.log().mean()) / math.log(10)
    return Doubt(float(ratio), float((there < here.median()).double().mean()))


def doubts(models: Sequence[Generator], codes: Sequence[Latents], side: int) -> list[Doubt]:
    """:func:`doubt` of several models on maps about their codes, ``side`` places along either axis."""
    return [doubt(model.deviation, z, lattice(z, side).nodes) for model, z in zip(models, codes, strict=True)]


def over_models(parts: Sequence[Doubt]) -> DoubtOfModels:
    """The means over models."""
    return DoubtOfModels(*(mean_of_few(torch.tensor(column)) for column in zip(*parts, strict=True)))


def gain(first: Sequence[Doubt], second: Sequence[Doubt]) -> Estimate:
    """By how much the ratio of the first models is higher than that of the second, paired; a power of ten."""
    ratios = [torch.tensor([part.far_over_near for part in parts]) for parts in (first, second)]
    return mean_of_few(ratios[0] - ratios[1])


def latent_map(model: Generator, codes: Latents, side: int, *, margin: float = 1.5) -> LatentMap:
    """The maps of a model that reach ``margin`` latent units beyond its codes."""
    places, extent = lattice(codes, side, margin)
    measure = geodesic.log_measure(expected(model), places) / math.log(10)
    deviation = _mean_deviation(model.deviation, places).log10()
    return LatentMap(*(values.view(side, side).T.cpu() for values in (measure, deviation)), extent)


def _mean_deviation(deviation: Decoder, z: Tensor) -> PerSample:
    return deviation(z).flatten(1).mean(1)
