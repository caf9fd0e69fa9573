"""The measures on flows whose answers are known: a linear map, a memoriser, a mixture; and folds of few images."""

import functools
import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from lib.measures.flows import mixture_velocity, sampler
from lib.measures.intervals import Estimate
from lib.models.data import Dataset
from lib.models.flows import Flow
from lib.models.stochastic import Stochastic
from lib.protocols import flow_ends, flow_folds, flow_measures, flow_sizes
from lib.protocols.flow_measures import How, joined

HOW = How(steps=40, pairs=4, solved=2, iterations=60, radii=(0.1, 0.2), time=0.8, seed=0)
NOISE = 0.05


def points(count, dim=9, seed=0):
    return 3 * (2 * torch.rand(count, dim, generator=torch.Generator().manual_seed(seed)) - 1)


def dataset(n=40, side=3):
    x = torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    return Dataset("small", x, torch.arange(n), x.flip(0)[:20] / 2, torch.arange(20), "digest")


def test_a_linear_map_has_the_dip_and_the_decay_of_the_prior_and_makes_no_detour():
    z0, z1 = torch.randn(2, 5, 4)
    found = joined(lambda z: 0.5 * z, z0, z1, (0.1, 0.2))
    torch.testing.assert_close(found.dip, -(z0 - z1).square().sum(1) / 4)
    assert found.volume_dip.abs().max() < 1e-9
    torch.testing.assert_close(found.decay, torch.full((5,), -(0.1 + 0.2) / 2 / 0.5**2))
    torch.testing.assert_close(found.detour, torch.ones(5))


def test_about_a_memorised_image_the_density_decays_as_its_noise_says():
    train = points(6)
    velocity = flow_ends.memoriser(train, NOISE).velocity()
    found = flow_measures.without_codes(
        velocity, *flow_measures.compared(train, points(8, seed=1), NOISE, HOW)[::2], HOW
    )
    assert found.noise.decay.median() == pytest.approx(-(0.1 + 0.2) / 2 / NOISE**2, rel=0.2)
    assert found.seen.dimension.max() < 2  # of nine; what is left is the noise
    assert found.unseen.dimension.min() > 9  # far from all images, the density grows fast with the noise


def test_a_round_flow_is_found_flat_by_search_and_by_shortest_paths():
    velocity = mixture_velocity([1.0], torch.zeros(1, 9), [2.0])
    seen, neighbours, unseen = points(4), points(4, seed=1), points(4, seed=2)
    found = flow_measures.measure(velocity, velocity, seen, neighbours, unseen, HOW)
    assert found.inverse.max() < 1e-3
    assert max(found.seen.search.max(), found.unseen.search.max()) < 1e-3
    assert found.solved == pytest.approx(torch.ones(2), abs=1e-4)
    torch.testing.assert_close(found.code_seen, seen.square().mean(1) / 4, rtol=0.02, atol=0)


def test_the_straight_line_between_images_is_the_shortest_path_of_a_flow_that_bends():
    velocity = flow_ends.learner(points(60), 3, seed=0).velocity()
    z = torch.randn(8, 9)
    decoder = sampler(velocity, 40)
    found = flow_measures.measure(velocity, velocity, decoder(z[:4]), decoder(z[4:]), points(4, seed=2), HOW)
    assert (found.train.detour > found.solved.max()).any()
    assert (found.solved > 1 - 1e-6).all()
    assert found.solved.max() < 1.03


def test_a_measure_transfers_where_the_learnt_go_the_way_of_the_ends():
    up, down, none = Estimate(1, 0.5, 1.5, 3), Estimate(-1, -1.5, -0.5, 3), Estimate(0.1, -1, 1, 3)
    said = [flow_measures.transfers(*both) for both in [(up, up), (down, up), (none, up), (up, none)]]
    assert said == ["yes", "reversed", "not seen", "the ends do not differ"]


def test_every_image_is_held_out_once_in_a_repeat_and_trained_on_otherwise():
    images = dataset()._replace(again=dataset)
    division = flow_folds.Division(images=12, folds=3, repeats=2, seed=5)
    rows, held_out = division.rows(images), division.held_out()
    for repeat in range(2):
        sets = [division.training_set(images, repeat, fold) for fold in range(3)]
        assert [len(each.train) for each in sets] == [8, 8, 8]
        for image, fold in zip(rows, held_out[repeat], strict=True):
            there = [bool((each.train == images.train[image]).flatten(1).all(1).any()) for each in sets]
            assert there == [k != fold for k in range(3)]
        assert torch.equal(sets[1].again().train, sets[1].train)
        assert len({each.digest for each in sets}) == 3


