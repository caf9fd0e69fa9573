"""A number of every model, and what models that differ in nothing but the seed say of it together."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from lib.measures.intervals import Estimate, by_model, over_models


class Over(NamedTuple):
    """A statistic over models."""

    each: list[float]
    """of each model"""
    mean: Estimate
    """over models, with an interval over models"""

    @property
    def null(self) -> float:
        """The largest difference between two of the models: what one has to exceed before it means anything."""
        return max(self.each) - min(self.each)


def over(statistic: Callable, *columns: Sequence[Float[Tensor, " _"]]) -> Over:
    """A statistic of the points of each model; arguments as :func:`lib.measures.intervals.over_models`."""
    return Over(by_model(statistic, *columns), over_models(statistic, *columns))


def frame(found: Mapping[str, Over]) -> pd.DataFrame:
    """A row for each statistic: the models, their mean with its interval, and the null."""
    rows = [
        {
            "": label,
            **{f"models {k + 1}": value for k, value in enumerate(one.each)},
            "mean over models": one.mean,
            "null: most that two of a row differ": one.null,
        }
        for label, one in found.items()
    ]
    return pd.DataFrame(rows, dtype=object)
