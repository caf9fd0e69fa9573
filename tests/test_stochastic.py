from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal

from lib.models.data import Dataset
from lib.models.fit import fit
from lib.models.networks import codes
from lib.models.stochastic import VARIANCES, Constant, Gaussian, Network, Precision, Stochastic

pytestmark = pytest.mark.usefixtures("single_precision")


def dataset(n=40, side=6):
    draws = torch.Generator().manual_seed(0)
    x = (torch.rand(n, 1, 1, 1, generator=draws) + 0.3 * torch.rand(n, 1, side, side, generator=draws)).clamp(max=1)
    labels = torch.zeros(n, dtype=torch.long)
    return Dataset("small", x, labels, x[:5], labels[:5], "digest")


SPEC = Stochastic("constant", examples=30, steps=20, batch=8, width=6)
ALL = [replace(SPEC, variance=variance, centres=5 if variance == "rbf" else SPEC.centres) for variance in VARIANCES]
RBF = ALL[VARIANCES.index("rbf")]


def weights(model, *, of=""):
    return torch.cat([value.flatten() for name, value in model.state_dict().items() if name.startswith(of)])


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    torch.set_default_dtype(torch.float32)
    folder = tmp_path_factory.mktemp("fits")
    found = fit(ALL, dataset(), "cpu", folder=folder)
    return folder, dict(zip(VARIANCES, found, strict=True))


def test_every_variance_has_its_form(fits):
    z = 3 * torch.randn(9, 2)
    kinds = {"constant": Constant, "network": Network, "rbf": Precision, "joint": Network}
    for variance, (model,) in ((name, fitted.models) for name, fitted in fits[1].items()):
        assert type(model.variance) is kinds[variance]
        deviation = model.deviation(z)
        assert deviation.shape == model.generate(z).shape == (9, 1, 6, 6)
        torch.testing.assert_close(model.decode(z).stddev.expand(9, 1, 6, 6), deviation)
        assert (deviation.flatten().std() < 1e-6) == (variance == "constant")
        assert variance == "constant" or (deviation > SPEC.floor).all()
        assert not model.training
        assert not any(p.requires_grad for p in model.parameters())


def test_a_variance_that_follows_leaves_encoder_and_mean_as_they_were(fits):
    (constant,) = fits[1]["constant"].models
    for variance in ("network", "rbf", "joint"):
        (model,) = fits[1][variance].models
        same = [torch.equal(weights(model, of=part), weights(constant, of=part)) for part in ("encoder.", "mean.")]
        assert same == [variance != "joint"] * 2
        assert torch.equal(fits[1][variance].index, fits[1]["constant"].index)


def test_an_rbf_deviation_grows_from_the_codes_to_what_is_known_without_any(fits):
    (model,) = fits[1]["rbf"].models
    far = model.deviation(torch.full((1, 2), 1e4))
    torch.testing.assert_close(far, torch.full_like(far, (1 / SPEC.least_precision + SPEC.floor**2) ** 0.5))
    near = model.deviation(codes(model, dataset().train[fits[1]["rbf"].index]))
    assert near.mean() < 0.1 * far.mean()


def test_one_centre_starts_from_the_residuals():
    z, squared = 0.1 * torch.randn(200, 2), 0.5 + torch.rand(200, 4)
    variance = Precision(4, 2, 1, 1e-6, 0.05)
    variance.place(z, squared, 50.0, 0)
    torch.testing.assert_close(variance.centres, z.mean(0, keepdim=True))
    reach = (z - z.mean(0)).norm(dim=1).mean()
    torch.testing.assert_close(variance.sharpness, 0.5 / (50 * reach).square()[None])
    torch.testing.assert_close(variance(z).mean(0), squared.mean(0), rtol=0.01, atol=0)


def test_the_gaussian_is_torchs():
    mean, variance, x = torch.randn(5, 7), torch.rand(5, 7) + 0.01, torch.randn(5, 7)
    for each in (variance, variance[:1]):
        found = Gaussian(mean, each).log_prob(x)
        torch.testing.assert_close(found, Normal(mean, each.sqrt()).log_prob(x), atol=1e-4, rtol=1e-5)


def test_codes_are_posterior_means(fits):
    (model,) = fits[1]["constant"].models
    x = dataset().train
    torch.testing.assert_close(codes(model, x), model.encode(x).mean)


def test_training_lowers_the_loss(tmp_path):
    spec = replace(SPEC, steps=150, rate=1e-2)
    (fitted,) = fit([spec], dataset(), "cpu", folder=tmp_path)
    assert fitted.losses.shape == (6, 1)
    assert fitted.losses[-1] < fitted.losses[0] - 10


def test_the_members_of_an_ensemble_differ_and_a_follower_follows_its_own(tmp_path):
    specs = [replace(SPEC, models=2), replace(SPEC, models=2, variance="network")]
    constant, network = fit(specs, dataset(), "cpu", folder=tmp_path)
    for fitted in (constant, network):
        assert len(fitted.models) == fitted.losses.shape[1] == 2
        assert not torch.equal(*(weights(model) for model in fitted.models))
    for mean, follower in zip(constant.models, network.models, strict=True):
        assert torch.equal(weights(mean, of="mean."), weights(follower, of="mean."))


def test_specifications_with_a_constant_variance_share_what_does_not_concern_it(fits):
    folder, first = fits
    many = [replace(SPEC, centres=3, floor=0.2), replace(SPEC, bandwidth=1.0), replace(SPEC, least_precision=1.0)]
    before = len(list(folder.glob("*.safetensors")))
    for fitted in fit(many, dataset(), "cpu", folder=folder):
        assert torch.equal(weights(fitted.models[0]), weights(first["constant"].models[0]))
    assert len(list(folder.glob("*.safetensors"))) == before
    assert replace(RBF, floor=0.2).follows() == SPEC.canonical()
    assert replace(SPEC, seed=1).canonical() != SPEC.canonical()


def test_a_variance_that_follows_has_half_the_steps(tmp_path):
    specs = [replace(SPEC, variance=variance, steps=110) for variance in ("constant", "network")]
    constant, network = fit(specs, dataset(), "cpu", folder=tmp_path)
    assert (len(constant.losses), len(network.losses)) == (5, 3)  # 110 and 55 steps


def test_bad_requests_are_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown variance 'full'; accepted: constant, network, rbf, joint"):
        fit([replace(SPEC, variance="full")], dataset(), "cpu", folder=tmp_path)
    with pytest.raises(ValueError, match="31 centres need at least as many images, there are 30"):
        fit([replace(SPEC, variance="rbf", centres=31)], dataset(), "cpu", folder=tmp_path)
    assert not list(tmp_path.iterdir())
