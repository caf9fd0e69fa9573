from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pandas as pd
import pytest
import torch
from conftest import affine

from lib.measures.graph import graph_distances, straight_distances
from lib.measures.intervals import Estimate
from lib.models.data import Dataset
from lib.models.stochastic import Stochastic, StochasticFit
from lib.protocols import clusters
from lib.protocols.embeddings import Embedding, Stream, chosen


def on_a_line(*places):
    z = torch.tensor(places)[:, None]
    return torch.cdist(z, z)


def blobs(apart, n=20):
    """Three classes of normals on a line, ``apart`` standard deviations from each other."""
    classes = torch.arange(3 * n) % 3
    return torch.randn(3 * n, 2) + apart * classes[:, None] * torch.tensor([1.0, 0.0]), classes


def test_triples_on_a_line_are_counted_by_hand():
    classes = torch.tensor([0, 0, 1, 1])
    assert clusters.triples(on_a_line(0.0, 1.0, 3.0, 4.0), classes) == 1
    # 0 and 5 have their own at 2, the other class at 3 and more; 2 and 3 have it at 2, the other class at 1 and 3
    assert clusters.triples(on_a_line(0.0, 2.0, 3.0, 5.0), classes) == 0.75
    assert clusters.triples(on_a_line(0.0, 2.0, 1.0, 3.0), classes) == 0.25


def test_every_point_has_the_same_weight_in_triples():
    # Two of a class at 0 and 1, three of another at 0.6, 10, 11: shares 2/3, 2/3, 0, 3/4, 3/4
    found = clusters.triples(on_a_line(0.0, 1.0, 0.6, 10.0, 11.0), torch.tensor([0, 0, 1, 1, 1]))
    assert found == pytest.approx((2 / 3 + 2 / 3 + 0 + 3 / 4 + 3 / 4) / 5)


def test_triples_of_permuted_classes_are_right_half_the_time():
    z = torch.randn(90, 2)
    found = [clusters.triples(torch.cdist(z, z), (torch.arange(90) % 3)[torch.randperm(90)]) for _ in range(10)]
    assert sum(found) / 10 == pytest.approx(0.5, abs=0.01)


def test_triples_need_two_classes_of_two():
    for classes in ([0, 0, 0, 0], [0, 0, 0, 1]):
        with pytest.raises(ValueError, match="triples need 2 classes of 2 points each"):
            clusters.triples(on_a_line(0.0, 2.0, 3.0, 5.0), torch.tensor(classes))


def test_the_planted_swap_is_found_with_its_ratio():
    z, classes = blobs(10)
    first, second = torch.cdist(z, z), torch.cdist(z, z)
    at, same, other = 7, 40, 12  # classes 1, 1, 0
    first[at, same], first[at, other] = 6.0, 1.0
    second[at, same], second[at, other] = 2.0, 10.0
    found = clusters.most_swapped(first, second, classes)
    assert found[:3] == (at, same, other)
    assert found.ratio == pytest.approx(5)  # the smaller of 6 and 5


def test_distances_that_agree_have_no_swap():
    z, classes = blobs(2)
    distance = torch.cdist(z, z)
    assert clusters.most_swapped(distance, distance, classes).ratio <= 1


def test_separated_classes_are_clustered_perfectly():
    z, classes = blobs(50)
    distance = torch.cdist(z, z)
    assert clusters.f_measure(distance, classes) == 1
    assert clusters.f_measure(distance, classes, torch.randperm(60)[:30]) == 1
    assert clusters.means_f_measure(z, classes, seed=0) == 1


def test_the_points_that_are_left_out_do_not_count():
    z, classes = blobs(50)
    z[30:] = torch.randn(30, 2)  # classes cannot be told apart there
    distance = torch.cdist(z, z)
    assert clusters.f_measure(distance, classes, torch.arange(30)) == 1
    assert clusters.f_measure(distance, classes) < 0.9


def test_medoids_have_the_smallest_loss_of_all():
    distance = on_a_line(0.0, 1.0, 2.0, 20.0, 21.0, 40.0)
    found = clusters.medoid_clusters(distance, 3)
    assert (found[:, None] == found).tolist() == (distance < 10).tolist()


def test_of_several_starts_the_best_is_kept():
    z = torch.randn(80, 2)
    distance = torch.cdist(z, z)

    def loss(start):
        return clusters.kmedoids.fasterpam(distance.numpy(), 8, random_state=start, n_cpu=1).loss

    losses = [loss(start) for start in range(clusters.STARTS)]
    assert max(losses) > min(losses)
    found = clusters.medoid_clusters(distance, 8)
    inside = [distance[found == k][:, found == k].sum(0).min() for k in range(8)]
    assert float(sum(inside)) == pytest.approx(min(losses))


def test_all_distances_of_a_flat_decoder_are_euclidean_up_to_its_scale():
    z = torch.randn(40, 2)
    found = clusters.distances(lambda z: 2 * z, lambda z: 3 * z, z, neighbours=39)
    euclidean = (z[:, None] - z).norm(dim=2)
    for kind, factor in zip(found._fields, (1, 1, 2, 3, 3, 3), strict=True):
        torch.testing.assert_close(getattr(found, kind), factor * euclidean, atol=1e-6, rtol=1e-6)


