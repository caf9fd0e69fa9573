import numpy as np
import pytest
import torch

from lib.measures.intervals import mean_of_few
from lib.protocols import seeds


def test_models_have_their_mean_with_an_interval_and_a_null():
    found = seeds.over(np.mean, [torch.tensor([0.0, 2.0]), torch.tensor([4.0]), torch.tensor([2.0])])
    assert found.each == [1, 4, 2]
    assert found.mean == mean_of_few(torch.tensor([1.0, 4.0, 2.0]))
    assert found.null == 3


def test_the_table_has_a_column_for_every_model():
    one = seeds.over(np.median, [torch.tensor([0.0]), torch.tensor([4.0])])
    (row,) = seeds.frame({"dip": one}).to_dict("records")
    assert row == {
        "": "dip",
        "models 1": 0,
        "models 2": 4,
        "mean over models": one.mean,
        "null: most that two of a row differ": 4,
    }


def test_one_model_has_no_interval():
    with pytest.raises(ValueError, match="at least 2"):
        seeds.over(np.mean, [torch.zeros(3)])
