import math

import pytest
import torch
from conftest import affine, defaults, sphere
from sklearn.metrics.cluster import pair_confusion_matrix

from lib.measures import curves
from lib.measures.graph import graph_distances, pairwise_f, segment_lengths, straight_distances


def euclidean(x):
    return (x[:, None] - x).norm(dim=2)


def on_the_sphere(n=150):
    return torch.stack([0.5 + 2 * torch.rand(n), 3 * torch.rand(n)], 1)


def test_straight_distances_of_an_affine_map_are_exact():
    decoder, matrix = affine(7, 3)
    z = torch.randn(20, 3)
    torch.testing.assert_close(straight_distances(decoder, z), euclidean(z @ matrix.T))


def test_with_all_neighbours_and_a_flat_decoder_distances_are_euclidean():
    decoder, matrix = affine(7, 3)
    z = torch.randn(40, 3)
    torch.testing.assert_close(graph_distances(lambda z: z, z, 39), euclidean(z))
    torch.testing.assert_close(graph_distances(decoder, z, 39), euclidean(z @ matrix.T))


def test_distances_come_down_to_the_euclidean_with_more_neighbours():
    z = torch.rand(400, 2)
    exact = euclidean(z)
    apart = exact > 0
    excess = []
    for neighbours in (6, 20, 60):
        ratio = (graph_distances(lambda z: z, z, neighbours) / exact)[apart]
        assert ratio.min() > 1 - 1e-9
        excess.append(float(ratio.mean()) - 1)
    assert excess[1] < excess[0] / 2
    assert excess[2] < excess[1] / 2
    assert excess[2] < 0.01


def test_on_the_sphere_no_way_is_shorter_than_a_great_circle():
    z = on_the_sphere()
    outputs = sphere(z)
    arcs = (outputs @ outputs.T).clamp(-1, 1).acos().fill_diagonal_(0)
    found = graph_distances(sphere, z, 12, n=17)
    assert (found >= arcs * (1 - 1e-3) - 1e-9).all()
    far = arcs > 0.5
    assert (found / arcs)[far].mean() < 1.07
    assert (found <= straight_distances(sphere, z, n=17) * (1 + 1e-9)).double().mean() > 0.2


def test_distances_are_symmetric_with_a_zero_diagonal_and_the_triangle_inequality():
    z = on_the_sphere(60)
    for found in (graph_distances(sphere, z, 5), straight_distances(sphere, z)):
        torch.testing.assert_close(found, found.T)
        assert (found.diagonal() == 0).all()
    found = graph_distances(sphere, z, 5)
    assert (found <= (found[:, :, None] + found).amin(1) + 1e-12).all()


def test_far_clusters_are_joined_by_their_nearest_points():
    z = torch.cat([torch.rand(20, 2), torch.rand(20, 2) + torch.tensor([100.0, 0.0])])
    found = graph_distances(lambda z: z, z, 3)
    assert found.isfinite().all()
    assert found[:20, 20:].min() == pytest.approx(float(euclidean(z)[:20, 20:].min()))


def test_an_edge_is_as_long_as_the_decoder_says():
    meridian = segment_lengths(sphere, torch.tensor([[0.5, 1.0]]), torch.tensor([[2.5, 1.0]]), n=65)
    assert float(meridian) == pytest.approx(2.0, rel=1e-4)
    circle = segment_lengths(sphere, torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 2.0]]), n=65)
    assert float(circle) == pytest.approx(2 * math.sin(1), rel=1e-4)


def test_blocks_do_not_matter(monkeypatch):
    z = on_the_sphere(30)
    whole = graph_distances(sphere, z, 5)
    monkeypatch.setattr(curves, "ROWS", 20)
    torch.testing.assert_close(graph_distances(sphere, z, 5), whole)


def test_equal_latents_and_too_many_neighbours_are_refused():
    z = torch.rand(12, 2)
    for neighbours in (0, 12):
        with pytest.raises(ValueError, match=rf"neighbours must be in 1\.\.11 for 12 points, got {neighbours}"):
            graph_distances(sphere, z, neighbours)
    with pytest.raises(ValueError, match="16 latents, of which 12 are distinct; give each once"):
        graph_distances(sphere, torch.cat([z, z[:1].expand(4, 2)]), 3)


def test_nearest_neighbours_alone_and_a_tree_make_a_chain():
    z = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.1], [2.3, 1.1]])
    found = graph_distances(lambda z: 2 * z, z, 1)
    torch.testing.assert_close(found[0], torch.tensor([0.0, 2.0, 4.2, 6.8]))


def test_defaults():
    assert defaults(graph_distances) == {"neighbours": 10, "n": 9}
    assert defaults(straight_distances) == {"n": 9}


def test_latents_of_one_image_are_at_no_distance():
    z = torch.linspace(0, 1, 11)[:, None]
    found = graph_distances(lambda z: z.clamp(min=0.45), z, 2)
    assert (found[:5, :5] == 0).all()
    torch.testing.assert_close(found[0, 5:], z[5:, 0] - 0.45)


def test_pairwise_f_is_the_harmonic_mean_over_pairs():
    for seed in range(5):
        draws = torch.Generator().manual_seed(seed)
        classes, clusters = torch.randint(3, (50,), generator=draws), torch.randint(4, (50,), generator=draws)
        (_, false), (missed, true) = pair_confusion_matrix(classes.numpy(), clusters.numpy())
        assert pairwise_f(classes, clusters) == pytest.approx(2 * true / (2 * true + false + missed))


def test_names_of_clusters_do_not_matter():
    classes = torch.arange(30) % 3
    assert pairwise_f(classes, (classes + 1) % 3 + 7) == 1.0
    assert pairwise_f(classes, torch.arange(30)) == 0.0