def test_a_ridge_is_cheaper_to_go_round():
    z = torch.rand(60, 2) * 2 - 1

    def ridge(z):
        return torch.cat([z, 3 * (-(z**2).sum(1, keepdim=True) * 8).exp()], 1)

    found = clusters.distances(lambda z: z, ridge, z, neighbours=8)
    assert (found.graph < found.straight - 1e-9).any()
    assert (found.straight < found.graph - 1e-9).any()
    torch.testing.assert_close(found.shorter, torch.minimum(found.graph, found.straight))
    torch.testing.assert_close(found.mean_graph, found.euclidean_graph)
    torch.testing.assert_close(found.graph, graph_distances(ridge, z, 8))
    torch.testing.assert_close(found.straight, straight_distances(ridge, z, n=11))


def test_a_table_has_a_row_per_model_and_a_column_per_distance():
    decoder, _ = affine(5, 2)
    z, classes = blobs(50)
    several = clusters.distances(decoder, decoder, z, neighbours=5)
    permuted = several._replace(euclidean=several.euclidean[torch.randperm(60)][:, torch.randperm(60)])
    found = clusters.table(clusters.f_measure, {("a", 0): several, ("a", 1): permuted}, {"a": classes})
    assert list(found.columns) == list(clusters.Distances._fields)
    assert found.loc[("a", 0)].tolist() == [1] * 6
    assert found.loc[("a", 1), "euclidean"] < 0.6
    assert found.loc[("a", 1)].tolist()[1:] == [1] * 5
    halves = clusters.table(partial(clusters.f_measure, use=torch.arange(30)), {("a", 0): several}, {"a": classes})
    assert halves.loc[("a", 0)].tolist() == [1] * 6


class Scaled:
    """A flat decoder whose mean is longer than its latents by one factor, and whose deviation by another."""

    def __init__(self, mean, deviation):
        self.generate = lambda z: mean * z
        self.deviation = lambda z: deviation * z


def test_every_model_of_every_group_is_measured_by_itself():
    none = Dataset("none", torch.zeros(0), torch.zeros(0).long(), torch.zeros(0), torch.zeros(0).long(), "")
    models, z = [Scaled(3, 4), Scaled(5, 12)], [torch.randn(12, 2), torch.randn(12, 2)]
    fit = StochasticFit(Stochastic("rbf", models=2), torch.arange(0), torch.zeros(1, 2), models)
    groups = {name: Embedding(none, {"rbf": fit}, {"rbf": z}, torch.arange(12), torch.arange(12)) for name in "ab"}
    with ThreadPoolExecutor(2) as executor:
        found = clusters.all_distances(groups, "rbf", neighbours=11, executor=executor)
    assert list(found) == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    for (_, k), matrices in found.items():
        torch.testing.assert_close(matrices.mean_graph, (3, 5)[k] * torch.cdist(z[k], z[k]), atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(matrices.graph, (5, 13)[k] * torch.cdist(z[k], z[k]), atol=1e-6, rtol=1e-6)


def test_halves_are_the_same_points_of_every_model_and_other_points_each_time():
    (z, classes), seed = blobs(1), 3
    found = clusters.distances(lambda z: z, lambda z: z, z, neighbours=59)
    several = {("a", 0): found, ("a", 1): found}
    halves = clusters.halves(several, {"a": classes}, 30, 4, seed=seed)
    assert halves.index.to_list() == [("a", 0), ("a", 1)] * 4
    for subset in range(4):
        use = chosen(seed, 30, 60, Stream.HALVES, subset + 1)
        wanted = clusters.f_measure(found.euclidean, classes, use)
        assert halves["euclidean"].tolist()[2 * subset : 2 * subset + 2] == [wanted, wanted]
    assert halves["euclidean"].nunique() > 1


def test_the_mean_of_the_groups_has_an_interval_over_models():
    index = pd.MultiIndex.from_product([["b", "a"], [0, 1, 2]], names=["group", "model"])
    found = clusters.over_groups(pd.Series([1.0, 2.0, 3.0, 5.0, 6.0, 7.0], index))
    assert found[0] == pytest.approx(4)  # of 3, 4 and 5
    assert found.high - 4 == pytest.approx(4.302652729749464 / 3**0.5)
    assert found.n == 3


def test_groups_are_averaged_over_their_models():
    index = pd.MultiIndex.from_product([["b", "a"], [0, 1, 2]], names=["group", "model"])
    found = clusters.over_models(pd.Series([1.0, 2.0, 3.0, 5.0, 5.0, 5.0], index))
    assert list(found) == ["b", "a"]
    assert found["b"].value == 2
    assert found["b"].high - found["b"].value == pytest.approx(4.302652729749464 / 3**0.5)
    assert found["a"] == Estimate(5, 5, 5, 3)


@pytest.mark.parametrize(
    ("low", "high", "word"), [(0.1, 0.3, "better"), (-0.3, -0.1, "worse"), (-0.1, 0.3, "not decided")]
)
def test_a_difference_is_decided_by_its_whole_interval(low, high, word):
    assert clusters.decided(Estimate(0.2, low, high, 5)) == word
    assert clusters.decided(Estimate(0.2, 0, 0, 5)) == "not decided"
