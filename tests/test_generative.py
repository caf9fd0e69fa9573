from dataclasses import replace

import pytest
import torch

from lib.models.data import Dataset
from lib.models.fit import fit
from lib.models.generative import RATES, Generative

pytestmark = pytest.mark.usefixtures("single_precision")


def dataset(n=40, channels=1, side=16):
    x = torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(n, dtype=torch.long)
    return Dataset("small", x, labels, x[:5], labels[:5], "digest")


SPECS = {kind: Generative(kind, 12, steps=30, batch=6, latent=3, width=4) for kind in RATES}


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    torch.set_default_dtype(torch.float32)
    made = fit(list(SPECS.values()), dataset(), "cpu", folder=tmp_path_factory.mktemp("fits"))
    return dict(zip(SPECS, made, strict=True))


@pytest.mark.parametrize("kind", RATES)
def test_a_fit_has_the_networks_and_losses_of_its_kind(fits, kind):
    made = fits[kind].generator(torch.zeros(2, 3))
    assert made.shape == (2, 1, 16, 16)
    assert 0 <= made.min() < made.max() <= 1
    assert fits[kind].losses.shape == (2, 1 if kind in ("glo", "ae") else 2)
    assert (fits[kind].encoder is None) == (kind not in ("ae", "aegan"))
    if fits[kind].encoder is not None:
        assert fits[kind].encoder(made).shape == (2, 3)


@pytest.mark.parametrize("kind", ["ae", "aegan"])
def test_the_prior_of_an_autoencoder_has_the_moments_of_its_codes(fits, kind):
    z = fits[kind].encoder(dataset().train[fits[kind].index])
    torch.testing.assert_close(fits[kind].prior.loc, z.mean(0))
    torch.testing.assert_close(fits[kind].prior.covariance_matrix, z.T.cov(), rtol=1e-4, atol=1e-5)


def test_glo_learns_its_images_and_keeps_its_codes_in_the_ball(tmp_path):
    spec = replace(SPECS["glo"], steps=300, batch=12, width=16, latent=12)
    (fitted,) = fit([spec], dataset(), "cpu", folder=tmp_path)
    assert fitted.losses[-1, 0] < 0.5 * fitted.losses[0, 0]
    bound = fitted.prior.loc.square().sum() + fitted.prior.variance.sum()  # the mean of the squared norms, nearly
    assert bound < 1.1


def test_codes_that_stay_are_on_the_sphere(tmp_path):
    (fitted,) = fit([replace(SPECS["glo"], code_rate=0.0)], dataset(), "cpu", folder=tmp_path)
    count = len(fitted.index)
    squared = fitted.prior.loc.square().sum() + fitted.prior.variance.sum() * (count - 1) / count
    assert squared.item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("kind", ["dcgan", "mesch"])
def test_the_prior_of_adversarial_networks_is_standard_normal(fits, kind):
    assert torch.equal(fits[kind].prior.loc, torch.zeros(3))
    assert torch.equal(fits[kind].prior.covariance_matrix, torch.eye(3))


def test_bad_requests_are_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown kind of generator 'vae'; accepted: glo, ae, aegan, dcgan, mesch"):
        fit([replace(SPECS["glo"], kind="vae")], dataset(), "cpu", folder=tmp_path)
    with pytest.raises(FloatingPointError, match="the loss of the model of dcgan, 12 images, seed 0 is not finite"):
        fit([replace(SPECS["dcgan"], rate=1e30)], dataset(), "cpu", folder=tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))
