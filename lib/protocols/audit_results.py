"""What an audit gives: findings in sections, limits, and images, each a NamedTuple of plain numbers."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jaxtyping import Float, Int64
from torch import Tensor

from lib.measures.intervals import Estimate
from lib.protocols.exchangeable import Sides

Keep = Callable[[str, Callable[[], Any]], Any]
"""makes a part of that name, or has it from an earlier call"""
LEVEL = 0.05
"""at which a control or a trial counts as flagged"""


class Control(NamedTuple):
    """What a test says where the answer is known."""

    positive: dict[str, float]
    """p of copycats made of the training images, by what they do"""
    false_alarms: Estimate | None
    """share of shams, held-out images split against themselves, that the test flags at :data:`LEVEL`, if there are"""
    published: Estimate | None = None
    """the same of the rule that is in the literature, where there is one"""
    rule: str = ""
    """that rule"""

    @property
    def blind(self) -> list[str]:
        """The copycats that the test does not flag."""
        return [kind for kind, p in self.positive.items() if p > LEVEL]


class Finding(NamedTuple):
    """A number, what chance makes of it, and how to read it."""

    name: str
    value: Estimate
    null: tuple[float, float] | None
    """the middle 95 % of what it would be if training and held-out images had been exchanged; None where unknown"""
    p: float | None
    """share of exchanges that are as suspicious: exact; None where there is no test"""
    suspicious: str
    """``high`` or ``low``"""
    reads: str
    """one sentence: how to read it"""
    control: Control | None = None
    unit: str = "share"
    """of the value"""
    real: Estimate | None = None
    """the same of real training images in place of the samples, each without itself"""
    added: Estimate | None = None
    """by how much the samples are more suspicious than these"""
    noticed: float | None = None
    """a difference that would have been seen in 95 % of cases, if it moves all exchanges alike"""


class Limit(NamedTuple):
    """The smallest share of planted copies that is seen in 95 % of trials, by all tests of a section together."""

    kind: str
    """what was planted: ``exact``, ``blurred`` or ``noised`` copies among samples, or plateaus in a decoder"""
    share: float | None
    """of the samples, or of the training images; None if not even all of them are seen so often"""
    copies: int | None
    """the same as a number"""
    trials: int
    power: Sequence[tuple[float, float]]
    """shares that were tried, ascending, and how often each was seen"""


class Section(NamedTuple):
    """What was measured with one kind of access, or why it was not."""

    access: str
    """``samples``, ``decoder``, ``encoder``, ``log p`` or ``several models``"""
    findings: Sequence[Finding] = ()
    joint: float | None = None
    """one p for all tests of the section"""
    skipped: str = ""
    """why nothing was measured"""
    notes: Sequence[str] = ()
    false_alarms: Estimate | None = None
    """share of shams that all tests together flag, if that was measured"""
    added: float | None = None
    """one p of all tests against real training images in place of the samples"""
    limit: Limit | None = None
    """of what was planted in a decoder"""


class PerImage(NamedTuple):
    """Of each training image, how much nearer a sample is than other images are; most suspicious first."""

    image: Int64[Tensor, " images"]
    """its place among the training images that were given"""
    ratio: Float[Tensor, " images"]
    """distance to the nearest sample over distance to the nearest other image"""
    p: Float[Tensor, " images"]
    """share of the held-out images, the image itself counted among them, with a ratio as small"""
    q: Float[Tensor, " images"]
    """false discovery rate at which it would be named (Benjamini & Hochberg)"""
    sample: Int64[Tensor, " images"]
    """the nearest sample"""
    sample_distance: Float[Tensor, " images"]
    held_out: Int64[Tensor, " images"]
    """the nearest held-out image, by its place among those that were given"""
    held_out_distance: Float[Tensor, " images"]

    def named(self, level: float = LEVEL) -> int:
        """How many are named at a false discovery rate."""
        return int((self.q <= level).sum())


class Pictures(NamedTuple):
    """Rows of pictures side by side: those of the most and of the least suspicious training images."""

    rows: Int64[Tensor, " rows"]
    """places in :class:`PerImage`"""
    training: Float[Tensor, "rows channels height width"]
    made: Float[Tensor, "rows channels height width"] | None
    """what the decoder makes of each, if there is one"""
    sample: Float[Tensor, "rows channels height width"]
    held_out: Float[Tensor, "rows channels height width"]


class Counts(NamedTuple):
    """How many images there were, and how many were compared."""

    train: int
    held_out: int
    samples: int
    compared: int
    """training images, and as many held-out ones"""
    compared_samples: int
    repeated: int
    """images left out because they equal another one"""
    shared: int
    """held-out images that equal a training image"""


class Audit(NamedTuple):
    """All that was found."""

    counts: Counts
    sections: dict[str, Section]
    limits: Sequence[Limit]
    per_image: PerImage | None
    pictures: Pictures | None
    notes: Sequence[str]
    """what a reader has to know before the numbers"""
    seed: int
    exchangeable: Sides
    """how the two sides differ without any model"""

    def told(self, access: str) -> Section:
        """A section; one that is not there was skipped without a reason."""
        return self.sections.get(access, Section(access))


KINDS = (Control, Finding, Limit, Section, PerImage, Pictures)
"""what parts of an audit are made of, to be kept"""


def places(found: Tensor, labels: Tensor, given: Tensor) -> Tensor:
    """Places among the members of one side, from places among all members.

    Args:
        found: places among all.
        labels: which of all are of the side.
        given: the places of the side's members in what was given.

    Example:
        >>> places(torch.tensor([2]), torch.tensor([False, True, True]), torch.tensor([10, 20]))
        tensor([20])
    """
    return given[labels.cumsum(0)[found] - 1]
