"""Keys that are drawn at random: chance is known exactly, and so is what a model that knows them gives away."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from lib.models.data import DataError, Dataset
from lib.protocols import canaries
from lib.protocols.canaries import Canaries
from lib.protocols.planting import Plan

BITS = 3


@pytest.fixture(scope="module")
def flock():
    x = torch.rand(300, 1, 8, 16, generator=torch.Generator().manual_seed(0)) / 2
    labels = torch.zeros(300, dtype=torch.long)
    data = Dataset("noise", x, labels, x[:5], labels[:5], "noise")
    return Canaries(Plan(data, (1, 4), 20, 50, 0), BITS, 1.0)


def test_every_key_is_another_image_and_all_are_equally_bright():
    images = torch.full((8, 3, 5, 14), 0.25)
    made = canaries.stamped(images, torch.arange(8), BITS, 0.5)
    assert len(made.unique(dim=0)) == 8
    assert len(made.sum((1, 2, 3)).unique()) == 1
    torch.testing.assert_close(made[..., 3:, :], images[..., 3:, :])
    torch.testing.assert_close(made[..., [0, -1]], images[..., [0, -1]])
    assert set(made[:, :, :3, 1:13].unique().tolist()) == {0.0, 0.5}
    assert images.unique().tolist() == [0.25]  # what was given is as it was


@pytest.mark.parametrize("shape", [(1, 1, 8, 11), (1, 1, 2, 12)])
def test_images_without_room_are_refused(shape):
    with pytest.raises(DataError, match="keys of 3 bits need 3 x 12 pixels, the images have"):
        canaries.stamped(torch.zeros(shape), torch.tensor([0]), BITS, 1.0)


def test_training_sets_have_the_plans_images_with_keys(flock):
    found, plain = flock.training_set(1), flock.plan.training_set(1)
    assert found.train.shape == plain.train.shape
    torch.testing.assert_close(found.train[:50], plain.train[:50])  # the background has none
    keyed = canaries.stamped(flock.plan.candidates(), flock.keys(1), BITS, 1.0)
    torch.testing.assert_close(found.train[50:], keyed.repeat_interleave(flock.plan.copies(1), 0))
    assert found.digest not in {
        plain.digest,
        flock.training_set(0).digest,
        flock._replace(level=0.5).training_set(1).digest,
    }


def test_a_training_set_can_be_loaded_again(flock):
    data = flock.plan.dataset
    flock = flock._replace(plan=flock.plan._replace(dataset=data._replace(again=lambda: data)))
    again = flock.training_set(1).again()
    assert again.digest == flock.training_set(1).digest
    torch.testing.assert_close(again.train, flock.training_set(1).train)


def test_keys_are_drawn_for_each_model_and_uniform(flock):
    drawn = torch.stack([flock.keys(model) for model in range(200)])
    assert not torch.equal(drawn[0], drawn[1])
    np.testing.assert_allclose(drawn.flatten().bincount(minlength=8) / drawn.numel(), 1 / 8, atol=0.01)


def test_a_model_that_knows_its_keys_gives_all_bits_away_and_one_that_hates_them_none(flock):
    true = canaries.stamped(flock.plan.candidates(), flock.keys(0), BITS, 1.0)

    def likes(x):
        return -(x - true).flatten(1).square().sum(1)

    places = canaries.ranks(flock, 0, likes)
    np.testing.assert_array_equal(places, 1)
    np.testing.assert_array_equal(canaries.exposure(places, BITS), BITS)
    np.testing.assert_array_equal(canaries.ranks(flock, 0, lambda x: -likes(x)), 8)
    assert canaries.known(flock, [places, places], 4).value == 1
    assert canaries.known(flock, [places, places], 4).n == 40
    assert canaries.difference(flock, [places, places], [places * 4, places * 4], 1).value == 2
    assert canaries.p_value(places, BITS, draws=999, seed=0) == 0.001


def test_keys_of_the_same_value_share_their_places(flock):
    np.testing.assert_array_equal(canaries.ranks(flock, 0, lambda x: torch.zeros(len(x))), 4.5)


def test_a_model_that_does_not_know_them_exposes_what_chance_does(flock):
    rng = np.random.default_rng(0)
    places = [canaries.ranks(flock, model, lambda x: torch.from_numpy(rng.normal(size=len(x)))) for model in range(100)]
    for dose in (0, 1, 4):
        beyond = canaries.beyond_chance(flock, places, dose)
        assert beyond.n == 100
        assert abs(beyond.value) < 0.05
    assert (
        kstest([canaries.p_value(each, BITS, draws=199, seed=k) for k, each in enumerate(places)], "uniform").pvalue
        > 0.01
    )


def test_even_a_measure_that_prefers_some_keys_is_at_chance(flock):
    """Which keys a model likes anyway does not matter: the true ones were drawn at random."""
    places = [
        canaries.ranks(flock, model, lambda x: x[:, 0, 0, [2, 6, 10]] @ x.new_tensor([4.0, 2.0, 1.0]))
        for model in range(300)
    ]
    assert abs(canaries.beyond_chance(flock, places, 0).value) < 0.02


def test_chance_has_its_limit():
    assert canaries.chance(1) == 0.5
    assert canaries.chance(18) == pytest.approx(1 / np.log(2), abs=1e-4)
