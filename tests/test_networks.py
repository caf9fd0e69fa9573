import pytest
import torch
from torch.distributions import Bernoulli, Distribution, Independent, Normal

from lib.models.networks import BernoulliVAE, ConvVAE, GaussianVAE, Pixels, seeded


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


@pytest.mark.parametrize(
    "build",
    [
        lambda: BernoulliVAE((1, 8, 8), 3, 4),
        lambda: GaussianVAE((3, 32, 32), 3, 2, shared=True),
        lambda: GaussianVAE((3, 32, 32), 3, 2, shared=False),
    ],
)
def test_the_autoencoders_of_the_score_are_distributions_over_their_images(build):
    model = build().eval()
    shape = (1, 8, 8) if isinstance(model, BernoulliVAE) else (3, 32, 32)
    images = torch.rand(5, *shape)
    x = model.observe(images, torch.Generator().manual_seed(0))
    assert model.encode(x).event_shape == (3,)
    assert model.decode(torch.randn(5, 3)).event_shape == shape
    assert model.decode(torch.randn(5, 3)).log_prob(x).shape == (5,)
    assert model(x, torch.randn(5, 3)).isfinite().all()
    assert model.generate(torch.randn(2, 3)).shape == (2, *shape)


def test_the_papers_layers():
    sizes = [tuple(p.shape) for p in BernoulliVAE((1, 32, 32), 16, 256).parameters() if p.ndim == 2]
    assert sizes == [(1024, 512), (512, 256), (256, 32), (16, 256), (256, 512), (512, 1024)]
    channels = [p.shape[:2] for p in GaussianVAE((3, 32, 32), 64, 32, shared=False).parameters() if p.ndim == 4]
    assert [tuple(c) for c in channels] == [
        (32, 3),
        (64, 32),
        (128, 64),
        (256, 128),
        (64, 256),
        (256, 128),
        (128, 64),
        (64, 32),
        (32, 6),
    ]


def test_pixels_are_bernoulli():
    logits, value = 30 * torch.randn(50, 7), torch.rand(50, 7).round()
    torch.testing.assert_close(Pixels(logits=logits).log_prob(value), Bernoulli(logits=logits).log_prob(value))
    torch.testing.assert_close(Pixels(logits=logits[0]).log_prob(value), Bernoulli(logits=logits[0]).log_prob(value))


def test_the_bound_is_exact_where_encoder_and_decoder_ignore_each_other():
    model = ConvVAE((1, 8, 8), 3, 2, 8, variance=0.1)
    for parameter in (*model.encoder[-1].parameters(), *model.decoder.parameters()):
        torch.nn.init.zeros_(parameter)  # q(z|x) = N(0, I) = p(z), and f(z) = 0
    x = torch.rand(5, 1, 8, 8)
    exact = -Independent(Normal(torch.zeros(1, 8, 8), 0.1**0.5), 3).log_prob(x)
    torch.testing.assert_close(model(x, torch.randn(5, 3)), exact)


def test_binarisation_has_the_grey_value_as_its_mean():
    images = torch.rand(1, 1, 4, 4)
    ones = BernoulliVAE.observe(images.expand(20_000, 1, 4, 4), torch.Generator().manual_seed(0))
    assert set(ones.unique().tolist()) == {0.0, 1.0}
    assert (ones.mean(0) - images[0]).abs().max() < 0.02


def test_dequantised_pixels_go_back_to_the_same_level():
    levels = torch.arange(256.0).view(1, 1, 16, 16) / 255
    x = GaussianVAE.observe(levels, torch.Generator().manual_seed(0))
    assert x.isfinite().all()
    torch.testing.assert_close((GaussianVAE.display(x) * 256).floor() / 255, levels)


def test_seeded_networks_do_not_touch_the_global_state_and_do_not_depend_on_it():
    state = torch.random.get_rng_state()
    one = seeded(lambda: BernoulliVAE((1, 2, 2), 1, 2), 3)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(5)
    two = seeded(lambda: BernoulliVAE((1, 2, 2), 1, 2), 3)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_the_colour_network_refuses_other_sizes():
    with pytest.raises(ValueError, match="must be 32 x 32 for this network, got 28 x 32"):
        GaussianVAE((3, 28, 32), 2, 2, shared=True)
