import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import planted
import pytest
import torch
from scipy.stats import spearmanr
from test_kfold_protocol import SPEC as PADDED

from lib.measures.intervals import Estimate
from lib.models import data
from lib.protocols import kfold, sizes
from lib.study import items

CPU = torch.device("cpu")
SPEC = replace(PADDED, images=0, pad=0)


@pytest.fixture
def grey(tmp_path):
    images = np.random.default_rng(0).random((50, 8, 8), dtype=np.float32)
    np.savez(tmp_path / "images.npz", images=images)
    return data.load(f"folder:{tmp_path}")


def models(images, gain, spread=0.0, available=50, repeats=3):
    """Fits to some images, and their index, in which the models with an image give it so much more."""
    spec = replace(SPEC, images=images)
    index = spec.index(available, "planted")
    gains = torch.as_tensor(gain(index), dtype=torch.float64).expand(len(index))
    log_p, held_out = planted.log_p(repeats, 3, len(index), spread=spread)
    inside = torch.arange(3)[None, :, None] != held_out[:, None]
    fits = planted.models(None, repeats, 3, len(index))._replace(spec=spec, held_out=held_out)
    return fits._replace(log_p=(log_p + gains * inside)[None])


def measured(images, gain, **options):
    """The scores of such fits."""
    fits = models(images, gain, **options)
    available = options.get("available", 50)
    dataset = data.Dataset("planted", torch.zeros(available, 1, 2, 2), *[torch.zeros(0)] * 3, "")
    return last(sizes.measure(fits, dataset))


def last(by_steps):
    """The scores after the last epoch."""
    return by_steps[max(by_steps)]


def test_without_differences_between_models_every_level_is_the_planted_gain():
    few = measured(20, lambda index: 4.0)
    for name, expected in {
        "score": 4,
        "balanced": 4,
        "matched": 4,
        "null": 0,
        "excess": 4,
        "spread": 0,
    }.items():
        assert sizes.level(few, name, seed=0)[:5] == pytest.approx((expected, expected, expected, 20, 0)), name


def test_images_are_matched_by_their_index_and_not_by_their_row():
    few, many = measured(20, lambda index: 1.0 * index), measured(0, lambda index: index / 2 - 3)
    assert not torch.equal(many.index[:20], few.index)  # a larger fit has others between them
    torch.testing.assert_close(sizes.of_the_same(many, few).values["score"], few.values["score"] / 2 - 3)
    expected = -3 - np.median(few.index) / 2
    for name in ("score", "balanced", "excess"):
        found = sizes.change(few, many, name, seed=0)
        assert found.value == pytest.approx(expected), name
        assert found.low < expected < found.high
    with pytest.raises(ValueError, match="30 of the 50 images are not in the larger fit"):
        sizes.of_the_same(few, many)


def test_the_agreement_is_the_rank_correlation_of_the_same_images():
    few, many = measured(20, lambda index: 1.0 * index), measured(0, lambda index: torch.cos(1.0 * index))
    expected = spearmanr(few.index, few.index.double().cos()).statistic
    found = sizes.agreement(few, many, seed=0)
    assert found.value == pytest.approx(expected)
    assert -1 <= found.low < expected < found.high <= 1
    assert found.n == 20


def test_models_that_differ_without_memorising_have_a_null_and_no_excess():
    noisy = measured(0, lambda index: 0.0, spread=3.0, available=1000)
    level = {name: sizes.level(noisy, name, seed=0) for name in sizes.LEVELS} | {"beyond": sizes.beyond(noisy)}
    assert level["score"].low > 0.3
    assert level["spread"].value == pytest.approx(3, abs=0.3)
    assert level["excess"].low < 0 < level["excess"].high
    assert level["balanced"].low < 0 < level["balanced"].high
    assert level["beyond"].low < 0.05 < level["beyond"].high


def test_the_null_of_a_fit_is_that_of_the_section_on_the_score():
    fits = models(20, lambda index: 1.0, spread=2.0)
    found = measured(20, lambda index: 1.0, spread=2.0)
    expected = kfold.scores_by_epoch(fits, rng=kfold.source(SPEC.seed, kfold.NULL))[-1]
    assert torch.equal(found.values["null"], expected.null)


