import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from lib.measures.density import log_prior
from lib.measures.likelihood import log_evidence
from lib.models.convolutional import Convolutional, ConvVAEFit
from lib.models.draws import rng_from
from lib.models.generative import Generative, GeneratorFit
from lib.protocols import seen_or_not
from lib.protocols.seen_or_not import How

HOW = How(rank=2, samples=3, iterations=200, start=0.1, generated=50, threshold=0.3, radii=(0.5, 1.0))
SCALES = torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64)


def linear(z):
    """Three latents to five pixels, with singular values 4, 2 and 1 everywhere."""
    return torch.cat([z * SCALES.to(z), z.new_zeros(len(z), 2)], 1)


def test_at_the_codes_of_a_linear_decoder_everything_is_known():
    z = torch.randn(7, 3)
    found = seen_or_not.at_codes(linear, z, HOW)
    volume = torch.tensor(8.0).log()
    assert found["small volume"] == pytest.approx((-volume).expand(7))
    assert found["density"] == pytest.approx(log_prior(z) - volume)
    assert found["few dimensions"].tolist() == [-2.0] * 7  # 4 and 2 exceed .3 of 4, 1 does not
    # Along the first direction a radius r is r / 4 latent units, and the prior's second difference is minus its square.
    assert found["sharp peak"] == pytest.approx(torch.full((7,), (0.5 + 1.0) / 2 / 16))


def test_where_the_rank_is_lacking_stands_nan_and_the_others_are_as_they_were():
    z = torch.randn(9, 3)
    z[[0, 4, 5]] = -9.0  # all outputs are saturated there

    def cut(z):
        return linear(z) * (z.sum(1, keepdim=True) > -20)

    found, plain = (seen_or_not.at_codes(decoder, z, HOW) for decoder in (cut, linear))
    for name in ("small volume", "density", "sharp peak"):
        assert found[name].isnan().nonzero()[:, 0].tolist() == [0, 4, 5]
        known = ~found[name].isnan()
        assert found[name][known] == pytest.approx(plain[name][known])
    assert not found["few dimensions"].isnan().any()


def test_other_complaints_are_passed_on():
    def wrong(rows):
        raise ValueError("not finite")

    with pytest.raises(ValueError, match="not finite"):
        seen_or_not.where_of_rank(wrong, 3)


def test_the_nearest_of_generated_images_is_measured_in_output_units(monkeypatch):
    images = torch.zeros(2, 1, 2, 2)
    images[1] = 1.0
    found = seen_or_not.nearest_generated(lambda z: torch.ones(len(z), 1, 2, 2), images, 3, 5, seed=0)
    assert found.tolist() == [2.0, 0.0]
    decoder = lambda z: z[:, :4].view(-1, 1, 2, 2)  # noqa: E731
    monkeypatch.setattr(seen_or_not, "AT_ONCE", 7)
    few, more = (seen_or_not.nearest_generated(decoder, images, 4, count, seed=0) for count in (20, 70))
    assert (more <= few).all()
    noise = torch.cat(
        [torch.randn(7, 4, generator=rng) for rng in [rng_from("cpu", 0, seen_or_not.GENERATED)] for _ in "ab"]
    )
    noise = torch.cat([noise, torch.empty(0, 4)])[:14]
    expected = torch.cdist(images.flatten(1), noise).amin(1)
    assert seen_or_not.nearest_generated(decoder, images, 4, 14, seed=0) == pytest.approx(expected)


class Affine(nn.Module):
    """Latents to images of 2 x 4 pixels, about one half."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 8)

    def forward(self, z):
        return self.layer(z).view(-1, 1, 2, 4)


@pytest.fixture
def generator():
    root = torch.tensor([[2.0, 0.0, 0.0], [0.5, 1.0, 0.0], [0.0, 0.3, 0.2]])
    prior = MultivariateNormal(torch.tensor([1.0, -2.0, 0.0]), scale_tril=root)
    network = Affine().requires_grad_(False)
    return GeneratorFit(Generative("glo", 0, latent=3), torch.arange(4), torch.zeros(1, 1), network, None, prior)


def test_a_generator_is_taken_from_standard_normal_latents_to_images_about_zero(generator):
    u = torch.randn(5, 3)
    z = generator.prior.loc + u @ generator.prior.scale_tril.T
    found = seen_or_not.standardised(generator, torch.float64)(u)
    assert found == pytest.approx(2 * generator.generator(z) - 1)
    assert next(generator.generator.parameters()).dtype == torch.get_default_dtype()


def test_the_recovery_of_a_linear_generator_is_a_least_squares_residual(generator):
    images = torch.rand(6, 1, 2, 4)
    found = seen_or_not.of_generator(generator, images, HOW)
    matrix, offset = generator.generator.layer.weight, generator.generator.layer.bias
    y = (images.flatten(1) - offset).T
    made = matrix @ torch.linalg.lstsq(matrix, y).solution
    assert -found.values["latent recovery"] == pytest.approx(4 * (y - made).square().mean(0), rel=1e-5)
    assert found.made.flatten(1) == pytest.approx((made.T + offset), abs=1e-3)
    both = 2 * matrix @ generator.prior.scale_tril
    volume = torch.linalg.svdvals(both)[:2].log().sum()
    assert found.values["small volume"] == pytest.approx((-volume).expand(6))


def test_a_rank_that_no_decoder_of_this_shape_has_is_refused():
    with pytest.raises(ValueError, match=r"rank must be in 1\.\.3 for this decoder"):
        seen_or_not.at_codes(linear, torch.zeros(1, 3), HOW._replace(rank=4))


def test_of_an_autoencoder_the_codes_are_its_own():
    spec = Convolutional(0, latent=4, width=2, hidden=8, seed=3)
    model = spec.build((1, 8, 8)).eval().requires_grad_(False)
    fit = ConvVAEFit(spec, torch.arange(4), torch.zeros(1), model)
    images = torch.rand(5, 1, 8, 8)
    found = seen_or_not.of_vae(fit, images, HOW._replace(radii=(1e-4,)))
    x = 2 * images - 1
    made = model.generate(model.encode(x).mean)
    assert found.made == pytest.approx((made + 1) / 2)
    assert -found.values["reconstruction"] == pytest.approx((made - x).flatten(1).square().mean(1))
    rng = rng_from("cpu", 3, seen_or_not.SAMPLES)
    assert found.values["log p(x)"] == pytest.approx(
        log_evidence(model.encode, model.decode, x, 3, generator=rng).log_p
    )
    assert (found.values["latent recovery"] >= found.values["reconstruction"] - 1e-6).double().mean() > 0.5
    again = seen_or_not.of_vae(fit, images, HOW._replace(radii=(1e-4,)))
    assert all(found.values[name].equal(again.values[name]) for name in found.values)
