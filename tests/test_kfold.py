import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_data import write_celeba

from lib.measures.likelihood import log_evidence
from lib.models import data, draws, kfold, loop, machine, one_fold  # noqa: F401 (for the script of a test)
from lib.models.fit import fit
from lib.models.kfold import KFold, folds, gather

pytestmark = pytest.mark.usefixtures("single_precision")

SPEC = KFold(
    "bernoulli", images=40, folds=4, epochs=3, batch=8, latent=3, width=6, samples=4, score_every=2, test_images=5
)


@pytest.fixture(scope="session")
def colour(tmp_path_factory):
    folder = tmp_path_factory.mktemp("colour")
    np.savez(folder / "images.npz", images=np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8))
    return data.load(f"folder:{folder}")


def fit_repeats(specs, count, dataset, folder, **options):
    return gather(
        fit([part for spec in specs for part in spec.repeats(count)], dataset, "cpu", folder=folder, **options)
    )


def same(one, two):
    pairs = [(getattr(one, name), getattr(two, name)) for name in ("log_p", "ess", "held_out", "losses")]
    pairs += [(a.weights[name], b.weights[name]) for a, b in zip(one.fits, two.fits, strict=True) for name in a.weights]
    return all(torch.equal(a, b) for a, b in pairs)


def test_folds_are_a_division_into_equal_parts():
    for n, k in ((10, 2), (11, 4), (7, 7)):
        counts = folds(n, k, seed=0, repeat=0).bincount()
        assert len(counts) == k
        assert counts.max() - counts.min() <= 1


def test_folds_belong_to_seed_and_repeat():
    one = folds(50, 5, seed=1, repeat=2)
    assert torch.equal(one, folds(50, 5, seed=1, repeat=2))
    assert not torch.equal(one, folds(50, 5, seed=1, repeat=3))
    assert not torch.equal(one, folds(50, 5, seed=2, repeat=2))


@pytest.mark.parametrize("network", ["bernoulli", "diagonal"])
def test_one_fold_alone_is_that_fold_of_the_repeat(grey, colour, tmp_path, network):
    spec = SPEC if network == "bernoulli" else replace(SPEC, network=network, images=12, folds=3, flip=True)
    dataset = grey if network == "bernoulli" else colour
    (_, second) = fit([replace(spec, repeat=repeat) for repeat in (0, 1)], dataset, "cpu", folder=tmp_path)
    alone = one_fold.losses(second.spec, 2, dataset, "cpu")
    torch.testing.assert_close(alone, second.losses[..., 2], rtol=1e-3, atol=0)


def test_before_the_last_epoch_the_first_images_may_do(grey, tmp_path):
    (all_of_them,), (few,) = (fit_repeats([replace(SPEC, early=early)], 1, grey, tmp_path) for early in (0, 7))
    assert few.log_p[0, ..., 7:].isnan().all()
    assert torch.equal(few.log_p[-1], all_of_them.log_p[-1])
    assert (few.log_p[0, ..., :7] - all_of_them.log_p[0, ..., :7]).abs().median() < 0.5  # of the same models


def test_the_shapes_of_a_fit(grey, tmp_path):
    (found,) = fit_repeats([SPEC], 2, grey, tmp_path)
    assert found.scored == [2, 3]  # every second epoch, and the last
    assert found.log_p.shape == found.ess.shape == (2, 2, 4, 40)
    assert found.held_out.shape == (2, 40)
    assert found.losses.shape == (2, 3, 2)
    assert found.held_out.unique().tolist() == [0, 1, 2, 3]
    assert (found.ess >= 1 - 1e-4).all()
    assert (found.ess <= 4 + 1e-4).all()


def test_a_member_scores_as_it_did_in_training(grey, tmp_path):
    (found,) = fit_repeats([SPEC], 1, grey, tmp_path)
    x = SPEC.observed(grey.train[found.index])
    for fold in range(4):
        model = found.model(0, fold)
        assert not model.training
        log_p = log_evidence(model.encode, model.decode, x, 5000, generator=torch.Generator().manual_seed(1)).log_p
        assert (log_p - found.log_p[-1, 0, fold]).abs().median() < 0.3


