"""The samples of a generator against its training and held-out images: four tests, their controls, and each image."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.stats import false_discovery_control
from torch import Tensor

from lib.measures import copying
from lib.measures.intervals import Estimate, difference, estimate, number, share
from lib.measures.statistics import permutation_p
from lib.models.own_images import first_equal
from lib.protocols import audit_controls
from lib.protocols.audit_controls import RULES
from lib.protocols.audit_lists import KEPT, Lists, Sides, lists
from lib.protocols.audit_results import LEVEL, Control, Finding, Limit, PerImage, Section, places
from lib.protocols.audit_scores import NAMES, Scores, divisions, ranked, scores
from lib.protocols.copy_tests import THIRD

EXCHANGES = 999
PAIRED = NAMES[:2]
"""the tests that ask which of the two sides a sample is near to, and not how near it is"""
Vectors = Float[Tensor, "samples pixels"]


class Measured(NamedTuple):
    """What the samples gave."""

    section: Section
    limits: list[Limit]
    per_image: PerImage
    dimension: Estimate
    """of the images"""


def measure(
    sides: Sides, samples: Vectors, *, seed: int, progress: Callable[[str], None], duplicates: Finding
) -> Measured:
    """Measure samples, with all controls.

    Args:
        sides: training and held-out images.
        samples: as vectors.
        seed: of all exchanges, trials and shams.
        progress: told what is done next.
        duplicates: what was found among the training images before repeated ones were left out.
    """
    progress("distances between images")
    members = lists(sides.points, sides.points, own=torch.arange(len(sides.images)))
    made = lists(samples, sides.points)
    size = dimension(members)
    progress("four tests of samples, by exchanging images")
    divided = divisions(sides.labels, EXCHANGES, rng=np.random.default_rng([seed, 0, len(sides.images)]))
    scored = scores(divided, made, members)
    result = ranked(scored.double().mean(2, keepdim=True), torch.zeros(1, dtype=torch.int64))
    progress("the controls: copycats and the detection limit")
    copies = audit_controls.copied(sides, members, divided, seed=seed)
    positive = audit_controls.copycats(copies, sides.labels)
    limits = audit_controls.limits(scored, copies, divided, seed=seed)
    progress("the controls: held-out images against themselves")
    shams = audit_controls.shams(
        sides.points[~sides.labels], samples, size.value, seed=seed, count=audit_controls.SHAMS
    )
    controls = {
        name: audit_controls.control(positive[name], shams.p[row], shams.published[row], RULES[row])
        for row, name in enumerate(NAMES)
    }
    progress("each training image")
    images = per_image(sides, members, samples)
    listed, added = compared(findings(scored, result.p[:, 0], size, controls), scored[:, 0], real(sides, members), seed)
    alarms = share(int((shams.joint <= LEVEL).sum()), len(shams.joint))
    notes = _notes(size, sides)
    section = Section("samples", [*listed, duplicates], float(result.joint[0]), "", notes, alarms, added)
    return Measured(section, limits, images, size)


def dimension(members: Lists) -> Estimate:
    r"""The dimension in which the formula of the neighbour ratio holds, :math:`1 / \overline{\log (d_2 / d_1)}`.

    The maximum of the likelihood if :math:`P(d_1 / d_2 < r) = r^d`. Source: Facco et al. 2017 (TWO-NN), their
    likelihood; the interval is the bootstrap's over images.
    """
    ratios = (members.distance[:, 1] / members.distance[:, 0]).log()
    return estimate(ratios[ratios.isfinite()]).under(lambda mean: 1 / mean)


def findings(scored: Scores, p: np.ndarray, size: Estimate, controls: dict[str, Control]) -> list[Finding]:
    """The four tests; the interval of each is over samples, the null from the exchanges."""
    own, null = scored[:, 0], scored.double().mean(2).quantile(torch.tensor([0.025, 0.975]).double(), 1).T.tolist()
    count = scored.shape[2]
    reads = _readings(own.double().mean(1), size, count)
    found = []
    for row, name in enumerate(NAMES):
        counted = ((own[row] == 0) | (own[row] == 1)).all()
        value = share(int(own[row].sum()), count) if counted else estimate(own[row])
        band, side = tuple(null[row]), "high"
        if name == "authenticity":
            value, band, side = value.under(lambda part: 1 - part), (1 - band[1], 1 - band[0]), "low"
        found.append(Finding(name, value, band, float(p[row]), side, reads[row], controls[name]))
    return found


def real(sides: Sides, members: Lists) -> Float[Tensor, "tests train"]:
    """The scores of training images in place of samples, each compared with the others: what its source prefers.

    For authenticity, the neighbour of an image is not compared with that image either.
    """
    labels = sides.labels
    own = Lists(members.distance[labels], members.which[labels])
    found = scores(labels[None], own, members)[:, 0]
    distance = torch.where(labels[members.which], members.distance, torch.inf)[labels]
    two = distance.topk(2, largest=False)
    which = own.which.gather(1, two.indices)
    nearest, place = which[:, 0], torch.arange(len(which))  # training images come first among the members
    other = torch.where(which[nearest, 0] == place, two.values[nearest, 1], two.values[nearest, 0])
    found[3] = (two.values[:, 0] <= other).float()
    return found


def compared(
    listed: list[Finding], scored: Float[Tensor, "tests samples"], images: Float[Tensor, "tests train"], seed: int
) -> tuple[list[Finding], float]:
    """The findings beside those of real images in place of samples, and one p for the tests of :data:`PAIRED`.

    P is the share of exchanges between samples and real images that make the samples as suspicious, times the number of
    tests. Blurred samples, which are near to everything, are no copies: so only the tests count that compare the sides.
    """
    found, p = [], []
    for each, made, own in zip(listed, scored.double(), images.double(), strict=True):
        if each.name in PAIRED:
            rng = np.random.default_rng([seed, 17, len(p)])
            p.append(permutation_p(lambda a, b: float(a.mean() - b.mean()), made, own, draws=EXCHANGES, rng=rng))
        flipped = each.suspicious == "low"
        value = estimate(own).under(lambda part: 1 - part) if flipped else estimate(own)
        found.append(each._replace(real=value, added=difference(made, own, seed=seed)))
    return found, min(1.0, len(p) * min(p))


def _readings(value: Float[Tensor, " tests"], size: Estimate, count: int) -> list[str]:
    chance, usual = copying.neighbour_ratio_null(THIRD, size.value), copying.authenticity_null(size.value)
    z = audit_controls.z_of(float(value[2]), count, count)
    return [
        "The share of samples that are nearer to a training image than to any of as many held-out ones: a half, give "
        "or take the band, if the model did not use the training images.",
        f"The share of samples with a training image as the nearest of all, and nearer than a third of the distance to "
        f"the second nearest image. By the formula r^d, {number(chance / 2)} of new images in {number(size.value)} "
        f"dimensions would be.",
        f"The probability that a held-out image is farther from the training images than a sample is; in standard "
        f"deviations of independent images, C_T = {number(z)}. A half is what held-out images would have; below it, "
        f"samples are farther from the training images than new images are.",
        f"The share of samples that are farther from their nearest training image than that image is from another one. "
        f"Read it beside its band, not beside 1; by the formula for points of even density, chance is {number(usual)}.",
    ]


def _notes(size: Estimate, sides: Sides) -> list[str]:
    return [
        f"The images have {size} dimensions (from the ratios of the distances to the two nearest others).",
        f"The {min(KEPT, len(sides.images))} nearest images of each image were kept. Samples that are near to the same "
        f"image depend on each other, so that the intervals, which resample samples, may be short; p is exact.",
    ]


def near_twice(train: Float[Tensor, "train *image"], held_out: Float[Tensor, "others *image"]) -> Finding:
    """The share of training images that equal another one, beside that of held-out images."""
    again = [_repeated(images) for images in (train, held_out)]
    values = [share(int(each.sum()), len(each)) for each in again]
    reads = (
        "The share of training images that equal another training image; the band is the interval of the same share of "
        "the held-out images. A model copies repeated images more readily."
    )
    return Finding("duplicates in training", values[0], values[1][1:3], None, "high", reads)


def _repeated(images: Float[Tensor, "images *pixels"]) -> Bool[Tensor, " images"]:
    first = first_equal(images)
    return first.bincount()[first] > 1


def per_image(sides: Sides, members: Lists, samples: Vectors) -> PerImage:
    r"""How much nearer a sample comes to each training image than other images do, against held-out images.

    .. math:: \rho_i = \min_j \|x_i - s_j\| \big/ \min_{k \ne i} \|x_i - x_k\|, \quad
              p_i = \frac{1 + \#\{h : \rho_h \le \rho_i\}}{1 + n}

    over the ``n`` held-out images ``h``: the rank of an image among those that the model has not seen (a conformal p,
    for which Benjamini & Hochberg's rule holds: Bates et al. 2023).
    """
    labels = sides.labels
    to_sample = lists(sides.points, samples, 1)
    distance, which = to_sample.distance[:, 0], to_sample.which[:, 0]
    ratio = distance / members.distance[:, 0]
    inside, outside = ratio[labels], ratio[~labels].sort().values
    p = (1 + torch.searchsorted(outside, inside, right=True)).double() / (1 + len(outside))
    q = torch.from_numpy(false_discovery_control(p.numpy()))
    held_distance, held = members.first(~labels)
    columns = (
        sides.train, inside, p, q, which[labels], distance[labels],
        places(held[labels], ~labels, sides.held_out), held_distance[labels],
    )  # fmt: skip
    order = inside.argsort(stable=True)
    return PerImage(*(column[order] for column in columns))
