"""The range of values of images and of what a model makes: found where there is one answer, refused where there is not.

Images in [0, 1] against a generator that ends in tanh give recovery errors that look like numbers and mean nothing.
"""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

RANGES = {"0,1": (0.0, 1.0), "-1,1": (-1.0, 1.0), "0,255": (0.0, 255.0)}
"""What values of images run over, by the name that ``--range`` takes."""

SLACK = 0.05
"""how far outputs may leave a range that is found, in its width: a decoder without a last non-linearity overshoots"""

GIVEN_SLACK = 0.5
"""how far they may leave a range that was given"""


class RangeError(ValueError):
    """Values whose range is not known, or is not the one that was given."""


class Matched(NamedTuple):
    """Images in the range of a model."""

    images: Float[Tensor, "n channels height width"]
    range: str
    """one of :data:`RANGES`"""
    notes: tuple[str, ...]


def of(values: Tensor) -> str | None:
    """The range that values have, if there is one answer.

    Example:
        >>> of(torch.tensor([0.0, 0.9])), of(torch.tensor([-0.9, 0.9])), of(torch.tensor([3.0, 250.0]))
        ('0,1', '-1,1', '0,255')
        >>> of(torch.tensor([-0.2, 1.3])) is None
        True
    """
    low, high = float(values.min()), float(values.max())
    if low >= -SLACK and high <= 1 + SLACK:
        return "0,1"
    if -1 - 2 * SLACK <= low < -0.5 and high <= 1 + 2 * SLACK:
        return "-1,1"
    if low >= -255 * SLACK and 16 < high <= 255 * (1 + SLACK):
        return "0,255"
    return None


def unit(images: Tensor, given: str | None = None) -> tuple[Tensor, tuple[str, ...]]:
    """Images in [0, 1], float32, and what was done to them.

    Whole numbers are read as 0..255, and as 0 and 1 if there is nothing else; other numbers by :func:`of`.

    Args:
        images: numbers in any of :data:`RANGES`.
        given: their range; by default it is found.

    Raises:
        RangeError: it cannot be found, or they leave it. With what to do.

    Example:
        >>> unit(torch.tensor([0, 51, 255], dtype=torch.uint8))
        (tensor([0.0000, 0.2000, 1.0000]), ('values 0 to 255 are divided by 255',))
    """
    whole, values = not images.is_floating_point(), images.float()
    low, high = float(values.min()), float(values.max())
    span = f"{low:g} to {high:g}"
    name = _known(given) or _found(values, whole)
    if name is None:
        kind = "whole numbers " if whole else ""
        advice = "divide them by the largest possible value and save floats, or say --range with one of"
        raise RangeError(f"images are {kind}from {span}, which is none of 0..1, -1..1, 0..255; {advice} {_names()}")
    bottom, top = RANGES[name]
    if low < bottom - 1e-6 * (top - bottom) or high > top + 1e-6 * (top - bottom):
        raise RangeError(f"images are from {span}, which leaves the range {name}; accepted for --range: {_names()}")
    if name == "0,1":
        return values.clamp(0, 1), ("whole numbers 0 and 1 are taken as black and white",) if whole else ()
    done = "divided by 255" if name == "0,255" else "taken from [-1, 1] to [0, 1]"
    return ((values - bottom) / (top - bottom)).clamp(0, 1), (f"values {span} are {done}",)


def matched(images: Tensor, outputs: Tensor, given: str | None = None) -> Matched:
    """Images in [0, 1] in the range of a model's outputs.

    Args:
        images: in [0, 1].
        outputs: what the model makes of many latents of the prior, in its own range.
        given: that range; by default it is found.

    Raises:
        RangeError: it cannot be found, outputs leave the one that was given by half its width, or the images are too
            bright to tell. With what to do.

    Example:
        >>> matched(torch.tensor([[[[0.0, 0.5]]]]), torch.tensor([[[[-0.9, 1.0]]]]))[1:]
        ('-1,1', ('the model makes values from -0.9 to 1, range -1,1: images are converted to it',))
    """
    dark, bright = float(images.min()), float(images.max())
    if dark < 0 or bright > 1:
        raise RangeError(f"images are from {dark:.3g} to {bright:.3g}; expected [0, 1], see lib.models.ranges.unit")
    low, high = float(outputs.min()), float(outputs.max())
    span = f"from {low:.3g} to {high:.3g}"
    name = _known(given) or of(outputs)
    if name is None:
        raise RangeError(
            f"the model makes values {span}, which is none of 0..1, -1..1, 0..255 for certain; say --range with that "
            f"of its training images: {_names()}"
        )
    if given is None and name == "0,1" and dark >= 0.5 - SLACK:
        raise RangeError(
            f"no image has a value below {dark:.2f}, so that outputs {span} can be in 0..1 or in -1..1; say --range "
            f"with that of the model's training images: {_names()}"
        )
    bottom, top = RANGES[name]
    notes = [f"the model makes values {span}, range {name}" + (": images are converted to it" if name != "0,1" else "")]
    if given:
        notes += _compared(low, high, name)
    return Matched(images * (top - bottom) + bottom, name, tuple(notes))


def _compared(low: float, high: float, name: str) -> list[str]:
    """What to say of outputs in a range that was given."""
    bottom, top = RANGES[name]
    width = top - bottom
    if low < bottom - GIVEN_SLACK * width or high > top + GIVEN_SLACK * width or (name == "0,255" and high <= 2):
        raise RangeError(f"--range {name} was given, the model makes values {low:.3g} to {high:.3g}; {_names()}?")
    if low < bottom - SLACK * width or high > top + SLACK * width:
        return ["some of its values leave that range"]
    if name == "-1,1" and low >= 0:
        return ["none of its values is below 0: were its training images in 0..1?"]
    return []


def _found(values: Tensor, whole: bool) -> str | None:
    if not whole:
        return of(values)
    low, high = float(values.min()), float(values.max())
    if low < 0 or 1 < high <= 16 or high > 255:
        return None
    return "0,255" if high > 1 else "0,1"


def _known(given: str | None) -> str | None:
    if given is not None and given not in RANGES:
        raise RangeError(f"no range {given!r}; accepted: {_names()}")
    return given


def _names() -> str:
    return " | ".join(RANGES)
