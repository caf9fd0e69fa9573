import math

import numpy as np
import pytest
import torch

from lib.measures.intervals import Estimate
from lib.protocols import quality


class Reader:
    """A classifier that reads the probabilities of the classes off the pixels."""

    def predict_proba(self, x):
        return x


def images(rows):
    return torch.tensor(rows)[:, None, None, :]


SURE = [[1.0, 0.0], [0.0, 1.0]] * 20
DOUBTFUL = [[0.5, 0.5]] * 40


def test_sure_and_balanced_images_tell_the_logarithm_of_the_number_of_classes():
    assert quality.information(np.array(SURE)) == pytest.approx(math.log(2))
    assert quality.information(np.array(DOUBTFUL)) == pytest.approx(0)
    assert quality.information(np.array([[1.0, 0.0]] * 9)) == pytest.approx(0)
    assert quality.information(np.array([SURE, DOUBTFUL])) == pytest.approx([math.log(2), 0])


def test_one_and_three_quarters_are_told_as_they_should(monkeypatch):
    monkeypatch.setattr(quality, "MLPClassifier", Reader)
    sharp = [[0.9, 0.1], [0.1, 0.9]] * 20
    told = quality.information(np.array(sharp))
    found = quality.uninformative.__wrapped__(Reader(), images(sharp), images(SURE), seed=0)
    assert found.value == pytest.approx(0.8 * math.log(2) / told)
    assert found.low <= found.value <= found.high
    assert quality.uninformative.__wrapped__(Reader(), images(SURE), images(SURE), seed=0).value == pytest.approx(0.8)


def test_the_worst_bar_is_the_one_whose_interval_reaches_highest():
    good, bad = Estimate(0.9, 0.8, 1.0, 9), Estimate(0.7, 0.2, 1.2, 9)
    assert quality.worst(good, bad) is bad
