import math

import pytest
import torch
from torch.distributions import Independent, Normal

from lib.models.convolutional import Convolutional, ConvVAEFit
from lib.models.data import Dataset
from lib.models.networks import VAE
from lib.protocols import pair
from lib.protocols.pair import Pairs


class Blind(VAE):
    """Its posterior is the prior but for the mean of the pixels, and its decoder ignores the latents: all is known."""

    def __init__(self, latent=2):
        super().__init__()
        self.latent = latent
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def encode(self, x):
        mean = x.flatten(1).mean(1, keepdim=True).expand(-1, self.latent)
        return Independent(Normal(mean, torch.ones_like(mean)), 1)

    def decode(self, z):
        return Independent(Normal(torch.zeros(len(z), 1, 2, 2), torch.ones(len(z), 1, 2, 2)), 3)


def images(*values):
    return torch.tensor(values)[:, None, None, None].expand(-1, 1, 2, 2).clone()


def dataset():
    x, labels = images(0.0, 0.5, 1.0, 0.25), torch.tensor([0, 0, 1, 1])
    return Dataset("planted", x, labels, images(1.0, 1.0, 1.0), torch.zeros(3, dtype=torch.long), "")


def fitted(*index):
    return ConvVAEFit(Convolutional(len(index)), torch.tensor(index), torch.zeros(1), Blind())


def known_bound(pixel):
    """Two latents of mean 2 p - 1, and four pixels of that value under a standard normal."""
    squared = (2 * pixel - 1) ** 2
    return 2 * squared / 2 + 4 * (squared / 2 + math.log(2 * math.pi) / 2)


def test_codes_are_posterior_means_of_images_between_minus_one_and_one():
    torch.testing.assert_close(pair.codes(fitted(0), images(0.0, 0.75)), torch.tensor([[-1.0, -1.0], [0.5, 0.5]]))
    torch.testing.assert_close(pair.posterior(fitted(0), images(0.75)).stddev, torch.ones(1, 2))


def test_a_draw_is_without_replacement_in_order_and_depends_on_the_seed():
    index = torch.arange(100, 200)
    drawn = pair.draw(index, 20, seed=3)
    assert len(drawn.unique()) == 20
    assert drawn.tolist() == sorted(drawn.tolist())
    assert set(drawn.tolist()) <= set(index.tolist())
    assert drawn.tolist() == pair.draw(index, 20, seed=3).tolist()
    assert drawn.tolist() != pair.draw(index, 20, seed=4).tolist()
    assert pair.draw(index, 1000, seed=3).tolist() == index.tolist()


def test_neighbours_are_sought_among_the_index_alone():
    x = images(0.0, 0.5, 0.1, 0.9, 0.95)
    found = pair.neighbour_pairs(x, torch.tensor([0, 1, 3, 4]), 10, seed=0)
    assert found.points.tolist() == [0, 1, 3, 4]
    assert found.neighbours.tolist() == [1, 3, 4, 3]


def test_the_first_images_of_the_wanted_classes_are_found_and_of_others_where_there_are_none():
    labels = torch.tensor([7, 1, 4, 1, 4, 2])
    assert list(pair.first_of_classes(labels, [4, 1]).items()) == [(4, 2), (1, 1)]
    assert list(pair.first_of_classes(labels, [9, 7]).items()) == [(7, 0), (1, 1)]
    assert list(pair.first_of_classes(labels, [9, 8]).items()) == [(1, 1), (2, 5)]


def test_distances_are_in_output_units():
    found = pair.distances(images(0.0, 0.25, 0.5), Pairs(torch.tensor([0, 0]), torch.tensor([1, 2])))
    torch.testing.assert_close(found, torch.tensor([1.0, 2.0]))  # four pixels, each by a half and by one


def test_both_models_are_fitted_on_the_data_by_name(monkeypatch):
    asked = []

    def fit_all(specs, data_set, device):
        asked.append((data_set, device))
        return [fitted(*range(spec.examples or 9)) for spec in specs]

    monkeypatch.setattr(pair, "fit_all", fit_all)
    data_set = dataset()
    found = pair.fit(data_set, "cpu", examples=7, steps=3)
    assert {name: len(fit.index) for name, fit in found.items()} == {"memorised": 7, "well trained": 9}
    assert len(asked) == 1
    assert asked[0][0] is data_set
    assert asked[0][1] == "cpu"


