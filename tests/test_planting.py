import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch

from lib.models.data import DataError
from lib.protocols.planting import Plan, with_repeats
from lib.study import items


@pytest.fixture
def plan(grey):
    """Two doses of four images: eight planted, eight held out, ten around them, eight for shams; there are sixty."""
    return Plan(grey, [1, 4], 4, 10, 0)


def counts(dataset, images):
    """How often each of the images is in a training set."""
    return (dataset.train.flatten(1)[None] == images.flatten(1)[:, None]).all(2).sum(1)


def test_pools_are_disjoint_and_as_large_as_they_are_to_be(plan):
    pools = plan.pools()
    assert [len(pool) for pool in pools] == [16, 10, 8]
    assert len(set(torch.cat(pools).tolist())) == 34


def test_half_is_in_and_half_is_out_as_often_as_the_plan_says(plan):
    for model in range(5):
        copies = plan.copies(model)
        assert [(copies == dose).sum().item() for dose in (0, 1, 4)] == [8, 4, 4]
        trained = plan.training_set(model)
        assert counts(trained, plan.candidates()).tolist() == copies.tolist()
        assert counts(trained, plan.dataset.train[plan.pools().background]).tolist() == [1] * 10
        assert len(trained.train) == 10 + 4 * 1 + 4 * 4


def test_a_sham_sees_no_candidate_and_repeats_others_as_often(plan):
    sham, model = plan.training_set(2, sham=True), plan.training_set(2)
    assert counts(sham, plan.candidates()).sum() == 0
    assert len(sham.train) == len(model.train)
    others = counts(sham, plan.dataset.train[plan.pools().others])
    assert sorted(others.tolist()) == [1, 1, 1, 1, 4, 4, 4, 4]
    assert counts(sham, plan.dataset.train[plan.pools().background]).tolist() == [1] * 10


def test_the_copies_of_a_model_are_its_own(plan):
    seventh = plan.copies(7)
    for model in range(3):
        plan.training_set(model)
    assert plan.copies(7).equal(seventh)
    assert not plan.copies(8).equal(seventh)
    assert plan._replace(seed=1).copies(7).tolist() != seventh.tolist()


def test_over_models_no_image_is_planted_more_often_than_another(plan):
    planted = torch.stack([plan.copies(model) > 0 for model in range(1000)]).double().mean(0)
    assert (planted - 0.5).abs().max() < 4.5 * 0.5 / 1000**0.5


def test_labels_stay_with_their_images(plan):
    trained = plan.training_set(0)
    rows = [int((plan.dataset.train == image).flatten(1).all(1).int().argmax()) for image in trained.train]
    assert trained.train_labels.equal(plan.dataset.train_labels[rows])
    assert trained.test is plan.dataset.test


def test_the_digest_is_of_the_rows(plan):
    digests = {plan.training_set(model, sham=sham).digest for model in range(3) for sham in (False, True)}
    assert len(digests | {plan.dataset.digest}) == 7
    assert (
        with_repeats(plan.dataset, torch.tensor([1])).digest != with_repeats(plan.dataset, torch.tensor([1, 1])).digest
    )
    assert plan.training_set(1).digest == plan.training_set(1).digest


def test_another_process_loads_the_same_again(plan):
    trained = plan.training_set(1, sham=True)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        again = pool.submit(trained.again).result()
    assert again.digest == trained.digest
    assert again.train.equal(trained.train)


def test_a_record_can_name_how_the_data_are_loaded(plan):
    trained = plan.training_set(1)
    packed = items.call(trained.again)
    assert len(str(packed)) < 1000
    assert items.called(packed).digest == trained.digest


def test_data_that_nobody_can_load_stay_so(plan):
    assert plan._replace(dataset=plan.dataset._replace(again=None)).training_set(0).again is None


def test_too_many_images_and_impossible_doses_are_refused(plan):
    with pytest.raises(DataError, match=r"each=20 of 2 doses and background=10 need 130 training images, .* has 60"):
        plan._replace(each=20).pools()
    for doses in ([], [0, 1], [2, 2]):
        with pytest.raises(ValueError, match=r"doses must be different and at least 1, got \["):
            plan._replace(doses=doses).pools()


def test_numpys_order_is_what_is_drawn(plan):
    order = np.random.default_rng([0, 0]).permutation(60)
    assert torch.cat(plan.pools()).tolist() == order[:34].tolist()
