"""What a family of models is: a specification, its network, and the step that trains it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import ClassVar, NamedTuple

from jaxtyping import Float, Int64
from torch import Tensor

from lib.models.draws import sample

Tensors = dict[str, Tensor]
Index = Int64[Tensor, " examples"]
"""which training images"""


class Seen(NamedTuple):
    """The images in [0, 1] that a fit sees; it may not change them."""

    train: Float[Tensor, "examples channels height width"]
    """those that it is fitted on"""
    test: Float[Tensor, "test channels height width"]
    """the whole test set"""


@dataclass(frozen=True, eq=False)
class Fit:
    """Fitted models and what they were fitted on. Each family adds its models."""

    spec: "Spec"
    index: Index
    losses: Float[Tensor, "records *losses"]
    """over training"""


class Spec:
    """Everything that decides a fit, apart from the data.

    A family is a frozen dataclass that extends this class, in a module that also has its network and its step;
    :func:`lib.models.fit.fit` does the rest. All that the module imports is part of the key of its fits.
    """

    stream: ClassVar[type[IntEnum]]
    """its streams of random numbers, one of :mod:`lib.models.streams`"""
    examples: int
    seed: int

    def index(self, available: int, name: str) -> Index:
        """Which of the training images of the data set ``name`` are drawn, without replacement.

        Raises:
            ValueError: more than there are.
        """
        return sample(available, self.examples, self.seed, name=name)

    def check(self, examples: int) -> None:
        """Refuse, with a ValueError, what cannot be fitted on so many images. It is asked before anything is fitted."""

    def canonical(self) -> "Spec":
        """The specification of the same fit in which everything that has no influence has its default."""
        return self

    def follows(self) -> "Spec | None":
        """The specification of a fit that must be there before, because this one starts from its weights."""
        return None

    def train(self, seen: Seen, device: str, checkpoint: Path, followed: Tensors | None) -> Tensors:
        """Fit, from a checkpoint if there is one, and return all that is kept: the weights and the losses.

        Args:
            seen: the images.
            device: the device to train on.
            checkpoint: the path that :func:`lib.models.loop.run` keeps its state at.
            followed: what the fit that this one :meth:`follows` has returned.
        """
        raise NotImplementedError

    def restore(self, tensors: Tensors, index: Index, shape: Sequence[int], device: str) -> Fit:
        """The fit from what :meth:`train` has returned: models in evaluation mode, without gradients, on ``device``.

        Args:
            tensors: what was kept.
            index: the training images.
            shape: channels, height and width of an image.
            device: where the models go.
        """
        raise NotImplementedError
