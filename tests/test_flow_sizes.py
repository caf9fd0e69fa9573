"""What is measured of flows: at ends whose numbers are known, of copies that are exact, of halves that are disjoint."""

import functools
import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from scipy.stats import multivariate_normal

from lib.measures.flows import mixture_velocity, sampler
from lib.models.data import Dataset
from lib.models.flows import Flow, VelocityNetwork
from lib.protocols import flow_ends, flow_halves, flow_sizes, flow_ways

HOW = flow_sizes.How(steps=40, samples=30, points=5, threshold=0.1, seed=0)
NOISE = 0.05


def points(count=12, dim=9, seed=0):
    return 2 * torch.rand(count, dim, generator=torch.Generator().manual_seed(seed)) - 1


def dataset(n=41, side=3):
    x = torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    return Dataset("small", x, torch.arange(n), x.flip(0)[:20] / 2, torch.arange(20), "digest")


def of_end(end, train, held_out):
    return flow_sizes.measure(end.velocity(), end.double().velocity(), train, held_out, NOISE, HOW)


def test_the_memoriser_copies_everything_and_its_density_is_the_kernel_estimate():
    train = 3 * points()
    found = of_end(flow_ends.memoriser(train, NOISE), train, 3 * points(40, seed=1))
    assert flow_sizes.share(found) == 1
    assert found.distance.max() < 4 * NOISE * 3  # nine pixels of noise
    seen, _ = flow_sizes.compared(train, train, NOISE, HOW)
    exact = flow_ends.memoriser(train, NOISE).log_p(seen)
    assert (found.log_p_train - exact).abs().max() < 0.3  # nats, at 40 steps
    volume = -9 * math.log(NOISE) - math.log(12)  # all noise is shared among twelve images with their noise
    assert found.volume_train.mean() == pytest.approx(volume, abs=0.3)
    assert (found.dimension_train == 9).all()  # all directions shrink alike


def test_held_out_images_belong_to_the_seed_and_are_no_first_ones_of_a_file():
    held_out, how = torch.arange(1000.0)[:, None], HOW._replace(samples=50, points=50)
    asked = [flow_sizes.compared(held_out, held_out, 1e-9, how._replace(seed=seed))[1].round() for seed in (0, 0, 1)]
    assert torch.equal(asked[0], asked[1])
    assert not torch.equal(asked[0], asked[2])
    assert len(asked[0].unique()) == 50
    assert asked[0].max() > 800


def test_one_wide_part_copies_nothing_and_leaves_its_volume():
    train = points()
    wide = flow_ends.Mixture(torch.ones(1), torch.zeros(1, 9), torch.full((1,), 2.0))
    found = of_end(wide, train, points(40, seed=1))
    assert flow_sizes.share(found) < 0.1
    assert found.volume_noise.mean() == pytest.approx(-9 * torch.tensor(2.0).log().item(), abs=0.02)
    assert (found.dimension_noise == 9).all()


def test_the_density_of_a_mixture_is_that_of_scipy():
    mixture = flow_ends.Mixture(torch.tensor([1.0, 3.0]), points(2, 4), torch.tensor([0.5, 2.0]))
    x = points(6, 4, seed=2)
    parts = zip((0.25, 0.75), mixture.means.numpy(), (0.5, 2.0), strict=True)
    truth = sum(w * multivariate_normal(m, s**2).pdf(x.numpy()) for w, m, s in parts)
    torch.testing.assert_close(mixture.log_p(x).exp(), torch.from_numpy(truth))


@pytest.mark.parametrize("name", ["memoriser", "learner"])
def test_the_error_of_few_steps_falls_with_their_square(name):
    train = points(30, 4)
    ends = {"memoriser": flow_ends.memoriser(train, 0.5), "learner": flow_ends.learner(train, 3, seed=0)}
    errors = flow_ends.errors(ends[name], torch.randn(6, 4), [40, 80, 160])
    assert errors[0] / errors[1] == pytest.approx(4, abs=1.2)
    assert errors[1] / errors[2] == pytest.approx(4, abs=0.6)


def test_the_learner_finds_parts_and_makes_none_of_the_images():
    centres = torch.tensor([[4.0, 0, 0], [-4.0, 0, 0]])
    train = (centres[:, None] + 0.5 * torch.randn(2, 60, 3)).flatten(0, 1)
    end = flow_ends.learner(train, 2, seed=0)
    assert (torch.cdist(end.means, centres).min(0).values < 0.3).all()
    assert end.scales == pytest.approx(torch.full((2,), 0.5), abs=0.1)
    made = sampler(end.velocity(), 40)(torch.randn(200, 3))
    assert torch.cdist(made, train).min(1).values.median() > 0.05


def test_halves_share_no_image_and_can_be_loaded_again():
    images = dataset()
    again = images._replace(again=lambda: images)
    first, second = (flow_sizes.half(again, number) for number in (0, 1))
    assert len(first.train) == len(second.train) == 20
    assert torch.cdist(first.train.flatten(1), second.train.flatten(1)).min() > 0
    assert len({images.digest, first.digest, second.digest}) == 3
    assert torch.equal(first.again().train, first.train)


def test_noise_is_the_same_for_all_and_more_begins_with_the_same():
    few, more = (flow_sizes.noise_for(count, points(), HOW) for count in (3, 8))
    assert torch.equal(few, more[:3])


