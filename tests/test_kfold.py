import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_data import write_celeba

from lib.measures.likelihood import log_evidence
from lib.models import data, ensembles
from lib.models.ensembles import KFold

SPEC = KFold(
    "bernoulli", images=40, folds=4, epochs=3, batch=8, latent=3, width=6, samples=4, score_every=2, test_images=5
)


@pytest.fixture(autouse=True)
def single_precision():
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="session")
def grey(tmp_path_factory):
    """A folder of 70 small grey images."""
    folder = tmp_path_factory.mktemp("grey")
    images = np.random.default_rng(0).choice(np.float32([0.02, 0.98]), (70, 8, 8), p=[0.7, 0.3])
    np.savez(folder / "images.npz", images=images)
    return data.load(f"folder:{folder}")


@pytest.fixture(scope="session")
def colour(tmp_path_factory):
    folder = tmp_path_factory.mktemp("colour")
    np.savez(folder / "images.npz", images=np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8))
    return data.load(f"folder:{folder}")


def fit(specs, repeats, dataset, folder, **options):
    return ensembles.fit_repeats(specs, repeats, dataset, "cpu", log_evidence, folder=folder, **options)


def same(one, two):
    pairs = [(getattr(one, name), getattr(two, name)) for name in ("log_p", "ess", "held_out", "losses")]
    pairs += [(a[name], b[name]) for a, b in zip(one.weights, two.weights, strict=True) for name in a]
    return all(torch.equal(a, b) for a, b in pairs)


def test_the_shapes_of_a_fit(grey, tmp_path):
    (found,) = fit([SPEC], 2, grey, tmp_path)
    assert found.scored == [2, 3]  # every second epoch, and the last
    assert found.log_p.shape == found.ess.shape == (2, 2, 4, 40)
    assert found.held_out.shape == (2, 40)
    assert found.losses.shape == (2, 3, 2)
    assert found.held_out.unique().tolist() == [0, 1, 2, 3]
    assert (found.ess >= 1 - 1e-4).all()
    assert (found.ess <= 4 + 1e-4).all()


def test_an_ensemble_trains_its_members_as_if_each_were_alone():
    models = [ensembles.network(SPEC, (1, 8, 8), 0, fold) for fold in range(3)]
    x, noise = torch.rand(3, 5, 1, 8, 8).round(), torch.randn(3, 5, 3)
    together = ensembles.assemble(models)
    optimizer = torch.optim.Adam(together.weights.values(), lr=1e-2)
    for _ in range(4):
        losses = ensembles.advance(together, optimizer, x, noise)
    for index, model in enumerate(models):
        alone = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(4):
            loss = model(x[index], noise[index]).mean()
            alone.zero_grad()
            loss.backward()
            alone.step()
        torch.testing.assert_close(losses[index], loss.detach())
        for name, value in model.named_parameters():
            torch.testing.assert_close(together.weights[name][index], value, atol=1e-5, rtol=1e-4)


def test_batch_normalisation_keeps_the_statistics_of_each_member():
    spec = KFold("diagonal", images=0, folds=2, latent=2, width=2)
    models = [ensembles.network(spec, (3, 32, 32), 0, fold) for fold in range(2)]
    x, noise = torch.randn(2, 6, 3, 32, 32), torch.randn(2, 6, 2)
    together = ensembles.assemble(models)
    optimizer = torch.optim.Adam(together.weights.values(), lr=1e-3)
    losses = ensembles.advance(together, optimizer, x, noise)
    for index, model in enumerate(models):
        torch.testing.assert_close(losses[index], model(x[index], noise[index]).mean().detach())
        for name, value in model.named_buffers():
            torch.testing.assert_close(together.buffers[name][index], value, atol=1e-5, rtol=1e-4)
    assert ensembles.test_loss(together, x[0], noise[0]).shape == (2,)


def test_a_member_scores_as_it_did_in_training(grey, tmp_path):
    (found,) = fit([SPEC], 1, grey, tmp_path)
    x = ensembles.observed(SPEC, grey.train[found.index])
    for fold in range(4):
        model = ensembles.member(SPEC, (1, 8, 8), found.weights[0], fold)
        assert not model.training
        log_p = log_evidence(model.encode, model.decode, x, 5000, generator=torch.Generator().manual_seed(1)).log_p
        assert (log_p - found.log_p[-1, 0, fold]).abs().median() < 0.3


def test_a_model_never_sees_the_fold_that_it_leaves_out(grey, tmp_path):
    held_out = data.folds(40, 4, seed=0, repeat=1)
    for fold in range(4):
        batches = [ensembles._batches(held_out, fold, 8, torch.Generator().manual_seed(i)) for i in range(40)]
        seen = torch.stack(batches)
        assert seen.shape == (40, 3, 8)  # 30 images to train with: three whole batches
        assert set(seen.unique().tolist()) == set((held_out != fold).nonzero()[:, 0].tolist())
        for epoch in seen:
            assert len(epoch.unique()) == 24


