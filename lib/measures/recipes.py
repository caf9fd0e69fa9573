"""How an estimate was made: by which function and from what, so that anybody can make it again."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

Made = TypeVar("Made", bound=tuple)


@dataclass(frozen=True)
class Recipe:
    """A call, or none. All recipes are equal: how a number was made is no part of what it is."""

    function: Callable | None = field(default=None, compare=False)
    arguments: tuple = field(default=(), compare=False)
    options: Mapping[str, object] = field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        return f"<by {self.function.__qualname__}>" if self.function else "<given>"


GIVEN = Recipe()
"""of a number that was not computed here"""


def remembered(function: Callable[..., Made]) -> Callable[..., Made]:
    """The same function, whose result says in its field ``recipe`` how it was made.

    What it was called with stays with the result, down to the numbers of the single items that an interval is over.

    Example:
        >>> from lib.measures.intervals import share
        >>> share(1, 20).recipe, share(1, 20).recipe.arguments
        (<by share>, (1, 20))
    """

    @functools.wraps(function)
    def made(*arguments: object, **options: object) -> Made:
        return function(*arguments, **options)._replace(recipe=Recipe(made, arguments, options))

    return made
