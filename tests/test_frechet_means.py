import math

import pytest
import torch
from sklearn.cluster import KMeans
from torch import nn

from lib.measures.graph import pairwise_f
from lib.protocols import frechet_means


def clouds(per=20, seed=0):
    """Points of three clouds in a plane, and which cloud they are of."""
    centres = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]], dtype=torch.float64).repeat_interleave(per, 0)
    noise = torch.randn(3 * per, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return centres + noise, torch.arange(3).repeat_interleave(per)


def test_in_a_flat_space_it_is_k_means_up_to_the_lattice():
    z, _ = clouds()
    nodes = torch.cat([z, torch.cartesian_prod(*[torch.linspace(-3, 8, 111, dtype=z.dtype)] * 2)])
    found = frechet_means.mean_clusters(torch.cdist(z, nodes), 3, seed=0)
    known = KMeans(3, n_init=5, random_state=0).fit(z.numpy())
    assert pairwise_f(torch.from_numpy(known.labels_), found.clusters) == 1
    away = torch.cdist(torch.from_numpy(known.cluster_centers_), nodes[found.means]).amin(1)
    assert away.max() < 0.1 * math.sqrt(2)
    assert found.loss == pytest.approx(known.inertia_ / len(z), rel=0.01)
    assert found.loss >= known.inertia_ / len(z)


def test_a_finer_choice_of_candidates_is_never_worse():
    z, _ = clouds()
    losses = []
    for count in (0, 12, 45):
        more = torch.cartesian_prod(*[torch.linspace(-3, 8, count, dtype=z.dtype)] * 2)
        losses.append(frechet_means.mean_clusters(torch.cdist(z, torch.cat([z, more])), 1, seed=0).loss)
    assert losses[0] > losses[1] > losses[2]


def test_every_point_is_its_own_mean_if_there_are_as_many_clusters():
    z, _ = clouds(2)
    found = frechet_means.mean_clusters(torch.cdist(z, z), len(z), seed=0)
    assert found.loss == 0
    assert sorted(found.clusters.tolist()) == list(range(len(z)))
    with pytest.raises(ValueError, match=r"must be in 1\.\.6, got 7"):
        frechet_means.mean_clusters(torch.cdist(z, z), 7, seed=0)


def test_the_mean_of_two_points_on_a_sphere_is_half_way_along_their_arc():
    def sphere(z):  # longitude and height on a cylinder of equal area: the equator is a great circle
        ring = (1 - z[:, 1:].square()).clamp(min=1e-9).sqrt()
        return torch.cat([ring * z[:, :1].cos(), ring * z[:, :1].sin(), z[:, 1:]], 1)

    z = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.25, -0.5], [0.75, 0.5]], dtype=torch.float64)
    nodes = frechet_means.candidates(sphere, z, side=21, neighbours=12)
    assert torch.equal(nodes.z[:4], z)
    mean = nodes.z[frechet_means.mean_clusters(nodes.distances, 1, seed=0).means[0]]
    assert torch.allclose(mean, torch.tensor([0.5, 0.0], dtype=torch.float64), atol=1e-9)  # by symmetry
    assert frechet_means.pull(sphere, mean, z, nodes.distances[:, 0].new_ones(4)) < 1e-3


def test_nothing_pulls_at_the_mean_and_everything_away_from_it():
    z, _ = clouds()
    lengths = (z - z.mean(0)).norm(dim=1)
    assert frechet_means.pull(nn.Identity(), z.mean(0), z, lengths) < 1e-6
    far = torch.tensor([1000.0, 0.0], dtype=torch.float64)
    assert frechet_means.pull(nn.Identity(), far, z, (z - far).norm(dim=1)) == pytest.approx(1, rel=0.01)
