"""A U-Net in the place of the perceptron: rows by themselves, a field that can be inverted, fits as any other."""

import pytest
import torch

from lib.measures.flow_density import log_density_at
from lib.measures.flows import sampler
from lib.models.data import Dataset
from lib.models.fit import fit
from lib.models.flow_unets import UNetFlow, VelocityUNet
from lib.models.flows import matching_loss


def network(side=8, width=4, scales=3):
    torch.manual_seed(0)
    return VelocityUNet(side**2, width, scales, 0.05).requires_grad_(False)


def test_every_row_is_denoised_by_itself_at_a_time_of_its_own():
    model, y, t = network(), torch.randn(5, 64), torch.rand(5, 1)
    together = model.denoise(y, t)
    alone = torch.cat([model.denoise(row[None], at[None]) for row, at in zip(y, t, strict=True)])
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(model.denoise(y, t[:1]), model.denoise(y, t[:1].expand(5, 1)))
    assert (model.denoise(y, t) - model.denoise(y, 1 - t)).abs().amax() > 1e-6  # the time is told


def test_a_far_pixel_is_seen_through_the_coarse_maps():
    y = torch.zeros(2, 1024)
    y[1, 0] = 3.0
    made = network(side=32, width=4, scales=4).denoise(y, torch.full((1, 1), 0.5))
    assert (made[1] - made[0])[-1].abs() > 1e-9


def test_the_density_is_the_change_of_variables_of_a_sampler_that_can_be_run_backwards():
    model = network(side=4, width=4, scales=2)
    z = torch.randn(2, 16)
    x = sampler(model, 12)(z)
    found = log_density_at(model, x, 12)
    torch.testing.assert_close(found.z, z, rtol=0, atol=1e-3)
    jacobian = torch.stack(
        [torch.autograd.functional.jacobian(lambda one: sampler(model, 12)(one[None])[0], row) for row in z]
    )
    truth = -(z.square().sum(1) / 2 + 8 * torch.log(torch.tensor(2 * torch.pi))) - jacobian.det().abs().log()
    torch.testing.assert_close(found.log_p, truth, rtol=0, atol=1e-2)


@pytest.mark.parametrize("pixels, scales", [(60, 1), (36, 3)])
def test_images_that_cannot_be_halved_are_refused(pixels, scales):
    with pytest.raises(ValueError, match="no square"):
        VelocityUNet(pixels, 4, scales, 0.05)


@pytest.mark.usefixtures("single_precision")
def test_a_fit_learns_and_comes_back_from_its_file(tmp_path):
    x = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)).round()
    spec = UNetFlow(0, 200, 16, width=8, blocks=2)
    data = Dataset("small", x, torch.arange(20), x, torch.arange(20), "digest")
    (fitted,) = fit([spec], data, "cpu", folder=tmp_path)
    assert fitted.losses[-1] < 0.5 * fitted.losses[0]
    (again,) = fit([spec], data, "cpu", folder=tmp_path)
    points = VelocityUNet.observe(x)
    rng = [torch.Generator().manual_seed(1) for _ in range(2)]
    losses = [matching_loss(one.model, points, 64, source) for one, source in zip((fitted, again), rng, strict=True)]
    assert losses[0] == losses[1]
    with pytest.raises(ValueError, match="multiple of 4"):
        fit([UNetFlow(0, 200, width=6)], data, "cpu", folder=tmp_path)
