from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from lib.protocols import identity
from lib.protocols.identity import Faces, Outcome


def pixels(images):
    """A network that recognises by the pixels themselves."""
    return images.flatten(1)


def people(seed, persons=4, each=3, side=8):
    """Persons who are random images, and photographs of them with a little noise."""
    faces = torch.rand(persons, 1, side, side, generator=torch.Generator().manual_seed(0))
    of = torch.arange(persons).repeat_interleave(each)
    noise = torch.randn(len(of), 1, side, side, generator=torch.Generator().manual_seed(seed))
    return Faces((faces[of] + 0.02 * noise).clamp(0, 1), of)


def test_nothing_hidden_is_recognised_and_has_no_error():
    outcome = identity.look(lambda images: images, people(1), people(2), pixels)
    assert outcome.naive.all() and outcome.informed.all()
    assert (outcome.error == 0).all()


def test_one_image_for_all_hides_everybody_from_both():
    outcome = identity.look(lambda images: images.new_full(images.shape, 0.5), people(1), people(2), pixels)
    for seen in (outcome.naive, outcome.informed):
        assert seen.double().mean() == 0.25  # all are taken for one of the four persons


def test_a_negative_fools_the_naive_alone():
    outcome = identity.look(lambda images: 1 - images, people(1), people(2), pixels)
    assert outcome.informed.all()
    assert not outcome.naive.all()


def test_a_mosaic_keeps_means_and_does_nothing_twice():
    images = people(1).images
    once = identity.mosaic(4)(images)
    assert torch.allclose(identity.mosaic(4)(once), once)
    assert torch.allclose(once.mean((2, 3)), images.mean((2, 3)))


def test_all_principal_components_give_the_training_images_back_and_none_more_is_their_plane():
    images = people(1).images
    none, one, most = identity.components(images, [0, 1, len(images) - 1])
    back = most(images)
    assert (back - images).abs().max() < 1e-6
    others = people(2).images
    line = one(others).flatten(1)
    assert torch.linalg.matrix_rank(line - line[0], atol=1e-6) == 1
    assert torch.allclose(none(others), images.mean(0).clamp(0, 1).expand_as(others))


def test_plain_ways_are_ordered_from_nothing_to_all():
    images, ways = people(1, side=64).images, identity.plain_ways(64)
    for kind, least in (("mosaic", 6), ("blur", 6)):
        several = [way for (name, _), way in ways.items() if name == kind]
        errors = [float((way(images) - images).square().mean()) for way in several]
        assert len(errors) == least
        assert errors == sorted(errors)
        assert errors[0] > 0
    assert torch.equal(ways["nothing", "–"](images), images)


def test_folds_are_put_together_in_their_order():
    asked, gallery = people(1), people(2)
    parts = [Faces(asked.images[:6], asked.persons[:6]), Faces(asked.images[6:], asked.persons[6:])]
    ways = [{("darker", "half"): lambda images: images / 2}] * 2
    with ThreadPoolExecutor(1) as executor:
        outcome = identity.look_by_fold(ways, parts, gallery, pixels, executor)["darker", "half"]
    assert torch.allclose(outcome.error, asked.images.flatten(1).square().mean(1) / 4)


def test_rates_are_means_over_persons_not_over_faces():
    persons = torch.tensor([0, 0, 0, 0, 1, 2])
    assert identity.rate(torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 0.0]), persons, seed=0).value == pytest.approx(1 / 3)


def test_at_equal_error_the_other_way_is_interpolated():
    persons = torch.arange(8)

    def outcome(error, share):
        seen = torch.arange(8) < 8 * share
        return Outcome(torch.full((8,), error), seen, seen)

    curve = [outcome(3.0, 0.0), outcome(1.0, 1.0)]  # in any order
    here = identity.beyond(outcome(1.5, 1.0), curve, persons, "naive", seed=0)
    assert here.value == pytest.approx(0.25)
    with pytest.raises(ValueError, match="an error of 4 is outside those of the other way, 1 to 3"):
        identity.beyond(outcome(4.0, 1.0), curve, persons, "naive", seed=0)