def test_a_model_never_sees_the_fold_that_it_leaves_out(grey, tmp_path):
    held_out = folds(40, 4, seed=0, repeat=1)
    for fold in range(4):
        batches = [kfold._batches(held_out, fold, 8, torch.Generator().manual_seed(i)) for i in range(40)]
        seen = torch.stack(batches)
        assert seen.shape == (40, 3, 8)  # 30 images to train with: three whole batches
        assert set(seen.unique().tolist()) == set((held_out != fold).nonzero()[:, 0].tolist())
        for epoch in seen:
            assert len(epoch.unique()) == 24


def test_training_memorises_and_the_score_says_so(grey, tmp_path):
    from lib.measures.memorization import balanced_score, null_split, split

    spec = replace(SPEC, epochs=60, score_every=60, width=32, latent=8, rate=8e-3, samples=16)
    (found,) = fit_repeats([spec], 2, grey, tmp_path)
    log_p_in, log_p_out = split(found.log_p[-1], found.held_out)
    assert balanced_score(log_p_in, log_p_out).median() > 3
    null = null_split(log_p_in, 2, rng=torch.Generator().manual_seed(0))
    assert abs(balanced_score(*null).median()) < 1
    assert found.losses[:, -1, 0].mean() < found.losses[:, 5, 0].mean() - 1


def test_the_same_specification_gives_the_same_bits_in_any_order_and_place(grey, tmp_path):
    other = replace(SPEC, rate=1e-4)
    one, two = fit_repeats([SPEC, other], 3, grey, tmp_path / "a")
    with ThreadPoolExecutor(3) as pool:
        two_again, one_again = fit_repeats([other, SPEC], 3, grey, tmp_path / "b", executor=pool)
    assert same(one, one_again)
    assert same(two, two_again)
    assert not same(one, two)


def test_more_repeats_keep_the_first(grey, tmp_path):
    (one,) = fit_repeats([SPEC], 1, grey, tmp_path)
    (three,) = fit_repeats([SPEC], 3, grey, tmp_path)
    assert torch.equal(three.log_p[:, :1], one.log_p)
    assert len({tuple(row.tolist()) for row in three.held_out}) == 3
    assert len(list(tmp_path.glob("*.safetensors"))) == 3


@pytest.mark.parametrize(
    ("at", "left"),
    [((5, 0), [(epoch, fold) for epoch in range(5, 9) for fold in range(4)]), ((8, 2), [(8, 2), (8, 3)])],
    ids=["in an epoch", "in the last evaluation"],
)
def test_a_killed_run_goes_on_there_and_ends_the_same(grey, tmp_path, monkeypatch, at, left):
    spec = replace(SPEC, epochs=8, score_every=1)
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom dataclasses import replace\nsys.path.insert(0, 'tests')\n"
        "from test_kfold import SPEC, data, fit_repeats, kfold, loop\n"
        "real = kfold._score\n"
        "def slow(spec, ensemble, fold, x, epoch):\n"
        "    print(spec.repeat, epoch, fold, flush=True)\n"
        "    time.sleep(60 if f'{spec.repeat} {epoch} {fold}' == sys.argv[3] else 0)\n"
        "    return real(spec, ensemble, fold, x, epoch)\n"
        "kfold._score, loop.CHECKPOINT_SECONDS = slow, 0\n"
        "fit_repeats([replace(SPEC, epochs=8, score_every=1)], 2, data.load(sys.argv[2]), Path(sys.argv[1]))\n"
    )
    place = "1 {} {}".format(*at)
    arguments = [sys.executable, "-c", script, str(tmp_path / "cut"), grey.name, place]
    environment = os.environ | machine.environment(torch.get_num_threads()) | {"TQDM_DISABLE": "1"}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as process:
        while process.stdout.readline() != f"{place}\n":
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    assert len(list((tmp_path / "cut").glob("*.safetensors"))) == 1
    made, real = [], kfold._score
    monkeypatch.setattr(kfold, "_score", lambda *given: made.append((given[-1], given[2])) or real(*given))
    (resumed,) = fit_repeats([spec], 2, grey, tmp_path / "cut")
    assert made == left  # all before that was kept
    (whole,) = fit_repeats([spec], 2, grey, tmp_path / "whole")
    assert same(whole, resumed)


@pytest.mark.parametrize("network", ["diagonal", "shared"])
def test_colour_images_go_the_same_way(colour, tmp_path, network):
    spec = KFold(network, images=12, folds=3, epochs=2, batch=4, latent=2, width=2, samples=3, flip=True, test_images=3)
    one, two = (fit_repeats([spec], 1, colour, tmp_path / name)[0] for name in "ab")
    assert one.log_p.shape == (1, 1, 3, 12)
    assert same(one, two)


