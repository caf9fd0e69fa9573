import math

import pytest
import torch
from torch import nn

from lib.protocols import walk_images


def test_steps_by_the_metric_of_a_decoder_change_its_image_evenly():
    def stretched(z):  # images change ten times as fast on the right
        return z + 9 * torch.nn.functional.softplus(4 * z) / 4

    codes = torch.randn(40, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def walked(metric):
        rng = torch.Generator().manual_seed(1)
        return walk_images.changes(stretched, metric, codes, walkers=20, steps=200, step=0.05, rng=rng)

    (_, plain), (z, even) = walked(nn.Identity()), walked(stretched)
    assert z.shape == (201, 20, 2)
    assert even.shape == (20, 200)
    by_metric, euclidean = (walk_images.unevenness(changed).mean() for changed in (even, plain))
    assert by_metric < euclidean
    # The length of a step in two output directions: that of a Rayleigh distribution has sqrt(4/pi - 1).
    assert float(by_metric) == pytest.approx(math.sqrt(4 / math.pi - 1), rel=0.1)


def test_draws_of_the_prior_are_inside_and_the_lost_are_outside():
    z = torch.randn(1, 5000, 4, generator=torch.Generator().manual_seed(0))
    assert walk_images.outside(z, 0.1).low < 0.1 < walk_images.outside(z, 0.1).high
    assert walk_images.outside(torch.full((1, 5, 4), torch.nan)).value == 1
    assert walk_images.outside(torch.zeros(1, 5, 4)).value == 0
