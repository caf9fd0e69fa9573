import pytest
import torch
from torch.distributions import Distribution

from lib.models.networks import ConvVAE


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
