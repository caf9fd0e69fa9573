from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from lib.models import networks
from lib.models.data import Dataset
from lib.models.stochastic import Constant, Stochastic, StochasticFit, StochasticVAE
from lib.protocols import embeddings
from lib.protocols.embeddings import Stream


def test_a_choice_depends_on_its_identity_alone():
    first = embeddings.chosen(0, 5, 100, Stream.WALKERS, 1)
    embeddings.chosen(0, 5, 100, Stream.HALVES, 1)
    assert torch.equal(first, embeddings.chosen(0, 5, 100, Stream.WALKERS, 1))
    for seed, *identity in ((1, Stream.WALKERS, 1), (0, Stream.HALVES, 1), (0, Stream.WALKERS, 2)):
        assert not torch.equal(first, embeddings.chosen(seed, 5, 100, *identity))


def test_a_choice_of_fewer_begins_like_one_of_more():
    assert torch.equal(embeddings.chosen(3, 5, 100, 0), embeddings.chosen(3, 50, 100, 0)[:5])


def test_a_choice_has_no_number_twice_and_is_of_all_if_all_are_wanted():
    assert embeddings.chosen(0, 40, 30, 1).sort().values.tolist() == list(range(30))


def test_streams_differ_by_seed_stream_and_model():
    cpu = torch.device("cpu")
    wanted = [(0, Stream.WALKS, 0), (1, Stream.WALKS, 0), (0, Stream.SAMPLES, 0), (0, Stream.WALKS, 1)]
    drawn = [torch.rand(1, generator=embeddings.stream(seed, cpu, *identity)) for seed, *identity in wanted]
    assert len({float(x) for x in drawn}) == 4
    assert float(torch.rand(1, generator=embeddings.stream(0, cpu, Stream.WALKS, 0))) == float(drawn[0])


def test_classes_are_read_from_a_text():
    assert embeddings.numbers("3,4,7") == [3, 4, 7]
    with pytest.raises(ValueError, match="invalid literal"):
        embeddings.numbers("3;4")


def test_the_expected_metric_has_a_part_of_the_mean_and_one_of_the_deviation():
    class Model:
        def generate(self, z):
            return 3 * z

        def deviation(self, z):
            return 4 * z

    found = embeddings.geodesic.metric(embeddings.expected(Model()), torch.zeros(1, 2))
    torch.testing.assert_close(found, 25 * torch.eye(2)[None])


@pytest.fixture
def asked(monkeypatch):
    """The specifications of all fits that were asked for, in their order; the models are as they start."""
    specs = []

    def fit(wanted, dataset, device):
        specs.extend(wanted)
        network = StochasticVAE((1, 2, 2), 2, 2, Constant(4)).requires_grad_(False)
        losses = torch.tensor([[9.0, 9.0], [7.0, 7.0], [1.0, 3.0]])
        return [StochasticFit(wanted[0], torch.arange(5), losses, [network] * wanted[0].models)]

    monkeypatch.setattr(embeddings, "fit", fit)
    return specs


def embedded(*variances, first=0):
    images = torch.rand(40, 1, 2, 2)
    part = Dataset("none", images[:5], torch.zeros(5).long(), images, torch.arange(40), "digest")
    spec = Stochastic("constant", models=2, steps=10)
    with ThreadPoolExecutor(1) as executor:
        device = torch.device("cpu")
        return embeddings.embed({"0": part}, spec, variances, 7, device, first=first, executor=executor)


def test_means_are_fitted_before_what_follows_them_and_joint_fits_as_long_as_both(asked):
    assert set(embedded("rbf", "joint")["0"].fits) == {"rbf", "joint"}
    assert [(spec.variance, spec.steps) for spec in asked] == [("joint", 15), ("constant", 10), ("rbf", 10)]


def test_codes_and_labels_are_of_the_same_test_images(asked):
    found = embedded("constant", first=2)["0"]
    assert torch.equal(found.rows, embeddings.chosen(0, 7, 40, 2))
    assert torch.equal(found.labels, found.rows)  # the label of each image is its number here
    model = found.fits["constant"].models[1]
    assert torch.equal(found.codes["constant"][1], networks.codes(model, found.images.test[found.rows]))


def test_quality_is_of_the_end_of_the_training_and_of_the_test_images(asked):
    found = embedded("constant")
    row = embeddings.quality(found).iloc[0]
    model, images = found["0"].fits["constant"].models[0], found["0"].images.test
    wanted = (model.generate(networks.codes(model, images)) - images).square().mean()
    assert row["loss"].value == 2.0
    assert row["squared error, test"] == pytest.approx(float(wanted))


def test_a_map_begins_at_its_lower_left_corner_and_runs_upwards_first():
    found = embeddings.lattice(torch.tensor([[0.0, 1.0], [2.0, 5.0]]), 3, margin=1.0)
    assert found.extent == [-1.0, 3.0, 0.0, 6.0]
    assert found.nodes[:4].tolist() == [[-1.0, 0.0], [-1.0, 3.0], [-1.0, 6.0], [1.0, 0.0]]