def test_earlier_epochs_are_measured_by_their_steps_on_the_images_that_were_evaluated():
    log_p = models(20, lambda index: 1.0 * index).log_p
    early = log_p - 1
    early[..., 12:] = torch.nan
    fits = models(20, lambda index: 1.0 * index)._replace(log_p=torch.cat([early, log_p]), scored=[1, 2])
    dataset = data.Dataset("planted", torch.zeros(50, 1, 2, 2), *[torch.zeros(0)] * 3, "")
    found = sizes.measure(fits, dataset)
    assert list(found) == [1, 2]  # 13 images of a fold's training part, a batch of 8 in every epoch
    first, second = found.values()
    assert (len(first.index), len(second.index)) == (12, 20)
    torch.testing.assert_close(first.values["score"], first.index.double())
    torch.testing.assert_close(second.values["score"], second.index.double())
    assert [len(one.values["spread"]) for one in (first, *first.without)] == [12] * 4


def test_an_interval_has_what_other_models_would_change():
    """Log p(x) that is higher for all images in one repeat: what a bootstrap over images cannot see."""
    fits = models(40, lambda index: 1.0)
    shifted = fits.log_p.clone()
    shifted[:, 0] += 5 * (torch.arange(3)[:, None] != fits.held_out[0][None])
    dataset = data.Dataset("planted", torch.zeros(50, 1, 2, 2), *[torch.zeros(0)] * 3, "")
    found = sizes.level(last(sizes.measure(fits._replace(log_p=shifted), dataset)), "score", seed=0)
    assert found.low < 1.1 < found.value < found.high


def test_everything_can_be_computed_again_from_its_items():
    few, many = measured(20, lambda index: 1.0 * index, spread=1.0), measured(0, lambda index: 1.0 + index, spread=1.0)
    values = {name: sizes.change(few, many, name, seed=1) for name in sizes.LEVELS}
    values |= {f"level {name}": sizes.level(few, name, seed=1) for name in sizes.LEVELS}
    values |= {"agreement": sizes.agreement(few, many, seed=1), "beyond": sizes.beyond(few)}
    again = items.again(items.pack(values), values).made
    assert {name: value[:5] for name, value in again.items()} == {name: value[:5] for name, value in values.items()}


def test_the_share_beyond_the_null_is_counted_and_never_more_than_all():
    found = sizes.beyond(measured(20, lambda index: index > index.median()))  # a gain of 1 for half, over a null of 0
    assert found[:5] == pytest.approx((0.5, found.low, found.high, 20, 0))
    assert 0.25 < found.low < 0.5 < found.high < 0.75
    everyone = sizes.beyond(measured(20, lambda index: 4.0))
    assert (everyone.value, everyone.high) == (1, 1)
    assert everyone.low < 0.9


def test_the_excess_is_along_an_axis():
    first, second = np.random.default_rng(0).normal(size=(2, 4, 30))
    assert sizes.excess(first, second, axis=-1) == pytest.approx(np.median(first, -1) - np.median(second, -1))
    assert sizes.excess(first[0], second[0]) == pytest.approx(np.median(first[0]) - np.median(second[0]))


def test_an_image_is_seen_once_an_epoch_if_whole_batches_are_all_images():
    assert sizes.seen(replace(SPEC, folds=4, batch=64, epochs=45), 600) == pytest.approx(45 * 7 * 64 / 450)
    assert sizes.seen(replace(SPEC, folds=4, batch=10, epochs=7), 40) == 7
    assert sizes.seen(replace(SPEC, folds=4, batch=64, epochs=7), 40) == 7  # one batch of all


def test_fits_are_in_ascending_order_by_their_number_of_images_and_nested(grey, tmp_path, monkeypatch):
    torch.set_default_dtype(torch.float32)
    monkeypatch.setattr(kfold, "fit_all", functools.partial(kfold.fit_all, folder=tmp_path))
    with ThreadPoolExecutor(1) as executor:
        fits = sizes.fit(SPEC, [0, 15, 30], 2, grey, CPU, executor=executor)
        assert {n: (len(one.shown), one.log_p.shape) for n, one in fits.items()} == {
            n: (n, (2, 2, 3, n)) for n in (15, 30, 42)
        }
        assert list(fits) == [15, 30, 42]
        few, many = (last(sizes.measure(fits[n], grey)) for n in (15, 42))
        assert isinstance(sizes.change(few, many, "score", seed=0), Estimate)
        same = torch.isin(many.index, few.index)
        torch.testing.assert_close(fits[42].shown[same], fits[15].shown)  # the same grey images
        assert not torch.equal(fits[42].x[same], fits[15].x)  # binarised anew
        with pytest.raises(ValueError, match=r"two different sizes are needed \(0: all\) for .*, got \[42, 0\]"):
            sizes.fit(SPEC, [42, 0], 2, grey, CPU, executor=executor)
        with pytest.raises(ValueError, match=r"images must be in 0..42 \(0: all\)"):
            sizes.fit(SPEC, [15, 43], 2, grey, CPU, executor=executor)