def test_repeats_differ_by_their_seeds_and_the_first_is_the_pair_itself(monkeypatch):
    specs = []

    def fit_all(wanted, *_):
        specs.append(wanted)
        return [fitted(0) for _ in wanted]

    monkeypatch.setattr(pair, "fit_all", fit_all)
    found = pair.repeats(dataset(), "cpu", 3, seed=5, examples=2, steps=4)
    assert [list(each) for each in found] == [["memorised", "well trained"]] * 3
    assert [[spec.examples for spec in each] for each in specs] == [[2, 0]] * 3
    seeds = [each[0].seed for each in specs]
    assert seeds[0] == 5
    assert len(set(seeds)) == 3
    assert all(each[0].seed == each[1].seed for each in specs)


def test_the_first_seed_is_the_one_that_is_given_and_the_others_differ():
    assert pair.seeds(5, 1) == [5]
    assert pair.seeds(5, 3)[:2] == pair.seeds(5, 2)
    assert len({*pair.seeds(5, 4), *pair.seeds(6, 4)}) == 8


def test_the_third_case_has_the_pairs_of_the_first_in_the_model_of_the_second():
    few, many = fitted(0, 1), fitted(0, 1, 2, 3)
    many.model.weight.requires_grad_(False)
    cases = pair.cases({"memorised": few, "well trained": many}, dataset(), 9)
    assert [case.model for case in cases.values()] == ["memorised", "well trained", "well trained"]
    assert list(cases)[2] == pair.SAME_PAIRS
    assert cases[pair.SAME_PAIRS].pairs is cases["memorised"].pairs
    assert cases["memorised"].pairs.points.tolist() == [0, 1]
    assert cases["well trained"].pairs.neighbours.tolist() == [3, 3, 1, 0]
    torch.testing.assert_close(cases["memorised"].start[:, 0], torch.tensor([-1.0, 0.0]))
    torch.testing.assert_close(cases["memorised"].end[:, 0], torch.tensor([0.0, -1.0]))


def test_the_nearest_pair_of_one_class_is_not_the_nearest_of_all():
    x, labels = images(0.0, 0.1, 0.5, 0.8), torch.tensor([0, 1, 1, 0])
    pairs = Pairs(torch.tensor([0, 3, 1]), torch.tensor([1, 0, 2]))
    assert pair.nearest_of_one_class(x, labels, pairs) == 2


def test_pairs_of_one_class_are_chosen_where_there_are_any():
    labels = torch.tensor([0, 1, 0, 1])
    first = torch.tensor([0, 0, 1])
    assert pair.of_one_class(labels, Pairs(first, torch.tensor([1, 2, 3]))).tolist() == [1, 2]
    assert pair.of_one_class(labels, Pairs(first, torch.tensor([1, 3, 2]))).tolist() == [0, 1, 2]


def test_the_bound_of_a_model_that_can_be_solved():
    found = pair.negative_bound(Blind(), images(0.0, 0.75), 2, device=torch.device("cpu"), seed=0)
    torch.testing.assert_close(found, torch.tensor([known_bound(0.0), known_bound(0.75)]))


def test_bounds_are_of_the_own_training_images_and_of_the_held_out_ones():
    fits = {"few": fitted(0, 2, 0), "other": fitted(1, 1, 1, 3)}
    found = pair.bounds(fits, dataset(), 2, device=torch.device("cpu"), seed=0, most=3)
    assert found["few"].own.value == pytest.approx(known_bound(0.0))
    assert found["other"].own.value == pytest.approx(known_bound(0.5))
    assert found["other"].own.n == 3
    assert found["few"].held_out.value == pytest.approx(known_bound(1.0))


def test_the_untrained_decoder_depends_on_the_seed_alone():
    place, z = torch.device("cpu"), torch.randn(2, 3, dtype=torch.float32)
    shaped = dataset()._replace(train=torch.zeros(1, 1, 8, 4))
    first, again, other = (pair.untrained(shaped, place, latent=3, seed=seed) for seed in (0, 0, 1))
    z = z.to(torch.get_default_dtype())
    assert first(z).shape == (2, 1, 8, 4)
    assert torch.equal(first(z), again(z))
    assert not torch.equal(first(z), other(z))
