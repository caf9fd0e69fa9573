"""Is a person still recognised after a face was replaced by the nearest one that a generator makes?

Two who look: one compares with photographs as they are, the other knows what was done and does the same to the
photographs before comparing (Newton, Sweeney & Malin 2005 call that parrot recognition). The person recognised is that
of the nearest photograph, by the features of a network that was trained on the same photographs.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from lib.measures.axes import Images, PerSample
from lib.measures.intervals import Estimate, estimate
from lib.measures.transforms import Transform, blur, pool
from lib.models.generative import GeneratorFit
from lib.protocols.zoo import Search, search

Features = Callable[[Images], Float[Tensor, "batch features"]]
Persons = Int64[Tensor, " batch"]
Way = tuple[str, str]
"""what is done to a face, and how strongly"""


class Faces(NamedTuple):
    """Photographs and whose they are."""

    images: Images
    persons: Persons


class Outcome(NamedTuple):
    """What a way to hide the person comes to, for every face that is asked about."""

    error: PerSample
    """mean squared error per pixel of what is left of the face"""
    naive: Bool[Tensor, " batch"]
    """recognised among photographs as they are"""
    informed: Bool[Tensor, " batch"]
    """recognised among photographs that were treated alike"""


def folds(persons: int, count: int, *, seed: int) -> list[list[int]]:
    """Disjoint groups of persons, each of whom is a stranger to the generator of their group.

    Example:
        >>> sorted(sum(folds(5, 2, seed=0), []))
        [0, 1, 2, 3, 4]
    """
    order = np.random.default_rng(seed).permutation(persons)
    return [sorted(part.tolist()) for part in np.array_split(order, count)]


def mosaic(factor: int) -> Transform:
    """Images whose blocks of ``factor x factor`` pixels have their mean colour.

    Example:
        >>> mosaic(2)(torch.tensor([[[[0.0, 1.0], [2.0, 5.0]]]]))
        tensor([[[[2., 2.],
                  [2., 2.]]]])
    """
    means = pool(factor)
    return lambda images: interpolate(means(images), scale_factor=factor)


def components(trained: Images, counts: Sequence[int]) -> list[Transform]:
    """The nearest image that a linear generator makes: the mean and so many principal components of some images.

    Args:
        trained: images ``[batch, channels, height, width]``.
        counts: of components, one for each generator.
    """
    mean = trained.flatten(1).mean(0)
    directions = torch.linalg.svd(trained.flatten(1) - mean, full_matrices=False).Vh

    def projected(basis: Float[Tensor, "count pixels"], images: Images) -> Images:
        return (mean + (images.flatten(1) - mean) @ basis.T @ basis).view_as(images).clamp(0, 1)

    return [partial(projected, directions[:count]) for count in counts]


def recovered(fit: GeneratorFit, how: Search) -> Transform:
    """The nearest image that a generator makes, G(z*)."""
    return lambda images: fit.generator(search(fit, images, how).z)


def plain_ways(side: int) -> dict[Way, Transform]:
    """Ways to hide a person that need no generator, from nothing to all; blurs by standard deviations in pixels."""
    factors = [factor for factor in (2, 4, 8, 16, 32, 64) if side % factor == 0]
    deviations = [side / 2**k for k in (6, 5, 4, 3, 2, 1)]
    return {
        ("nothing", "–"): lambda images: images,
        **{("mosaic", f"{factor} x {factor}"): mosaic(factor) for factor in factors},
        **{("blur", f"{deviation:g}"): blur(deviation) for deviation in deviations},
    }


def look(way: Transform, asked: Faces, gallery: Faces, features: Features) -> Outcome:
    """Hide the persons of some faces, and let both look for them.

    Args:
        way: what is done to a face.
        asked: the faces.
        gallery: other photographs of the same persons and of others.
        features: of a network that recognises persons.
    """
    hidden = way(asked.images)
    error = (hidden - asked.images).flatten(1).square().mean(1).cpu()
    recognise = partial(_recognised, hidden, asked.persons, gallery.persons, features)
    return Outcome(error, recognise(gallery.images), recognise(way(gallery.images)))


def look_by_fold(
    ways: Sequence[Mapping[Way, Transform]],
    asked: Sequence[Faces],
    gallery: Faces,
    features: Features,
    executor: Executor,
) -> dict[Way, Outcome]:
    """:func:`look` for every way, the faces of all folds together.

    Args:
        ways: of each fold, the same names in all.
        asked: the faces of each fold.
        gallery: other photographs of all persons.
        features: of a network that recognises persons.
        executor: where to look side by side.
    """

    def all_folds(name: Way) -> Outcome:
        parts = [look(each[name], faces, gallery, features) for each, faces in zip(ways, asked, strict=True)]
        return Outcome(*(torch.cat(column) for column in zip(*parts, strict=True)))

    return dict(zip(ways[0], executor.map(all_folds, ways[0]), strict=True))


def rate(recognised: Float[Tensor, " faces"], persons: Int64[Tensor, " faces"], *, seed: int) -> Estimate:
    """The share of a person's faces that are recognised, mean over persons with its 95 % interval over them.

    Args:
        recognised: of every face, such as one if its person was recognised.
        persons: whose face it is.
        seed: of the resampling.
    """
    return estimate(torch.stack([recognised[persons == person].mean() for person in persons.unique()]), seed=seed)


def beyond(
    outcome: Outcome, curve: Sequence[Outcome], persons: Int64[Tensor, " faces"], who: str, *, seed: int
) -> Estimate:
    """How much more often a person is recognised than by another way of the same error, with an interval over persons.

    Between two strengths of the other way, errors and rates are interpolated.

    Args:
        outcome: of one way.
        curve: of the strengths of another.
        persons: whose the faces are.
        who: ``naive`` or ``informed``.
        seed: of the resampling.

    Raises:
        ValueError: an error that no strength of the other way comes to.
    """
    errors = [float(each.error.mean()) for each in curve]
    order, error = np.argsort(errors), float(outcome.error.mean())
    place = int(np.searchsorted(np.array(errors)[order], error))
    if not 0 < place < len(curve):
        raise ValueError(
            f"an error of {error:.3g} is outside those of the other way, {min(errors):.3g} to {max(errors):.3g}"
        )
    below, above = (curve[i] for i in order[place - 1 : place + 1])
    low, high = (float(each.error.mean()) for each in (below, above))
    weight = (error - low) / (high - low)
    there = torch.lerp(getattr(below, who).double(), getattr(above, who).double(), weight)
    return rate(getattr(outcome, who).double() - there, persons, seed=seed)


def _recognised(
    hidden: Images,
    persons: Persons,
    owners: Int64[Tensor, " others"],
    features: Features,
    gallery: Float[Tensor, "others channels height width"],
) -> Bool[Tensor, " batch"]:
    distances = torch.cdist(normalize(features(hidden)), normalize(features(gallery)))
    return owners[distances.argmin(1).cpu()] == persons
