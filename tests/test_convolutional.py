import pytest
import torch
from torch.distributions import Distribution, Independent, Normal

from lib.models.convolutional import Convolutional, ConvVAE, pair
from lib.models.data import Dataset
from lib.models.fit import fit
from lib.models.networks import codes

pytestmark = pytest.mark.usefixtures("single_precision")


def small_dataset(n=40):
    x = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(n) % 3
    return Dataset("small", x, labels, x[:5], labels[:5], "digest")


SPEC = Convolutional(examples=6, steps=60, batch=4, latent=3, width=2, hidden=8)


def weights(fitted):
    return torch.cat([p.flatten() for p in fitted.model.parameters()])


def network(shape=(1, 8, 12)):
    return ConvVAE(shape, latent=3, width=2, hidden=8, variance=0.1)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 8, 12)])
def test_encode_and_decode_are_distributions_of_the_right_shape(shape):
    model = network(shape)
    x = torch.rand(5, *shape) * 2 - 1
    posterior, likelihood = model.encode(x), model.decode(torch.randn(5, 3))
    assert isinstance(posterior, Distribution)
    assert isinstance(likelihood, Distribution)
    assert posterior.event_shape == (3,)
    assert likelihood.event_shape == shape
    assert likelihood.log_prob(x).shape == (5,)
    assert likelihood.variance.unique().item() == pytest.approx(0.1)


def test_outputs_lie_in_the_open_interval_of_tanh():
    assert network().generate(10 * torch.randn(50, 3)).abs().max() <= 1


def test_generate_is_the_mean_of_decode():
    model, z = network(), torch.randn(4, 3)
    torch.testing.assert_close(model.generate(z), model.decode(z).mean)


def test_images_that_cannot_be_halved_twice_are_refused():
    with pytest.raises(ValueError, match="multiples of 4, got 9 x 12"):
        network((1, 9, 12))


def test_the_network_follows_its_device():
    model = network().to("meta")
    assert model.generate(torch.empty(4, 3, device="meta")).device.type == "meta"
    assert model.encoder(torch.empty(4, 1, 8, 12, device="meta")).shape == (4, 6)


def test_the_bound_is_exact_where_encoder_and_decoder_ignore_each_other():
    model = ConvVAE((1, 8, 8), 3, 2, 8, variance=0.1)
    for parameter in (*model.encoder[-1].parameters(), *model.decoder.parameters()):
        torch.nn.init.zeros_(parameter)  # q(z|x) = N(0, I) = p(z), and f(z) = 0
    x = torch.rand(5, 1, 8, 8)
    exact = -Independent(Normal(torch.zeros(1, 8, 8), 0.1**0.5), 3).log_prob(x)
    torch.testing.assert_close(model(x, torch.randn(5, 3)), exact)


def test_codes_are_posterior_means_of_images_that_fill_minus_one_to_one():
    model, x = network((1, 8, 8)), torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(codes(model, x), model.encode(2 * x - 1).mean)


def test_training_lowers_the_loss(tmp_path):
    spec = Convolutional(examples=6, steps=150, batch=6, latent=3, width=4, hidden=32)
    (fitted,) = fit([spec], small_dataset(), "cpu", folder=tmp_path)
    assert fitted.losses.shape == (6,)
    assert fitted.losses[-1] < fitted.losses[0] - 10
    assert fitted.losses.diff().max() < 5


def test_the_pair_differs_in_the_images_alone(tmp_path):
    specs = pair(6, **{name: getattr(SPEC, name) for name in ("batch", "latent", "width", "hidden")}, steps=2)
    assert list(specs) == ["memorised", "well trained"]
    few, many = fit(list(specs.values()), small_dataset(), "cpu", folder=tmp_path)
    assert (len(few.index), len(many.index)) == (6, 40)
    assert [p.shape for p in few.model.parameters()] == [p.shape for p in many.model.parameters()]
