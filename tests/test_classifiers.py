from dataclasses import replace

import pytest
import torch

from lib.measures.recovery import recover
from lib.models.classifiers import Classifier
from lib.models.data import DataError, Dataset
from lib.models.data_divisions import apart, exchanged, halved, labelled, split
from lib.models.fit import fit
from lib.study.items import call, called

SPEC = Classifier(classes=2, steps=60, batch=16, width=4, features=6, shift=1, rate=0.02)
pytestmark = pytest.mark.usefixtures("single_precision")


def stripes(n=40, side=8):
    """Images of two classes: lines across and lines along, with noise."""
    labels = torch.arange(n) % 2
    lines = (torch.arange(side) // 2 % 2).float()
    across, along = lines.expand(side, side), lines.expand(side, side).T
    x = torch.where(labels[:, None, None, None] == 0, across[None, None], along[None, None])
    x = 0.8 * x + 0.2 * torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(0))
    return Dataset("stripes", x, labels, 0.9 * x[:10], labels[:10], "digest")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    return fit([SPEC], labelled(stripes()), "cpu", folder=tmp_path_factory.mktemp("fits"))[0]


def test_lines_across_are_told_from_lines_along(fitted):
    test = stripes()
    assert fitted.losses.shape == (3, 1)
    assert torch.equal(fitted.classify(test.test), test.test_labels)
    assert fitted.features(test.test).shape == (10, 6)


def test_a_fit_is_the_same_again_and_another_seed_or_a_mirror_is_another(fitted, tmp_path):
    again, other, mirrored = fit(
        [SPEC, replace(SPEC, seed=1), replace(SPEC, mirrored=True)], labelled(stripes()), "cpu", folder=tmp_path
    )
    x = stripes().test
    assert torch.equal(again.features(x), fitted.features(x))
    assert not torch.equal(other.features(x), fitted.features(x))
    assert not torch.equal(mirrored.features(x), fitted.features(x))


def test_an_interrupted_fit_goes_on_as_if_it_had_not_been(fitted, tmp_path, interrupt):
    seconds = interrupt(8, 30)
    with pytest.raises(KeyboardInterrupt):
        fit([SPEC], labelled(stripes()), "cpu", folder=tmp_path)
    interrupted = next(seconds)
    resumed = fit([SPEC], labelled(stripes()), "cpu", folder=tmp_path)[0]
    assert interrupted > 10
    assert torch.equal(resumed.features(stripes().test), fitted.features(stripes().test))


def test_features_can_be_searched_under(fitted):
    y = stripes().test[:3]
    found = recover(lambda z: z.unflatten(1, (1, 8, 8)).sigmoid(), y, latent=64, transform=fitted.features)
    reached = fitted.features(found.z.unflatten(1, (1, 8, 8)).sigmoid())
    assert (reached - fitted.features(y)).norm() < 1e-2 * fitted.features(y).norm()


def test_a_label_beyond_the_classes_is_refused(tmp_path):
    with pytest.raises(ValueError, match="below 1, got 1"):
        fit([replace(SPEC, classes=1)], labelled(stripes()), "cpu", folder=tmp_path)


def test_labels_go_into_images_and_come_out_again():
    dataset = stripes()._replace(train_labels=torch.arange(40) * 6)
    images, labels = split(labelled(dataset).train)
    assert torch.equal(images, dataset.train)
    assert torch.equal(labels, dataset.train_labels)
    with pytest.raises(DataError, match="below 256, stripes has 273"):
        labelled(dataset._replace(train_labels=torch.arange(40) * 7))


def test_halves_share_nothing_and_have_as_many_of_every_class():
    first, again, other = (halved(stripes(), seed=seed) for seed in (0, 0, 1))
    assert first.train_labels.bincount().tolist() == [12, 12]
    assert first.test_labels.bincount().tolist() == [13, 13]
    everything = torch.cat([stripes().train, stripes().test]).flatten(1).sum(1).sort().values
    assert torch.equal(torch.cat([first.train, first.test]).flatten(1).sum(1).sort().values, everything)
    assert torch.equal(first.train, again.train)
    assert first.digest == again.digest != other.digest


def test_classes_apart_are_all_of_the_test_part_and_none_of_the_training_part():
    divided = apart(stripes(), [1])
    assert divided.test_labels.unique().tolist() == [1]
    assert divided.train_labels.unique().tolist() == [0]
    assert len(divided.test) + len(divided.train) == 50
    for classes in ([2], [0, 1]):
        with pytest.raises(DataError, match="stripes has no images"):
            apart(stripes(), classes)


def test_parts_are_exchanged_and_back():
    dataset = stripes()
    there = exchanged(dataset)
    assert torch.equal(there.train, dataset.test)
    assert torch.equal(exchanged(there).train, dataset.train)
    assert there.digest != dataset.digest


def test_divisions_can_be_made_again_from_their_names(grey):
    made = labelled(halved(exchanged(grey), seed=3))
    assert made.again().digest == made.digest
    assert torch.equal(made.again().train, made.train)
    assert called(call(made.again)).digest == made.digest  # as a record names them
