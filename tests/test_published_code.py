import numpy as np
import planted
import pytest
import torch

from lib.measures.memorization import nearest_neighbour_ratio
from lib.models.networks import VAE
from lib.protocols import evidence, published_code


def as_they_wrote_it(x, others, bs=256):
    """Lines 124 to 135 of scripts/analysis_nearest_neighbor_distance.py at commit 065344b, in numpy."""
    nn, dist = np.zeros(len(x), int), np.zeros(len(x))
    for s in range(0, len(x), bs):
        dd = np.linalg.norm(x[s : s + bs].reshape(-1, 1, others[0].size) - others.reshape(1, len(others), -1), axis=2)
        idxs = np.argmin(dd, axis=1)
        nn[s : s + bs] = idxs
        dist[s : s + bs] = dd[0, idxs]
    return dist


@pytest.mark.parametrize(("n", "batch"), [(600, 256), (9, 4), (5, 5), (3, 256)])
def test_distances_are_those_that_the_line_reads(n, batch):
    x, others = torch.rand(n, 1, 3, 3), torch.rand(40, 1, 3, 3)
    found = published_code.first_row_distances(x, others, batch=batch)
    torch.testing.assert_close(found, torch.from_numpy(as_they_wrote_it(x.numpy(), others.numpy(), batch)))


def test_a_copy_is_seen_in_the_own_row_and_not_in_the_first():
    """Half of the images are among the samples, but for a little noise: their ratios are large, and nobody sees it."""
    x, validation = torch.rand(512, 20), torch.rand(400, 20)
    copied = torch.arange(512) % 2 == 1
    samples = torch.cat([x[copied] + 1e-3 * torch.randn(256, 20), torch.rand(144, 20)])
    own = nearest_neighbour_ratio(x, validation, samples)
    first = published_code.first_row_ratio(x, validation, samples)
    assert own[copied].min() > 50
    assert own[~copied].max() < 2
    assert first[copied].max() < 3
    score = copied.double() + torch.rand(512)
    assert published_code.related(score, own, seed=0).correlation.value > 0.7
    blind = published_code.related(score, first, seed=0).correlation
    assert abs(blind.value) < 0.2
    assert torch.equal(published_code.related(score, first, seed=0).ratio, first)


def test_halves_are_means_of_four_pixels():
    x = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(published_code.halved(x), torch.nn.functional.avg_pool2d(x, 2))
    assert published_code.halved(torch.rand(1, 3, 9, 9)).shape == (1, 3, 4, 4)


def test_one_model_makes_the_means_of_draws_from_the_prior():
    model = Doubling()
    found = published_code.means_of_one_model(model, 5000, 2, seed=3)
    assert torch.equal(found, published_code.means_of_one_model(model, 5000, 2, seed=3))
    assert found.std().item() == pytest.approx(2, rel=0.05)


class Doubling(VAE):
    """Twice its latents."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(2.0))

    def generate(self, z):
        return self.weight * z


def test_high_is_a_number_of_nats():
    assert published_code.called_high(torch.tensor([0.9, 0.95, 0.96])).tolist() == [False, False, True]


def test_the_spread_is_of_the_models_with_the_image():
    log_p, held_out = planted.log_p(4, 3, 2000, gain=2.0, spread=1.5)
    log_p -= 1e3 * (torch.arange(3)[None, :, None] == held_out[:, None])  # the models without it are far off
    asked = evidence.Asked(log_p, torch.ones_like(log_p), held_out)
    judged = published_code.judge(asked, rng=torch.Generator().manual_seed(0))
    assert judged.spread.pow(2).mean() == pytest.approx(1.5**2, rel=0.05)
    assert judged.scores.score.mean() > 900
    again = published_code.judge(asked, rng=torch.Generator().manual_seed(0))
    assert torch.equal(judged.scores.null, again.scores.null)
