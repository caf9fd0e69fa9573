import os
import subprocess
import sys

import pytest
import torch

from lib.models import loop, training
from lib.models.data import Dataset


@pytest.fixture(autouse=True)
def single_precision():
    torch.set_default_dtype(torch.float32)


def small_dataset(n=40):
    x = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(n) % 3
    return Dataset("small", x, labels, x[:5], labels[:5], "digest")


SPEC = training.VAE(examples=6, steps=60, batch=4, latent=3, width=2, hidden=8)


def weights(fit):
    return torch.cat([p.flatten() for p in fit.model.parameters()])


def test_the_same_specification_gives_the_same_weights(tmp_path):
    fits = [training.fit_vaes([SPEC], small_dataset(), "cpu", folder=tmp_path / str(i))[0] for i in range(2)]
    assert torch.equal(weights(fits[0]), weights(fits[1]))
    assert torch.equal(fits[0].losses, fits[1].losses)


def test_the_order_of_fits_does_not_matter(tmp_path):
    other = training.VAE(examples=0, steps=30, batch=4, latent=3, width=2, hidden=8)
    one, two = training.fit_vaes([SPEC, other], small_dataset(), "cpu", folder=tmp_path / "a")
    two_again, one_again = training.fit_vaes([other, SPEC], small_dataset(), "cpu", folder=tmp_path / "b")
    assert torch.equal(weights(one), weights(one_again))
    assert torch.equal(weights(two), weights(two_again))


def test_another_seed_gives_other_weights_and_other_examples(tmp_path):
    other = training.VAE(examples=6, steps=60, batch=4, latent=3, width=2, hidden=8, seed=1)
    one, two = training.fit_vaes([SPEC, other], small_dataset(), "cpu", folder=tmp_path)
    assert not torch.equal(weights(one), weights(two))
    assert not torch.equal(one.index, two.index)


def test_a_fit_is_in_evaluation_mode_without_gradients(tmp_path):
    (fit,) = training.fit_vaes([SPEC], small_dataset(), "cpu", folder=tmp_path)
    assert not fit.model.training
    assert not any(p.requires_grad for p in fit.model.parameters())


def test_training_lowers_the_loss(tmp_path):
    spec = training.VAE(examples=6, steps=150, batch=6, latent=3, width=4, hidden=32)
    (fit,) = training.fit_vaes([spec], small_dataset(), "cpu", folder=tmp_path)
    assert fit.losses[-1] < fit.losses[0] - 10
    assert fit.losses.diff().max() < 5


def test_an_interrupted_fit_goes_on_where_it_was_and_ends_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 10)
    (whole,) = training.fit_vaes([SPEC], small_dataset(), "cpu", folder=tmp_path / "whole")
    steps = []
    real = loop.rate

    def interrupted(peak, step, total):
        steps.append(step)
        if step == 37 and len(steps) == 38:
            raise KeyboardInterrupt
        return real(peak, step, total)

    monkeypatch.setattr(loop, "rate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.fit_vaes([SPEC], small_dataset(), "cpu", folder=tmp_path / "cut")
    (resumed,) = training.fit_vaes([SPEC], small_dataset(), "cpu", folder=tmp_path / "cut")
    assert steps[38:] == list(range(30, 60))  # from the checkpoint at 30
    assert torch.equal(weights(whole), weights(resumed))
    assert torch.equal(whole.losses, resumed.losses)
    assert not list((tmp_path / "cut").glob("*.checkpoint*"))


def test_another_process_makes_the_same_fit(tmp_path):
    (here,) = training.fit_vaes([SPEC], small_dataset(), "cpu", folder=tmp_path / "here")
    script = (
        "import sys\nfrom pathlib import Path\nsys.path.insert(0, 'tests')\n"
        "from test_training import SPEC, small_dataset, training, weights\n"
        "(fit,) = training.fit_vaes([SPEC], small_dataset(), 'cpu', folder=Path(sys.argv[1]))\n"
        "print(weights(fit).double().sum().item().hex())\n"
    )
    folder = str(tmp_path / "there")
    # As many threads as here: their number decides the order of sums, and so the last bits.
    threads = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    run = subprocess.run(
        [sys.executable, "-c", script, folder], capture_output=True, text=True, check=True, env=threads
    )
    assert run.stdout.strip() == weights(here).double().sum().item().hex()


@pytest.mark.parametrize("count", [-1, 41])
def test_more_examples_than_there_are_is_refused(tmp_path, count):
    spec = training.VAE(examples=count, steps=1, batch=1)
    with pytest.raises(ValueError, match=rf"examples must be in 0\.\.40 \(0: all\) for small, got {count}"):
        training.fit_vaes([spec], small_dataset(), "cpu", folder=tmp_path)


def test_a_loss_that_is_not_finite_stops_the_fit(tmp_path):
    spec = training.VAE(examples=6, steps=100, batch=4, latent=3, width=2, hidden=8, rate=1e30)
    with pytest.raises((FloatingPointError, ValueError), match=r"not finite|nan"):
        training.fit_vaes([spec], small_dataset(), "cpu", folder=tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_codes_are_posterior_means():
    model = training.ConvVAE((1, 8, 8), 3, 2, 8, variance=0.1)
    fit = training.Fitted(model, torch.arange(3), torch.zeros(1))
    x = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(training.codes(fit, x), model.encode(2 * x - 1).mean)
