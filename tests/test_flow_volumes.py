"""What larger flows emit and leave of volume: at flows whose volume is known, and beside the whole Jacobian."""

import math

import pytest
import torch
from sklearn.neural_network import MLPClassifier

from lib.measures.flow_density import divergence_sum
from lib.models.data import Dataset
from lib.models.fit import fit
from lib.models.flow_unets import UNetFlow, VelocityUNet
from lib.models.flows import Flow, FlowFit
from lib.protocols import flow_ends, flow_sizes, flow_volumes

HOW = flow_sizes.How(steps=40, samples=30, points=5, threshold=0.1, seed=0)
NOISE = 0.05


class Closed(torch.nn.Module):
    """The flow of a mixture in closed form, in the place of a network."""

    def __init__(self, end):
        super().__init__()
        self.end, self.weight = end, torch.nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, y, t):
        return self.end.velocity()(y, t)


def images(n=12, side=3):
    x = torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(0))
    return Dataset("small", x, torch.arange(n), x.flip(0)[:20] / 2, torch.arange(n), "digest")


def fitted(end, count=12):
    return FlowFit(Flow(count, noise=NOISE), torch.arange(count), torch.zeros(1), {4000: Closed(end)})


def test_a_round_flow_leaves_the_volume_of_its_scale_by_probes_and_by_its_jacobian():
    wide = fitted(flow_ends.Mixture(torch.ones(1), torch.zeros(1, 9), torch.full((1,), 2.0)))
    z = torch.randn(4, 9)
    known = torch.full((4,), -9 * math.log(2.0))
    found = flow_volumes.volume(wide, z, 100, 3)
    torch.testing.assert_close(found.nats, known, atol=5e-3, rtol=0)
    assert found.standard_error.max() < 1e-9  # every probe says the same
    torch.testing.assert_close(flow_volumes.exact(wide, z, 100), known, atol=5e-3, rtol=0)


def test_the_memoriser_emits_copies_and_the_probes_agree_with_its_jacobian_within_their_error():
    data = images()
    end = flow_ends.memoriser(3 * VelocityUNet.observe(data.train), NOISE)
    copies = fitted(end)
    found = flow_volumes.of_fit(copies, data._replace(train=(3 * (2 * data.train - 1) + 1) / 2), HOW, 200)
    assert flow_sizes.share(found) == 1
    assert found.distance.max() < 4 * NOISE * 3  # nine pixels of noise
    assert found.log_p_train.isnan().all()
    z = flow_sizes.noise_for(5, torch.zeros(1, 9), HOW)
    assert flow_volumes.exact(copies, z, 80).mean() == pytest.approx(-9 * math.log(NOISE) - math.log(12), abs=1.5)
    estimated = flow_volumes.volume(copies, z, 40, 200)
    difference = estimated.nats + divergence_sum(copies.model, z, 40)
    assert (difference.abs() < 4 * estimated.standard_error).all()
    torch.testing.assert_close(found.volume_noise, estimated.nats)


@pytest.mark.usefixtures("single_precision")
def test_what_is_emitted_does_not_depend_on_the_number_of_probes_and_belongs_to_the_seed(tmp_path):
    data = images(20)
    (unet,) = fit([UNetFlow(0, 16, 4, width=4, blocks=1)], data, "cpu", folder=tmp_path)
    how = HOW._replace(steps=4, samples=5)
    few, many = (flow_volumes.of_fit(unet, data, how, probes) for probes in (2, 5))
    torch.testing.assert_close(few.distance, many.distance)
    assert (few.volume_noise != many.volume_noise).any()
    again = flow_volumes.of_fit(unet, data, how, 2)
    torch.testing.assert_close(again.volume_noise, few.volume_noise, rtol=0, atol=0)


def test_what_is_emitted_is_read_as_images():
    class Reader(MLPClassifier):
        def predict_proba(self, x):
            assert 0 <= x.min() <= x.max() <= 1
            return torch.stack([torch.from_numpy(x[:, 0]) > 0.5, torch.from_numpy(x[:, 0]) <= 0.5], 1).double().numpy()

    held_out = torch.tensor([0.0, 1.0]).repeat(40)[:, None, None, None].expand(-1, 1, 2, 2)
    sharp = VelocityUNet.observe(held_out)
    found = flow_volumes.bar(Reader(), 1.2 * sharp, held_out, seed=0)
    assert found.value == pytest.approx(0.8, abs=0.01)