def test_training_memorises_and_the_score_says_so(grey, tmp_path):
    from lib.measures.memorization import balanced_score, null_split, split

    spec = replace(SPEC, epochs=100, score_every=100, width=32, latent=8, rate=5e-3, samples=32)
    (found,) = fit([spec], 2, grey, tmp_path)
    log_p_in, log_p_out = split(found.log_p[-1], found.held_out)
    assert balanced_score(log_p_in, log_p_out).median() > 3
    null = null_split(log_p_in, 2, rng=torch.Generator().manual_seed(0))
    assert abs(balanced_score(*null).median()) < 1
    assert found.losses[:, -1, 0].mean() < found.losses[:, 5, 0].mean() - 1


def test_the_same_specification_gives_the_same_bits_in_any_order_and_place(grey, tmp_path):
    other = replace(SPEC, rate=1e-4)
    one, two = fit([SPEC, other], 3, grey, tmp_path / "a")
    with ThreadPoolExecutor(3) as pool:
        two_again, one_again = fit([other, SPEC], 3, grey, tmp_path / "b", executor=pool)
    assert same(one, one_again)
    assert same(two, two_again)
    assert not same(one, two)


def test_more_repeats_keep_the_first(grey, tmp_path):
    (one,) = fit([SPEC], 1, grey, tmp_path)
    (three,) = fit([SPEC], 3, grey, tmp_path)
    assert torch.equal(three.log_p[:, :1], one.log_p)
    assert len({tuple(row.tolist()) for row in three.held_out}) == 3
    assert len(list(tmp_path.glob("*.safetensors"))) == 3


def test_a_run_killed_in_a_repeat_goes_on_there_and_ends_the_same(grey, tmp_path):
    spec = replace(SPEC, epochs=10)
    script = (
        "import sys, torch\nfrom pathlib import Path\nfrom dataclasses import replace\nsys.path.insert(0, 'tests')\n"
        "from test_ensembles import SPEC, data, ensembles, fit\n"
        "real = ensembles.fit_repeat\n"
        "def slow(full, *rest, **more):\n"
        "    print('repeat', full['repeat'], flush=True)\n"
        "    return real(full, *rest, **more)\n"
        "ensembles.fit_repeat = slow\n"
        "fit([replace(SPEC, epochs=10)], 4, data.load(sys.argv[2]), Path(sys.argv[1]))\n"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "cut"), grey.name]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads()), "TQDM_DISABLE": "1"}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as process:
        while process.stdout.readline() != "repeat 2\n":
            assert process.poll() is None
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    kept = sorted(path.name for path in (tmp_path / "cut").glob("*.safetensors"))
    assert len(kept) == 2
    again = subprocess.run(arguments, capture_output=True, text=True, check=True, env=environment)
    assert again.stdout.split("\n")[:-1] == ["repeat 2", "repeat 3"]
    (resumed,) = fit([spec], 4, grey, tmp_path / "cut")
    (whole,) = fit([spec], 4, grey, tmp_path / "whole")
    assert same(whole, resumed)


@pytest.mark.parametrize("network", ["diagonal", "shared"])
def test_colour_images_go_the_same_way(colour, tmp_path, network):
    spec = KFold(network, images=12, folds=3, epochs=2, batch=4, latent=2, width=2, samples=3, flip=True, test_images=3)
    one, two = (fit([spec], 1, colour, tmp_path / name)[0] for name in "ab")
    assert one.log_p.shape == (1, 1, 3, 12)
    assert same(one, two)


def test_another_evidence_or_other_data_is_another_fit(grey, tmp_path):
    fit([SPEC], 1, grey, tmp_path)
    fit([SPEC], 1, grey._replace(digest=grey.digest), tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    with pytest.raises(data.DataError, match="is not the same data here: expected SHA-256 other, found"):
        fit([SPEC], 1, grey._replace(digest="other"), tmp_path)


def test_a_failing_repeat_keeps_the_finished_ones(grey, tmp_path):
    with ThreadPoolExecutor(1) as pool, pytest.raises(FloatingPointError, match="not finite in epoch"):
        fit([SPEC, replace(SPEC, rate=1e30)], 1, grey, tmp_path, executor=pool)
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
        fit([replace(SPEC, **change)], 1, grey, tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_no_two_streams_of_random_numbers_are_the_same(grey, tmp_path, monkeypatch):
    real, seeds = data.seed_from, {}

    def recorded(*identity):
        seeds[identity] = real(*identity)
        return seeds[identity]

    monkeypatch.setattr(data, "seed_from", recorded)
    fit([SPEC], 2, grey, tmp_path)
    for repeat in range(2):
        del seeds[0, repeat]  # of the folds, which numpy draws by another algorithm
    assert len(seeds) > 20  # weights, batches, pixels, noise and samples, of every fold and repeat
    assert len(set(seeds.values())) == len(seeds)


def test_a_data_set_that_was_read_in_part_is_read_in_the_same_part_again(tmp_path):
    write_celeba(tmp_path, count=60)
    part = data.load("celeba", root=tmp_path, most=15)
    spec = KFold("shared", images=6, folds=3, epochs=1, batch=2, latent=2, width=2, samples=2, test_images=3)
    (found,) = fit([spec], 1, part, tmp_path / "fits", root=tmp_path)
    assert found.log_p.shape == (1, 1, 3, 6)
