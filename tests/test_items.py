import math
from functools import partial
from io import BytesIO

import numpy as np
import pytest
import torch

from lib.measures import intervals, statistics
from lib.measures.intervals import Estimate
from lib.measures.recipes import Recipe
from lib.protocols import null
from lib.study import items

COLUMN = torch.arange(20.0) ** 2
FEW = torch.tensor([1.0, 2.0, 4.0])
NULL = null.NormalNull([0, 1, 2, 3], [0.0, 1.0, 2.5, 4.5])
VALUES = {
    "a mean": intervals.estimate(COLUMN),
    "a median with a seed": intervals.estimate(COLUMN, np.median, seed=3),
    "with gaps": intervals.estimate(torch.cat([COLUMN, torch.tensor([math.nan])])),
    "a difference": intervals.difference(COLUMN, COLUMN[:7]),
    "a quantile": intervals.estimate(COLUMN, null.quantile(0.9)),
    "pairs": intervals.paired(statistics.rank_correlation, COLUMN, COLUMN.cos()),
    "a share": intervals.share(3, 20),
    "of models": intervals.over_models(np.mean, [COLUMN, FEW]),
    "widened": intervals.estimate(COLUMN).widened(3.0).within(-math.inf, 400.0),
    "over repeats": intervals.with_left_out(intervals.mean_of_few(FEW), [1.0, 2.0, 4.0]).over(2.0),
    "over models": intervals.with_models(intervals.estimate(COLUMN), [1.0, 2.0]).under(np.exp),
    "by the method of a curve": intervals.mean_of_few(FEW / 4).within(0.0, 3.0).under(NULL.bias),
    "of a given one": Estimate(1.0, 0.0, 2.0, 9).over(2.0),
}


def exactly(values):
    return {name: value[:5] for name, value in values.items()}


def test_what_is_packed_is_made_again():
    made, given = items.again(items.pack(VALUES), VALUES)
    assert exactly(made) == exactly(VALUES)
    assert given == []


def test_arrays_that_are_equal_are_kept_once():
    one, twice = (items.pack(dict(list(VALUES.items())[:count])) for count in (1, 2))
    with np.load(BytesIO(twice), allow_pickle=False) as file:
        assert set(file.files) == {"recipes", "0"}
    assert len(twice) < len(one) + 200


def test_a_number_without_an_interval_is_only_given():
    again = items.again(items.pack({"exact": Estimate(1.0, 1.0, 1.0, 0)}), {"exact": Estimate(1.0, 1.0, 1.0, 0)})
    assert again == ({}, ["exact"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Estimate(1.0, 0.0, 2.0, 9), "a: nobody can compute it again"),
        (intervals.estimate(COLUMN, lambda x, axis=-1: x.mean(axis)), "a: a recipe cannot name .*lambda"),
        (intervals.estimate(COLUMN, partial(np.quantile, q=0.5)), "a: a recipe cannot name numpy:quantile"),
        (Estimate(1.0, 0.0, 2.0, 9, 0, Recipe(intervals.share, ({1.0},))), "a: a recipe cannot hold a set"),
    ],
    ids=["given", "lambda", "numpy's other functions", "a set"],
)
def test_what_could_not_be_made_again_is_refused_by_name(value, message):
    with pytest.raises(ValueError, match=message):
        items.pack({"a": value})


@pytest.mark.parametrize(
    "name",
    ["os:system", "builtins:eval", "numpy:load", "lib.measures.intervals:np.load", "lib.study.items:pack", "lib.x:y"],
)
def test_no_recipe_calls_anything_else(name):
    good = items.pack({"a": VALUES["a mean"]})
    text = f'{{"a": {{"call": "{name}", "with": ["x"], "and": {{}}}}}}'
    with np.load(BytesIO(good)) as file:
        arrays = {**file, "recipes": np.frombuffer(text.encode(), np.uint8)}
    buffer = BytesIO()
    np.savez_compressed(buffer, **arrays)
    with pytest.raises(ValueError, match="cannot name"):
        items.again(buffer.getvalue(), {"a": VALUES["a mean"]})


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", items.pack(VALUES)[:-30], items.pack({})])
def test_a_file_that_is_none_is_refused(content):
    with pytest.raises(ValueError, match=r"Error|not a zip"):
        items.again(content, VALUES)