def test_memorisers_have_the_score_of_their_densities_and_no_null():
    images = dataset()
    division = flow_folds.Division(12, 4, 3, 0)
    x = flow_folds.asked_about(images, division, 12, NOISE)
    ends = flow_folds.ends(images, division, NOISE, 2)
    log_p = flow_folds.of_models(ends["memoriser"], flow_ends.Mixture.log_p, x.double())
    found = flow_folds.scored(log_p, division.held_out(), seed=0)
    entropy = -math.log(9) - 9 / 2 * (1 + math.log(2 * math.pi * NOISE**2))
    assert found.seen.value == pytest.approx(entropy, abs=2)
    assert found.score.value > 100
    assert abs(found.null.value) < 1e-6  # an image has the same density in all memorisers that have it
    assert found.excess.value == pytest.approx(found.score.value)
    learners = flow_folds.of_models(ends["learner"], flow_ends.Mixture.log_p, x.double())
    assert flow_folds.scored(learners, division.held_out(), seed=0).score.value < 10


def test_the_share_of_an_estimator_is_found():
    held_out = flow_folds.Division(200, 4, 3, 0).held_out()
    truth, noise, other = torch.randn(3, 3, 4, 200, generator=torch.Generator().manual_seed(0))
    found = flow_folds.estimator_share(truth + 2 * noise, truth + 2 * other, held_out)
    assert found.value == pytest.approx(4 / 5, abs=0.05)
    assert flow_folds.estimator_share(truth, truth, held_out).value == 0


@pytest.mark.usefixtures("single_precision")
def test_fits_are_measured_and_scored(tmp_path, monkeypatch):
    images = dataset()
    monkeypatch.setattr(flow_folds, "fit_all", functools.partial(flow_folds.fit_all, folder=tmp_path))
    division = flow_folds.Division(9, 3, 2, 0)
    flow, vae = Flow(0, 64, 8, width=8), Stochastic("constant", 1, 0, 40, 8, latent=2, width=4)
    with ThreadPoolExecutor(1) as executor:
        flows, vaes = (flow_folds.fit(spec, images, division, "cpu", executor) for spec in (flow, vae))
    assert len({fitted.spec.seed for of_repeat in flows for fitted in of_repeat}) == 6
    x = flow_folds.asked_about(images, division, 9, NOISE)
    exact = flow_folds.of_models(flows, flow_folds.of_flow, x, 12)
    drawn = [flow_folds.of_models(vaes, flow_folds.of_autoencoder, x, 40, k) for k in (0, 1)]
    assert exact.shape == drawn[0].shape == (2, 3, 9)
    assert 0 < flow_folds.estimator_share(*drawn, division.held_out()).value < 1
    assert flow_folds.scored(exact, division.held_out(), seed=0).spread.value > 0
    how = HOW._replace(steps=12, pairs=3, solved=1, iterations=10)
    found = flow_measures.of_fit(flows[0][0], division.training_set(images, 0, 0), how)
    sides = [(fitted, division.training_set(images, 0, k)) for k, fitted in enumerate(flows[0][:2])]
    kinds = {
        "memoriser": lambda train: flow_ends.memoriser(train, NOISE),
        "learner": lambda train: flow_ends.learner(train, 2, seed=0),
    }
    ends = {
        name: [flow_measures.of_end(kind(flow_sizes.training(*side)), *side, how) for side in sides]
        for name, kind in kinds.items()
    }
    rows = flow_measures.table({"few": [found, found], "many": [found, found]}, ends)
    assert {len(row) for row in rows} == {6}
    assert all(0 <= cell.low <= cell.high <= 1 for row in rows if row[0].endswith("AUC") for cell in row[1:5] if cell)
    assert len(rows) == len(flow_measures.SUMMARIES) + len(flow_measures.WITH_CODES)
    assert {row[-1] for row in rows} <= {"yes", "reversed", "not seen", "the ends do not differ", "no control"}
