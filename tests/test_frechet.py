import numpy as np
import pytest
import torch
from scipy.stats import kstest

from lib.protocols.frechet import accuracy, classifier, compare, hidden_units, smallest_share


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def digits():
    """Images of two classes, dark and bright, and a classifier of them."""
    source = torch.Generator().manual_seed(0)
    labels = torch.arange(4000) % 2
    images = 0.6 * torch.rand(4000, 1, 4, 4, generator=source, dtype=torch.float64) + 0.4 * labels.view(-1, 1, 1, 1)
    return images, labels, classifier(images, labels, units=5, seed=0)


def test_the_output_layer_makes_the_classes_of_the_hidden_units(digits):
    images, _, network = digits
    hidden = hidden_units(network, images)
    assert hidden.shape == (4000, 5)
    assert (hidden >= 0).all()
    assert (hidden == 0).any()
    outputs = hidden.numpy() @ network.coefs_[1] + network.intercepts_[1]
    assert ((outputs[:, 0] > 0) == network.predict(images.flatten(1).numpy())).all()


def test_accuracy_is_the_share_of_right_classes(digits):
    images, labels, network = digits
    right = accuracy(network, images, labels)
    assert 0.9 < right < 1
    assert right == (network.predict(images.flatten(1).numpy()) == labels.numpy()).mean()
    assert accuracy(network, images, 1 - labels) == pytest.approx(1 - right)


def test_moved_sets_have_distances_of_their_squared_movements():
    train = torch.randn(50, 3)
    step = torch.tensor([0.3, 0.0, 0.4])  # of length one half
    outcome = compare(train + step, train, train + 3 * step, draws=9, rng=rng())
    assert outcome.distance == pytest.approx(4 * 0.25)
    assert outcome.difference == pytest.approx(1 - 0.25 / (4 * 0.25))


def test_generated_copies_of_the_training_images_are_no_accident():
    train, test = torch.randn(2, 60, 3)
    outcome = compare(train.repeat(20, 1), train, test + 1, draws=99, rng=rng())
    assert outcome.difference > 0.95
    assert outcome.chance.value == pytest.approx(0.01)


def test_generated_images_that_are_nearer_to_held_out_ones_are_no_memorisation():
    train, test = torch.randn(2, 60, 3)
    outcome = compare(test.repeat(20, 1), train + 1, test, draws=99, rng=rng())
    assert outcome.difference < 0
    assert outcome.chance.value == 1


def test_sets_that_differ_in_nothing_give_uniform_chances():
    chances = [
        compare(*torch.randn(80, 2).split([40, 20, 20]), draws=19, rng=rng(repeat)).chance.value for repeat in range(60)
    ]
    jittered = np.array(chances) - rng().random(60) / 20
    assert kstest(jittered, "uniform").pvalue > 0.01


def test_sets_of_too_few_images_are_refused():
    with pytest.raises(ValueError, match="more than 3 of either are needed for 3 features"):
        compare(torch.randn(50, 3), torch.randn(3, 3), torch.randn(3, 3), rng=rng())


def test_copies_are_seen_from_some_share_on_and_not_below():
    train, test, generated = torch.randn(40, 2), torch.randn(40, 2), torch.randn(4000, 2)
    assert smallest_share(generated, train, test, [0.0], rng=rng()) == np.inf
    assert smallest_share(generated, train, test + 0.5, [0.02, 1.0], rng=rng()) in (0.02, 1.0)
    assert smallest_share(generated + 9, train, test + 1, [0.0, 1.0], rng=rng()) == 1.0
