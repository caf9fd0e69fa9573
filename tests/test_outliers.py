import math

import numpy as np
import pytest
import torch

from lib.protocols import outliers


def test_the_highest_are_one_in_twenty():
    high = outliers.highest(torch.arange(100.0))
    assert high.nonzero().flatten().tolist() == [95, 96, 97, 98, 99]


def test_the_mean_probability_is_a_mean_of_probabilities():
    p = torch.rand(6, 4) + 0.1
    torch.testing.assert_close(outliers.mean_probability(p.log() - 900), p.mean(0).log() - 900)
    assert outliers.mean_probability(torch.zeros(7, 1)).item() == pytest.approx(0)
    assert outliers.mean_probability(torch.tensor([[0.0], [-math.inf]])).item() == pytest.approx(math.log(0.5))


def test_planted_outliers_are_in_the_tail_and_others_are_not():
    log_p = torch.arange(100.0)
    high = torch.zeros(100, dtype=torch.bool)
    high[[0, 3, 50, 99]] = True
    assert outliers.outside_tail(log_p, high).tolist() == [0, 0, 1, 1]


def test_bins_count_every_image_once():
    rng = np.random.default_rng(0)
    log_p, high = torch.from_numpy(rng.normal(size=500)), torch.from_numpy(rng.random(500) < 0.1)
    bins = outliers.bins(log_p, high)
    assert len(bins.centres) == 14
    assert bins.high.sum() == int(high.sum())
    assert bins.regular.sum() == int((~high).sum())
    assert (abs(log_p.numpy() - bins.centres[bins.of_image]) <= bins.width / 2 + 1e-9).all()
    np.testing.assert_allclose(bins.share * (bins.regular + bins.high), bins.high)


def test_an_empty_bin_has_no_share_and_no_example():
    high = torch.tensor([True, False, False, False])
    bins = outliers.bins(torch.tensor([0.0, 0.0, 9.0, 10.0]), high, 5)
    assert bins.regular.tolist() == [1, 0, 0, 0, 2]
    assert bins.high.tolist() == [1, 0, 0, 0, 0]
    assert bins.share.tolist() == [0.5, 0, 0, 0, 0]
    assert bins.examples(high) == [(1, 0)]


def test_a_bin_of_one_kind_alone_has_no_example():
    high = torch.tensor([True, False, True])
    bins = outliers.bins(torch.tensor([0.0, 5.0, 10.0]), high, 3)
    assert bins.high.tolist() == [1, 0, 1]
    assert bins.examples(high) == []
