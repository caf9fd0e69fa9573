from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from lib.models import generators, loop
from lib.models.convolutional import Residual, encoder, generator
from lib.models.data import Dataset
from lib.models.generators import Generative


@pytest.fixture(autouse=True)
def single_precision():
    torch.set_default_dtype(torch.float32)


def dataset(n=40, channels=1, side=16):
    x = torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(n, dtype=torch.long)
    return Dataset("small", x, labels, x[:5], labels[:5], "digest")


SPECS = [Generative(kind, 12, steps=30, batch=6, latent=3, width=4) for kind in generators.RATES]


def weights(fit):
    return torch.cat([p.flatten() for p in fit.generator.parameters()])


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 64, 64), (1, 16, 24)])
@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("look", [{}, {"normalised": True}, {"residual": True}])
def test_generator_and_encoder_fit_each_other(shape, stride, look):
    with torch.device("meta"):
        make, read = generator(shape, 5, 4, stride=stride, **look), encoder(shape, 5, 4, stride=stride, **look)
        images = make(torch.zeros(2, 5))
        assert images.shape == (2, *shape)
        assert read(images).shape == (2, 5)


def test_upsampling_is_a_transposed_convolution():
    """A convolution to 16 channels and a shuffle by 4 is a transposed convolution with a kernel of 12."""
    convolution = torch.nn.Conv2d(3, 16, 3, padding=1, bias=False)
    x = torch.randn(2, 3, 5, 5)
    kernel = torch.zeros(3, 1, 12, 12)
    taps = convolution.weight.view(4, 4, 3, 3, 3)  # row and column within a cell, input channel, neighbour
    for row in range(3):
        for column in range(3):  # neighbour (0, 0) lies above and to the left: it reaches down and to the right
            kernel[:, 0, 8 - 4 * row : 12 - 4 * row, 8 - 4 * column : 12 - 4 * column] = taps[..., row, column].permute(
                2, 0, 1
            )
    expected = torch.nn.functional.conv_transpose2d(x, kernel, stride=4, padding=4)
    torch.testing.assert_close(torch.nn.PixelShuffle(4)(convolution(x)), expected, atol=1e-5, rtol=1e-5)


def test_a_residual_block_starts_near_the_identity():
    x = torch.randn(2, 4, 5, 5)
    assert ((Residual(4)(x) - x).norm() / x.norm()).item() < 0.1


def test_images_that_no_stride_divides_are_refused():
    with pytest.raises(ValueError, match="30 x 30 images: 4 must divide"):
        generator((1, 30, 30), 5, 4, stride=4)


@pytest.mark.parametrize("spec", SPECS, ids=generators.RATES)
def test_the_same_specification_gives_the_same_fit(tmp_path, spec):
    fits = [generators.fit_generators([spec], dataset(), "cpu", folder=tmp_path / str(i))[0] for i in range(2)]
    assert torch.equal(weights(fits[0]), weights(fits[1]))
    assert torch.equal(fits[0].codes.loc, fits[1].codes.loc)
    assert torch.equal(fits[0].losses, fits[1].losses)
    assert not fits[0].generator.training
    assert fits[0].losses.shape[1] == (1 if spec.kind in ("glo", "ae") else 2)
    assert (fits[0].encoder is None) == (spec.kind not in ("ae", "aegan"))


def test_side_by_side_is_one_after_the_other(tmp_path):
    alone = generators.fit_generators(SPECS, dataset(), "cpu", folder=tmp_path / "alone")
    with ThreadPoolExecutor(2) as executor:
        together = generators.fit_generators(SPECS, dataset(), "cpu", folder=tmp_path / "two", executor=executor)
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(weights(one), weights(other))


@pytest.mark.parametrize("spec", [SPECS[0], SPECS[2], SPECS[3]], ids=["glo", "aegan", "dcgan"])
def test_an_interrupted_fit_goes_on_where_it_was_and_ends_the_same(tmp_path, monkeypatch, spec):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 10)
    (whole,) = generators.fit_generators([spec], dataset(), "cpu", folder=tmp_path / "whole")
    seeds = []
    real = generators.seed_from

    def interrupted(*identity):
        seeds.append(identity)
        if identity[0] == generators.STEPS and identity[-1] == 17 and len(seeds) < 25:
            raise KeyboardInterrupt
        return real(*identity)

    monkeypatch.setattr(generators, "seed_from", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generators.fit_generators([spec], dataset(), "cpu", folder=tmp_path / "cut")
    seeds.clear()
    seeds.extend([()] * 25)
    (resumed,) = generators.fit_generators([spec], dataset(), "cpu", folder=tmp_path / "cut")
    assert [identity[-1] for identity in seeds if identity[:1] == (generators.STEPS,)] == list(range(10, 30))
    assert torch.equal(weights(whole), weights(resumed))
    assert torch.equal(whole.losses, resumed.losses)


def test_glo_learns_its_images_and_keeps_its_codes_in_the_ball(tmp_path):
    spec = replace(SPECS[0], steps=300, batch=12, width=16, latent=12)
    (fit,) = generators.fit_generators([spec], dataset(), "cpu", folder=tmp_path)
    assert fit.losses[-1, 0] < 0.5 * fit.losses[0, 0]
    bound = fit.codes.loc.square().sum() + fit.codes.variance.sum()  # the mean of the squared norms, nearly
    assert bound < 1.1


def test_codes_that_stay_are_on_the_sphere(tmp_path):
    (fit,) = generators.fit_generators([replace(SPECS[0], code_rate=0.0)], dataset(), "cpu", folder=tmp_path)
    count = len(fit.index)
    squared = fit.codes.loc.square().sum() + fit.codes.variance.sum() * (count - 1) / count
    assert squared.item() == pytest.approx(1, abs=1e-4)


def test_the_prior_of_adversarial_networks_is_standard_normal(tmp_path):
    (fit,) = generators.fit_generators([SPECS[3]], dataset(), "cpu", folder=tmp_path)
    assert torch.equal(fit.codes.loc, torch.zeros(3))
    assert torch.equal(fit.codes.covariance_matrix, torch.eye(3))


def test_bad_requests_are_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown kind of generator 'vae'; accepted: glo, ae, aegan, dcgan, mesch"):
        generators.fit_generators([replace(SPECS[0], kind="vae")], dataset(), "cpu", folder=tmp_path)
    with pytest.raises(ValueError, match=r"examples must be in 0\.\.40 \(0: all\) for small, got 41"):
        generators.fit_generators([replace(SPECS[0], examples=41)], dataset(), "cpu", folder=tmp_path)
    with pytest.raises(FloatingPointError, match="the loss of the model of dcgan, 12 images, seed 0 is not finite"):
        generators.fit_generators([replace(SPECS[3], rate=1e30)], dataset(), "cpu", folder=tmp_path)