def test_an_ensemble_of_colour_images_is_resumed_with_its_statistics(colour, tmp_path, interrupt):
    spec = KFold("diagonal", 12, folds=3, epochs=4, batch=4, latent=2, width=2, samples=3, flip=True, test_images=3)
    (whole,) = fit_repeats([spec], 1, colour, tmp_path / "whole")
    interrupt(every=1, at=3)
    with pytest.raises(KeyboardInterrupt):
        fit_repeats([spec], 1, colour, tmp_path / "cut")
    (resumed,) = fit_repeats([spec], 1, colour, tmp_path / "cut")
    assert same(whole, resumed)
    assert any("running_var" in name for name in whole.fits[0].weights)


def test_a_failing_repeat_keeps_the_finished_ones(grey, tmp_path):
    with ThreadPoolExecutor(1) as pool, pytest.raises(FloatingPointError, match="not finite in epoch"):
        fit_repeats([SPEC, replace(SPEC, rate=1e30)], 1, grey, tmp_path, executor=pool)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": 61}, r"images must be in 0\.\.60 \(0: all\)"),
        ({"folds": 1}, r"folds must be in 2\.\.40, the number of images, got 1"),
        ({"folds": 41}, r"folds must be in 2\.\.40, the number of images, got 41"),
        ({"network": "gan"}, "unknown network 'gan'; accepted: bernoulli, diagonal, shared"),
    ],
)
def test_impossible_fits_are_refused(grey, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        fit_repeats([replace(SPEC, **change)], 1, grey, tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_no_two_streams_of_random_numbers_are_the_same(grey, tmp_path, monkeypatch):
    real, seeds = draws.seed_from, {}

    def recorded(*identity):
        seeds[identity] = real(*identity)
        return seeds[identity]

    monkeypatch.setattr(draws, "seed_from", recorded)
    monkeypatch.setattr(kfold, "seed_from", recorded)
    fit_repeats([SPEC], 2, grey, tmp_path)
    for repeat in range(2):
        del seeds[0, repeat]  # of the folds, which numpy draws by another algorithm
    assert len(seeds) > 20  # weights, batches, pixels, noise and samples, of every fold and repeat
    assert len(set(seeds.values())) == len(seeds)


def test_repeats_are_put_together_by_specification(grey, tmp_path):
    other = replace(SPEC, rate=1e-4)
    fits = fit([*other.repeats(1), *SPEC.repeats(2)], grey, "cpu", folder=tmp_path)
    one, two = gather([fits[1], fits[0], fits[2]])
    assert (one.spec, two.spec) == (SPEC, other)
    assert (one.log_p.shape[1], two.log_p.shape[1]) == (2, 1)
    assert torch.equal(one.log_p[:, 1], fits[2].log_p)
    torch.testing.assert_close(one.losses[1], fits[2].losses.mean(2))


def test_padding_is_part_of_what_the_models_see(grey, tmp_path):
    spec = replace(SPEC, pad=2, epochs=1)
    (found,) = fit_repeats([spec], 1, grey, tmp_path)
    padded = spec.padded(grey.train[:3])
    assert padded.shape == (3, 1, 12, 12)
    assert torch.equal(padded[:, :, 2:-2, 2:-2], grey.train[:3])
    assert padded[:, :, :2].abs().max() == padded[:, :, :, -2:].abs().max() == 0
    assert found.model(0, 1).generate(torch.zeros(1, 3)).shape == (1, 1, 12, 12)


def test_observed_pixels_belong_to_the_draw(grey):
    one, again, other = (SPEC.observed(grey.train, draw) for draw in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert set(one.unique().tolist()) == {0.0, 1.0}


def test_a_data_set_that_was_read_in_part_is_read_in_the_same_part_again(tmp_path):
    write_celeba(tmp_path, count=60)
    part = data.load("celeba", root=tmp_path, most=15)
    assert part.again().digest == part.digest
    spec = KFold("shared", images=6, folds=3, epochs=1, batch=2, latent=2, width=2, samples=2, test_images=3)
    (found,) = fit_repeats([spec], 1, part, tmp_path / "fits")
    assert found.log_p.shape == (1, 1, 3, 6)
