import dataclasses
from dataclasses import replace

import pytest
import torch
from zoos import affine_zoo

from lib.measures.recovery import recover
from lib.models.draws import seed_from
from lib.protocols import zoo as zoos
from lib.protocols.zoo import Budget, Search

BUDGET = Budget([8, 16], 10, 12, 6, 4, 3, 4, 4, controls=True)


def test_the_plan_has_the_rows_of_the_table_with_their_sizes():
    rows = zoos.plan(BUDGET, available=12, seed=5)
    assert list(rows) == [
        *("GLO-8", "GLO-16", "AE-8", "AE-12", "AEGAN-8", "AEGAN-12", "DCGAN", "MESCH"),
        *("GLO-8, codes fixed", "DCGAN-8"),
    ]
    assert {row: spec.examples for row, spec in rows.items() if spec.kind in ("dcgan", "mesch")} == {
        "DCGAN": 0, "MESCH": 0, "DCGAN-8": 8
    }  # fmt: skip
    assert (rows["GLO-16"].steps, rows["GLO-16"].batch, rows["AE-8"].batch) == (10, 6, 6)
    assert (rows["AEGAN-8"].steps, rows["AEGAN-8"].batch, rows["MESCH"].steps) == (10, 4, 12)
    assert [row for row, spec in rows.items() if not spec.code_rate] == ["GLO-8, codes fixed"]
    assert {spec.seed for spec in rows.values()} == {5}
    assert len(zoos.plan(BUDGET._replace(controls=False), available=12, seed=5)) == 8


def test_only_the_rows_that_are_asked_for_are_fitted(monkeypatch):
    small, _ = affine_zoo()
    official, fit = small.official, small.fits["line"][0]
    asked = []
    monkeypatch.setattr(zoos, "fit", lambda specs, *_, **__: asked.extend(specs) or [fit] * len(specs))
    rows = ["DCGAN", "GLO-8", "GLO-8, codes fixed"]
    made = zoos.gather(official, BUDGET, rows, models={"glo": 3}, count=20, seed=5, device="cpu")
    assert {row: len(fits) for row, fits in made.fits.items()} == {"DCGAN": 1, "GLO-8": 3, "GLO-8, codes fixed": 1}
    assert asked[1:4] == [replace(made.plan["GLO-8"], seed=s) for s in (5, seed_from(5, 1), seed_from(5, 2))]
    assert made.name == "small"
    assert len(made.images.test) == 20
    with pytest.raises(ValueError, match="GLO-9"):
        zoos.gather(official, BUDGET, ["GLO-9"], count=20, seed=5, device="cpu")


def test_sides_differ_in_what_the_model_was_trained_on():
    zoo, _ = affine_zoo(count=20)
    seen = {tuple(image.flatten().tolist()) for image in zoo.images.train[zoo.fits["line"][1].index]}
    trained = {tuple(image.flatten().tolist()) for image in zoo.trained_on("line", 1)}
    assert len(trained) == 20
    assert trained <= seen
    held_out = {tuple(image.flatten().tolist()) for image in zoo.held_out()}
    assert held_out == {tuple(image.flatten().tolist()) for image in zoo.images.test}
    unseen = {tuple(image.flatten().tolist()) for image in zoo.unseen("line", 1000)}
    assert len(unseen) == 30
    assert not unseen & {tuple(image.flatten().tolist()) for image in zoo.images.train[zoo.fits["line"][0].index]}
    assert not unseen & held_out


def test_fewer_images_are_the_first_of_more():
    zoo, _ = affine_zoo()
    assert torch.equal(zoo.trained_on("line")[:7], zoo.trained_on("line", count=7))
    assert torch.equal(zoo.held_out()[:7], zoo.held_out(count=7))
    assert torch.equal(zoo.unseen("line", 30)[:7], zoo.unseen("line", 7))


def test_generated_images_are_spread_as_the_codes():
    zoo, matrix = affine_zoo()
    made = zoo.generated("line", 20000).flatten(1)
    torch.testing.assert_close(made.mean(0), torch.full((16,), 0.5), atol=2e-3, rtol=0)
    torch.testing.assert_close(made.T.cov(), 0.5 * matrix @ matrix.T, atol=6e-4, rtol=0)
    assert torch.equal(made, zoo.generated("line", 20000).flatten(1))


def test_the_spread_of_codes_is_their_root_mean_square():
    fit = affine_zoo()[0].fits["line"][0]
    moved = torch.distributions.MultivariateNormal(torch.full((3,), 2.0), 0.5 * torch.eye(3))
    assert zoos.spread(fit) == pytest.approx(0.5**0.5)
    assert zoos.spread(dataclasses.replace(fit, prior=moved)) == pytest.approx(4.5**0.5)


def test_starts_are_in_units_of_the_spread_and_belong_to_the_seed():
    zoo, _ = affine_zoo()
    fit, images = zoo.fits["line"][0], zoo.held_out()
    how = Search(3, 1, 0.2, restarts=2)
    source = zoos.rng("cpu", 3, zoos.STARTS, 0)
    other = recover(fit.generator, images, latent=3, steps=1, restarts=2, scale=0.2 * 0.5**0.5, rng=source)
    torch.testing.assert_close(zoos.search(fit, images, how).z, other.z)
    assert not torch.equal(zoos.search(fit, images, replace(how, seed=4)).z, other.z)
    with pytest.raises(ValueError, match=r"\[0.0, 1.0\]"):
        zoos.search(fit, images + 1, how)


def test_a_search_through_a_view_ignores_what_the_view_hides():
    zoo, matrix = affine_zoo()
    fit, images = zoo.fits["line"][0], zoo.held_out()
    how = Search(0, 80, 0.1, transform=lambda x: x.flatten(1)[:, :8])
    best = (images.flatten(1)[:, :8] - 0.5) @ torch.linalg.pinv(matrix[:8]).T
    torch.testing.assert_close(zoos.search(fit, images, how).z, best, atol=1e-4, rtol=1e-4)


def test_where_there_is_an_encoder_errors_go_through_it():
    zoo, _ = affine_zoo(encoder=lambda x: torch.zeros(len(x), 3))
    images = zoo.held_out()
    blank = (images - 0.5).flatten(1).square().mean(1)
    torch.testing.assert_close(zoos.errors(zoo.fits["line"][0], images, Search(0, 1, 0.1)), blank)


def test_exposure_counts_how_often_an_image_was_seen():
    frame = zoos.exposure(affine_zoo()[0])
    assert frame.to_dict("records") == [
        {
            "data": "small",
            "model": "line",
            "training images": 30,
            "steps": 10,
            "images in a step": 4,
            "times each was seen": 40 / 30,
        }
    ]
