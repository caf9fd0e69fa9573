from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from zoos import affine_zoo

from lib.measures.recovery import Recovery
from lib.protocols import searches
from lib.protocols.searches import Both
from lib.protocols.zoo import Search

HOW = Search(0, 60, 0.1)


@pytest.fixture
def executor():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def recovery(z):
    return Recovery(z, z[:, 0].square(), torch.ones(len(z), dtype=torch.bool))


def test_longer_searches_come_no_less_close_and_end_at_the_least_squares_residual(executor):
    zoo, matrix = affine_zoo()
    made = searches.by_settings(zoo, ["line"], {n: replace(HOW, steps=n) for n in (1, 2, 60)}, 15, executor)
    errors = torch.stack([made["line", n].errors.held_out for n in (1, 2, 60)])
    assert (errors.diff(dim=0) < 1e-12).all()
    rest = (zoo.held_out(count=15).flatten(1) - 0.5) @ (torch.eye(16) - matrix @ torch.linalg.pinv(matrix))
    torch.testing.assert_close(errors[-1], rest.square().mean(1))
    assert made["line", 60].training.converged.all()


def test_a_step_of_descent_is_that_of_the_closed_form():
    """With a linear generator, the distance from the best latent shrinks by 1 - 2 rate sigma^2 in a step."""
    scale, start, best = 3.0, torch.tensor([[1.0], [-2.0]]), 0.5
    rate = torch.tensor([[0.01], [0.02]])
    errors = searches.descent(lambda z: scale * z, start, torch.full((2, 1), scale * best), rate, [1, 4])
    left = [(scale * (start - best) * (1 - 2 * rate * scale**2) ** n).square()[:, 0] for n in (1, 4)]
    torch.testing.assert_close(errors, torch.stack(left))


def test_latents_of_the_typical_set_are_as_far_from_the_mean_as_draws_are():
    zoo, _ = affine_zoo()
    fit = zoo.fits["line"][0]
    z = searches.typical(fit, torch.randn(9, 3))
    white = torch.linalg.solve_triangular(fit.prior.scale_tril, (z - fit.prior.loc).T, upper=False)
    torch.testing.assert_close(white.norm(dim=0), torch.full((9,), 3**0.5))


def test_a_search_on_the_typical_set_finds_what_lies_there_and_nothing_nearer_than_a_free_one(executor):
    zoo, _ = affine_zoo()
    fit = zoo.fits["line"][0]
    made = fit.generator(searches.typical(fit, torch.randn(60, 3)))
    images = zoo.images._replace(train=torch.cat([made, zoo.images.train])[: len(zoo.images.train)])
    planted = replace(zoo, images=images)
    found = searches.on_typical_set(planted, ["line"], HOW, 15, executor)["line"]
    torch.testing.assert_close(found.errors.training, torch.zeros(15), atol=1e-12, rtol=0)
    free = searches.by_settings(planted, ["line"], {0: HOW}, 15, executor)["line", 0]
    assert (found.errors.held_out >= free.errors.held_out - 1e-12).all()


def test_one_over_the_largest_curvature_solves_an_isotropic_problem_in_a_step():
    matrix, _ = torch.linalg.qr(torch.randn(6, 3))
    z, images = torch.randn(4, 3), torch.randn(4, 6)
    curvature = searches.largest_curvature(lambda z: 3 * z @ matrix.T, z)
    torch.testing.assert_close(curvature, torch.full((4,), 18.0))
    errors = searches.descent(lambda z: 3 * z @ matrix.T, z, images, 1 / curvature[:, None], [1])
    residual = images - images @ matrix @ matrix.T
    torch.testing.assert_close(errors[0], residual.square().mean(1))


def test_descents_start_where_searches_do_and_the_better_step_is_taken(executor):
    """Three over the largest curvature diverges with a linear generator, so one over it is the better."""
    zoo, _ = affine_zoo()
    errors = searches.descents(zoo, ["line"], HOW, [1, 200], 15, executor)["line"]
    assert errors.shape == (2, 15)
    searched = searches.by_settings(zoo, ["line"], {0: HOW}, 15, executor)["line", 0].held_out.error
    torch.testing.assert_close(errors[1].median(), searched.median(), rtol=1e-3, atol=0)


def test_the_better_step_is_that_of_the_smaller_error_at_the_end(executor, monkeypatch):
    zoo, _ = affine_zoo()
    slow, fast = torch.tensor([[3.0], [2.0], [1.0]]), torch.tensor([[9.0], [1.5], [2.0]])
    rates = []

    def descent(decoder, z, images, rate, checks):
        rates.append(float(rate[0, 0]))
        return slow if len(rates) == 1 else fast

    monkeypatch.setattr(searches, "descent", descent)
    assert torch.equal(searches.descents(zoo, ["line"], HOW, [1, 2, 3], 1, ThreadPoolExecutor(1))["line"], slow)


def test_starts_are_as_wide_as_the_search_says():
    zoo, _ = affine_zoo()
    fit = zoo.fits["line"][0]
    narrow, wide = (searches._starts(fit, replace(HOW, start=start), 4000, "cpu") for start in (0.1, 0.5))
    torch.testing.assert_close(wide, 5 * narrow)
    assert narrow.std().item() == pytest.approx(0.1 * searches.spread(fit), rel=0.05)


def test_distances_are_in_units_of_those_of_the_codes():
    zoo, _ = affine_zoo()
    fit = zoo.fits["line"][0]  # codes N(0, I / 2) in three dimensions: mean squared distance 3 / 2
    far = torch.tensor([[0.0, 0.0, 10.0]]).expand(8, 3)
    found = searches.support(fit, Both(recovery(0 * far), recovery(far)), seed=0)
    assert found.codes.square().mean().item() == pytest.approx(1)
    torch.testing.assert_close(found.held_out, torch.full((8,), 10 / 1.5**0.5), rtol=0.03, atol=0)
    assert found.outside("training") == 0
    assert found.outside("held_out") == 1


def test_latents_drawn_like_the_codes_are_outside_as_often_as_the_level_says():
    zoo, _ = affine_zoo()
    fit = zoo.fits["line"][0]
    z = fit.prior.sample((4000,))
    found = searches.support(fit, Both(recovery(z), recovery(z)), seed=3)
    assert found.outside("training", 0.9) == pytest.approx(0.1, abs=0.03)
