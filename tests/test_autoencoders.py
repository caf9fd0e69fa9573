import pytest
import torch
from torch.distributions import Bernoulli

from lib.models.autoencoders import NETWORKS, BernoulliVAE, GaussianVAE, Pixels


@pytest.mark.parametrize(
    "build",
    [
        lambda: BernoulliVAE((1, 8, 8), 3, 4),
        lambda: GaussianVAE((3, 32, 32), 3, 2, shared=True),
        lambda: GaussianVAE((3, 32, 32), 3, 2, shared=False),
    ],
    ids=NETWORKS,
)
def test_they_are_distributions_over_their_images(build):
    model = build().eval()
    shape = (1, 8, 8) if isinstance(model, BernoulliVAE) else (3, 32, 32)
    images = torch.rand(5, *shape)
    x = model.observe(images, torch.Generator().manual_seed(0))
    assert model.encode(x).event_shape == (3,)
    assert model.decode(torch.randn(5, 3)).event_shape == shape
    assert model.decode(torch.randn(5, 3)).log_prob(x).shape == (5,)
    assert model(x, torch.randn(5, 3)).isfinite().all()
    assert model.generate(torch.randn(2, 3)).shape == (2, *shape)


@pytest.mark.parametrize("shared", [True, False])
def test_a_shared_variance_is_one_number(shared):
    model = GaussianVAE((3, 32, 32), 3, 2, shared=shared).eval()
    variances = model.decode(torch.randn(5, 3)).variance
    assert (len(variances.unique()) == 1) == shared
    if shared:
        model.log_variance.data.fill_(2.0)
        torch.testing.assert_close(
            model.decode(torch.randn(5, 3)).variance, torch.full_like(variances, torch.tensor(2.0).exp().item())
        )


def test_the_papers_layers():
    sizes = [tuple(p.shape) for p in BernoulliVAE((1, 32, 32), 16, 256).parameters() if p.ndim == 2]
    assert sizes == [(1024, 512), (512, 256), (256, 32), (16, 256), (256, 512), (512, 1024)]
    channels = [p.shape[:2] for p in GaussianVAE((3, 32, 32), 64, 32, shared=False).parameters() if p.ndim == 4]
    down, up = [(32, 3), (64, 32), (128, 64), (256, 128)], [(64, 256), (256, 128), (128, 64), (64, 32), (32, 6)]
    assert [tuple(c) for c in channels] == down + up


def test_pixels_are_bernoulli():
    logits, value = 30 * torch.randn(50, 7), torch.rand(50, 7).round()
    torch.testing.assert_close(Pixels(logits=logits).log_prob(value), Bernoulli(logits=logits).log_prob(value))
    torch.testing.assert_close(Pixels(logits=logits[0]).log_prob(value), Bernoulli(logits=logits[0]).log_prob(value))


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


def test_the_colour_network_refuses_other_sizes():
    with pytest.raises(ValueError, match="must be 32 x 32 for this network, got 28 x 32"):
        GaussianVAE((3, 28, 32), 2, 2, shared=True)
