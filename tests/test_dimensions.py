import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from lib.models.convolutional import Convolutional, ConvVAEFit
from lib.models.data import Dataset
from lib.protocols import dimensions
from lib.protocols.dimensions import Halves

SPECTRUM = torch.tensor([[10.0, 5.0, 1.0, 0.1], [2.0, 1.0, 0.5, 0.5]])


def test_planted_ranks_are_counted_by_share_and_by_size():
    assert dimensions.rank_by_threshold(SPECTRUM, 0.09, relative=True).tolist() == [3, 4]
    assert dimensions.rank_by_threshold(SPECTRUM, 0.7, relative=False).tolist() == [3, 2]


def test_a_singular_value_at_the_threshold_is_not_above_it():
    assert dimensions.rank_by_threshold(SPECTRUM, 0.5, relative=True).tolist() == [1, 1]
    assert dimensions.rank_by_threshold(SPECTRUM, 1.0, relative=False).tolist() == [2, 1]


def test_mean_ranks_average_over_points():
    assert dimensions.mean_ranks(SPECTRUM, [0.09, 0.3], relative=True).tolist() == [3.5, 2.0]
    assert dimensions.mean_ranks(SPECTRUM, [0.7, 20.0], relative=False).tolist() == [2.5, 0.0]


def test_the_crossing_of_falling_ranks_is_between_thresholds():
    thresholds, ranks = np.array([1.0, 2.0, 4.0]), np.array([10.0, 8.0, 0.0])
    assert dimensions.crossing(ranks, thresholds, 8) == 2
    assert dimensions.crossing(ranks, thresholds, 9) == pytest.approx(1.5)
    assert dimensions.crossing(ranks, thresholds, 4) == pytest.approx(3)


def test_the_spread_of_a_cross_is_known_wherever_it_stands():
    cross = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    torch.testing.assert_close(dimensions.spread(cross + 7), torch.tensor([18 / 3, 2 / 3]).sqrt())


def test_a_cloud_has_its_planted_dimension():
    cloud = torch.randn(300, 7) * torch.tensor([1.0, 1.0, 1.0, 0.01, 0.01, 0.01, 0.01])
    assert dimensions.cloud_dimension(cloud, 0.1, seed=0, draws=20)[:5] == (3, 3, 3, 300, 0)
    assert dimensions.cloud_dimension(cloud, 0.001, seed=0, draws=20).value == 7


def test_a_direction_at_the_threshold_is_uncertain():
    cloud = torch.randn(50, 3) * torch.tensor([1.0, 0.5, 0.101])
    cloud[:, 2] *= 0.1 * dimensions.spread(cloud)[0] / dimensions.spread(cloud)[2]
    found = dimensions.cloud_dimension(cloud, 0.1, seed=0)
    assert (found.low, found.high) == (2, 3)
    assert found == dimensions.cloud_dimension(cloud, 0.1, seed=0)


def test_the_interval_of_a_dimension_holds_95_percent_of_resampled_ones(monkeypatch):
    counts = iter(range(42))
    monkeypatch.setattr(dimensions, "rank_by_threshold", lambda *_, **__: next(counts))
    found = dimensions.cloud_dimension(torch.randn(9, 2), 0.1, seed=0, draws=41)
    assert (found.low, found.high) == (1, 39)  # of 0 to 40
    assert found.value == 41


def test_information_is_the_divergence_to_the_prior_sorted():
    mean = torch.tensor([[0.0, 2.0, 1.0], [0.0, -2.0, 3.0]])
    deviation = torch.tensor([[1.0, 1.0, 0.5]]).expand(2, 3)
    third = (1 + 9) / 4 + 0.25 / 2 - 0.5 - math.log(0.5)
    torch.testing.assert_close(dimensions.information(mean, deviation), torch.tensor([third, 2.0, 0.0]))


