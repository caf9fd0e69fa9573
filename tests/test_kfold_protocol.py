import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import planted
import pytest
import torch

from lib.measures.memorization import scores
from lib.models import data
from lib.models import kfold as models
from lib.models.draws import seed_from
from lib.protocols import kfold

CPU = torch.device("cpu")


@pytest.fixture
def grey(tmp_path):
    images = np.random.default_rng(0).random((50, 8, 8), dtype=np.float32)
    np.savez(tmp_path / "images.npz", images=images)
    return data.load(f"folder:{tmp_path}")


SPEC = kfold.KFold(
    "bernoulli",
    images=20,
    folds=3,
    epochs=2,
    batch=8,
    latent=2,
    width=4,
    samples=3,
    score_every=1,
    test_images=4,
    pad=1,
)


def test_both_rates_are_fitted_on_the_same_images_with_models_of_their_own(grey, tmp_path, monkeypatch):
    torch.set_default_dtype(torch.float32)
    monkeypatch.setattr(kfold, "fit_all", functools.partial(kfold.fit_all, folder=tmp_path))
    with ThreadPoolExecutor(1) as executor:
        fits = kfold.fit(SPEC, [1e-2, 1e-3], 2, grey, CPU, executor=executor)
    assert list(fits) == ["learning rate 0.01", "learning rate 0.001"]
    fast, slow = fits.values()
    assert (fast.spec.rate, slow.spec.rate) == (1e-2, 1e-3)
    assert torch.equal(fast.x, slow.x)
    assert torch.equal(fast.held_out, slow.held_out)
    assert not torch.equal(fast.log_p, slow.log_p)
    assert fast.log_p.shape == (2, 2, 3, 20)
    assert fast.shown.shape == (20, 1, 10, 10)
    assert (fast.shown[:, :, 0] == 0).all()
    assert set(fast.x.unique().tolist()) == {0.0, 1.0}
    first, second = (model.encode(fast.x).mean for model in (fast.model(0, 0), fast.model(1, 2)))
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("images", "folds", "batch"), [(20, 3, 4), (21, 4, 5), (7, 3, 64)])
def test_the_steps_are_those_that_a_fit_takes(images, folds, batch):
    held_out = models.folds(images, folds, seed=0, repeat=0)
    taken = models._batches(held_out, 0, batch, torch.Generator())
    spec = replace(SPEC, folds=folds, batch=batch, epochs=3)
    assert kfold.optimiser_steps(spec, images) == 3 * len(taken)


def test_the_null_of_later_epochs_goes_on_with_the_random_numbers_of_earlier_ones():
    fits = planted.models(lambda *_: None)
    log_p = torch.randn(2, 2, 3, 6)
    fits = fits._replace(log_p=log_p)
    rng = torch.Generator().manual_seed(4)
    expected = [scores(values, fits.held_out, rng=rng) for values in log_p]
    found = kfold.scores_by_epoch(fits, rng=torch.Generator().manual_seed(4))
    assert all(
        torch.equal(a, b) for one, two in zip(expected, found, strict=True) for a, b in zip(one, two, strict=True)
    )


def test_no_two_sources_of_random_numbers_are_the_same():
    names = ("NULL", "NORMAL_NULL", "ORDER", "REDRAWN_NULL", "ONE_MODEL", "LATENTS")
    drawn = {float(torch.rand(1, generator=kfold.source(3, getattr(kfold, name)))) for name in names}
    assert len(drawn) == len(names)
    assert kfold.SECTION != kfold.EVIDENCE
    assert len({kfold.SCORED, kfold.VALIDATION, kfold.GENERATED, kfold.REDRAWN}) == 4


def test_the_last_epoch_decides():
    log_p, held_out = planted.log_p(2, 3, 6, gain=5.0)
    fits = planted.models(lambda *_: None)._replace(log_p=torch.stack([0 * log_p, 0 * log_p, log_p]), held_out=held_out)
    torch.testing.assert_close(kfold.final_score(fits), torch.full((6,), 5.0))
    inside, outside = kfold.sides(fits.log_p, held_out)
    assert (inside.unique().item(), outside.unique().item()) == (-75.0, -80.0)


def test_all_models_make_about_as_many_images_in_random_order():
    build = lambda repeat, fold: planted.Linear(torch.zeros(4, 2), shift=float(3 * repeat + fold))  # noqa: E731
    made = kfold.generate(planted.models(build), 10)
    kinds, counts = made.flatten(1)[:, 0].unique(return_counts=True)
    assert made.shape == (10, *planted.PIXELS)
    assert len(kinds) >= 5  # two of each of six models, of which two are cut off
    assert counts.max() <= 2
    assert made.flatten(1)[:, 0].diff().min() < 0  # not in the order of the models


def test_generated_images_depend_on_the_seed_alone():
    fits = planted.models(lambda repeat, fold: planted.Linear(torch.eye(4)[:, :2]))
    first = kfold.generate(fits, 12)
    assert torch.equal(first, kfold.generate(fits, 12))
    assert not torch.equal(first, kfold.generate(fits._replace(spec=kfold.replace(fits.spec, seed=4)), 12))
    assert len(first.flatten(1)[:, 0].unique()) == 12  # every model has latents of its own


def test_sources_with_other_names_are_other_streams():
    draws = [torch.rand(3, generator=kfold.source(*identity)) for identity in ((0, 0), (0, 1), (1, 0), (0, 1000))]
    assert all(not torch.equal(a, b) for i, a in enumerate(draws) for b in draws[:i])
    assert torch.equal(draws[0], torch.rand(3, generator=torch.Generator().manual_seed(seed_from(0, 10, 0))))


def test_pixels_are_the_same_at_every_draw_of_one_number():
    grey = torch.full((4, *planted.PIXELS), 0.5)
    first = kfold.observed(SPEC, grey, kfold.VALIDATION)
    assert torch.equal(first, kfold.observed(SPEC, grey, kfold.VALIDATION))
    assert not torch.equal(first, kfold.observed(SPEC, grey, kfold.GENERATED))
    assert kfold.padded(SPEC, grey).shape == (4, 1, 4, 4)