def test_two_memorisers_of_one_set_agree_and_of_disjoint_sets_do_not():
    a, b, z = 3 * points(8), 3 * points(8, seed=5), torch.randn(60, 9)
    emit = lambda train: sampler(flow_ends.memoriser(train, NOISE).velocity(), 40)(z)  # noqa: E731
    apart = flow_halves.pair(emit(a), emit(b), [a, b])
    assert flow_halves.nearer_to_each_other(apart) == 0
    same = flow_halves.pair(emit(a), emit(a), [a, b])
    assert flow_halves.nearer_to_each_other(same) == 1
    assert flow_halves.relative(same) == 0
    assert 0.5 < flow_halves.relative(apart) < 1.1


def test_models_that_share_an_image_are_refused():
    with pytest.raises(ValueError, match="2 training images of the first model are among"):
        flow_halves.pair(points(3), points(3), [points(4), points(4)[:2]])


def test_samples_of_unequal_number_are_refused():
    with pytest.raises(ValueError, match="row by row"):
        flow_halves.pair(points(3), points(2), [points(4), points(4, seed=1)])


@pytest.mark.usefixtures("single_precision")
def test_fits_of_all_sizes_are_measured_over_models_and_time(tmp_path, monkeypatch):
    monkeypatch.setattr(flow_sizes, "fit", functools.partial(flow_sizes.fit, folder=tmp_path))
    images, plan = dataset(), [Flow(n, 32, 8, width=16, blocks=1, halvings=2) for n in (4, 8)]
    how = flow_sizes.How(6, 20, 3, 0.1, 0)
    with ThreadPoolExecutor(1) as executor:
        fits = flow_sizes.fits(plan, [0, 7], images, "cpu", executor)
    assert [[(fitted.spec.examples, fitted.spec.seed) for fitted in of] for of in fits] == [
        [(4, 0), (4, 7)],
        [(8, 0), (8, 7)],
    ]
    assert set(fits[0][0].index.tolist()) < set(fits[1][0].index.tolist())  # sizes of one seed are nested
    found = [[flow_sizes.of_fit(fitted, images, how) for fitted in of] for of in fits]
    measured = flow_sizes.summaries(found[0])
    assert list(measured) == list(flow_sizes.SUMMARIES)
    assert {name for name, value in measured.items() if value.n != 2} == {flow_sizes.SHARE}
    none = [one._replace(ratio=torch.ones(20)) for one in found[0]]
    exact = flow_sizes.summary(flow_sizes.SHARE, none)
    assert (exact.value, exact.n) == (0, 40)
    assert exact.high == pytest.approx(1 - 0.025 ** (1 / 40))  # exact, for none of 40
    assert all(value.high <= 1 for name, value in measured.items() if name.startswith("AUC"))
    unlike = [(a.volume_noise - b.volume_noise).abs().min() for a, b in found]
    assert min(unlike) > 0  # models of two seeds are asked about different noise
    times = [flow_sizes.over_time(of, images, how) for of in fits]
    assert list(times[0]) == [8, 16, 32]
    assert times[0][32] == [flow_sizes.share(one) for one in found[0]]
    assert flow_sizes.onset(times, 32).n == 2
    same = flow_sizes.change(found[0], found[0], "minus log volume, noise")
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert flow_sizes.change(found[0], found[0], "minus log volume, noise", ratio=True).value == 1


@pytest.mark.usefixtures("single_precision")
def test_training_images_and_ways_are_those_of_the_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(flow_sizes, "fit", functools.partial(flow_sizes.fit, folder=tmp_path))
    images = dataset()
    with ThreadPoolExecutor(1) as executor:
        ((fitted,),) = flow_sizes.fits([Flow(4, 16, 4, width=8, blocks=1)], [3], images, "cpu", executor)
    train = flow_sizes.training(fitted, images)
    assert torch.equal(train, VelocityNetwork.observe(images.train[fitted.index]))
    ways = flow_ways.of_fits([fitted, fitted], images, 3, HOW)
    torch.testing.assert_close(ways.points[:, -1], flow_sizes.emitted(fitted.model, train, HOW)[:3].repeat(2, 1))
    assert ways.distance.shape == (6, HOW.steps + 1)


def test_a_memoriser_heads_for_the_mean_at_first_and_for_a_copy_at_last():
    train = torch.tensor([[-3.0, 0.0], [3.0, 0.0]])
    way = flow_ways.way(flow_ends.memoriser(train, 1e-3).velocity(), torch.tensor([[0.5, 1.0], [-2.0, 0.0]]), train, 60)
    assert way.points.shape == (2, 61, 2)
    assert way.points[:, 0].tolist() == [[0.5, 1.0], [-2.0, 0.0]]
    torch.testing.assert_close(way.distance[:, 0], torch.full((2,), 3.0))  # the mean of both, whatever the noise
    assert way.distance[:, -1].max() < 0.01
    assert way.distance.diff(dim=1).max() < 1e-3  # it never rises, but by the noise of an image


def test_of_one_round_part_a_way_and_where_it_heads_are_known():
    """Points are m t + z sqrt(t^2 s^2 + (1 - t)^2), and E[x | x_t = y] is that of two normal variables."""
    mean, scale, z = torch.tensor([[1.0, -2.0]]), 0.5, torch.tensor([[0.3, 0.8]])
    way = flow_ways.way(mixture_velocity([1.0], mean, [scale]), z, mean, 400)
    t = way.times[:, None]
    spread = ((t * scale) ** 2 + (1 - t) ** 2).sqrt()
    torch.testing.assert_close(way.points[0], t * mean + spread * z, atol=1e-4, rtol=0)
    torch.testing.assert_close(way.distance[0], (t * scale**2 / spread * z).norm(dim=1), atol=1e-4, rtol=0)