def test_enough_codes_stay_as_they_are():
    mean = torch.randn(5, 2)
    rng = torch.Generator().manual_seed(0)
    assert torch.equal(dimensions.as_many(mean, torch.ones(5, 2), 5, rng=rng), mean)
    assert torch.equal(dimensions.as_many(mean, torch.ones(5, 2), 3, rng=rng), mean[:3])


def test_too_few_codes_are_made_up_by_samples_of_their_posteriors():
    mean, deviation = torch.tensor([[10.0], [-10.0]]), torch.tensor([[2.0], [0.0]])
    found = dimensions.as_many(mean, deviation, 1001, rng=torch.Generator().manual_seed(0))
    assert found.shape == (1001, 1)
    torch.testing.assert_close(found[1::2], torch.full((500, 1), -10.0))
    assert found[::2].mean().item() == pytest.approx(10, abs=0.3)
    assert found[::2].std().item() == pytest.approx(2, abs=0.2)


def test_every_estimator_finds_a_plane():
    plane = torch.rand(400, 2) @ torch.linalg.qr(torch.randn(6, 2))[0].T
    found = dimensions.estimated({"plane": plane, "line": plane[:, :1] * torch.ones(6)}, seed=0, halves=2)
    assert found["points"].tolist() == ["plane", "line"]
    for label in dimensions.ESTIMATORS:
        assert [half.mean for half in found[label]] == pytest.approx([2, 1], abs=0.3), label
    assert found["PCA"][0] == Halves(2.0, 0.0)


class Mean:
    """An estimator that tells which points it was given."""

    def fit(self, cloud):
        assert len(cloud) == 5
        self.dimension_ = cloud.mean()
        return self


def test_mean_and_deviation_are_over_random_halves(monkeypatch):
    monkeypatch.setattr(dimensions, "ESTIMATORS", {"mean": Mean})
    found = dimensions.estimated({"points": torch.arange(10.0)[:, None]}, seed=4, halves=3)["mean"][0]
    halves = [np.random.default_rng([4, half]).permutation(10)[:5].mean() for half in range(3)]
    assert found == pytest.approx((np.mean(halves), np.std(halves, ddof=1)))
    assert str(Halves(1.2345, 0.5)) == "1.2 ± 0.5"


def test_the_numbers_of_a_planted_cloud():
    mean = torch.randn(200, 4) * torch.tensor([1.0, 0.5, 0.11, 0.01])
    spectrum = torch.tensor([[2.0, 0.9, 0.22, 0.1], [1.0, 0.5, 0.11, 0.05]])
    cloud = dimensions.Cloud(Normal(mean, torch.ones_like(mean)), spectrum, torch.zeros(200, dtype=torch.long))
    found = dimensions.numbers(cloud, 0.1, 2)
    assert found.dimension.tolist() == [3, 3]
    assert found.higher.tolist() == [2, 2]
    torch.testing.assert_close(found.log_size, spectrum[:, :2].log().mean(1))
    assert found.cloud.tolist() == [3]


def test_clouds_are_of_the_own_training_images(monkeypatch):
    class Given(NamedTuple):
        generate: Callable

    network = Given(lambda z: z * torch.tensor([1.0, 3.0]))
    fit = ConvVAEFit(Convolutional(2, seed=4), torch.tensor([1, 3]), torch.zeros(1), network)
    monkeypatch.setattr(dimensions.pair, "posterior", lambda fit, images: Normal(images.flatten(1), 1.0))
    train = torch.arange(8.0).reshape(4, 1, 1, 2)
    data = Dataset("planted", train, torch.tensor([5, 6, 7, 8]), train, torch.zeros(4, dtype=torch.long), "")
    found = dimensions.of_models({"one": fit}, data, 9)["one"]
    assert found.labels.tolist() == [6, 8]
    torch.testing.assert_close(found.posterior.mean, train[[1, 3]].flatten(1))
    torch.testing.assert_close(found.spectrum, torch.tensor([[3.0, 1.0], [3.0, 1.0]]))
