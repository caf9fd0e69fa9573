import pytest
import torch
from conftest import affine, sphere

from lib.measures.paths import dip
from lib.protocols import bent_dips
from lib.protocols.bent_dips import Dips


def test_on_affine_decoders_both_paths_and_dips_are_the_same():
    decoder, _ = affine(7, 3)
    z0, z1 = torch.randn(2, 5, 3)
    found = bent_dips.dips(decoder, z0, z1, rank=3)
    torch.testing.assert_close(found.straight, -(z0 - z1).square().sum(1) / 4)  # the prior's alone
    torch.testing.assert_close(found.shortest, found.straight)
    torch.testing.assert_close(found.prior, torch.zeros(5), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.length, torch.ones(5))


def test_along_a_great_circle_the_dip_is_that_of_its_middle():
    """Two places at one latitude: the circle leads nearer to the pole, where the measure is smaller."""
    z0, z1 = torch.tensor([[0.8, -0.9]]), torch.tensor([[0.8, 0.9]])
    found = bent_dips.dips(sphere, z0, z1, rank=2)
    middle = (sphere(z0) + sphere(z1))[0]
    theta = torch.arccos(middle[2] / middle.norm())
    ends = -(0.8**2 + 0.9**2) - 2 * torch.tensor(0.8).sin().log()
    wanted = ends + theta**2 + 2 * theta.sin().log()
    assert float(found.shortest) == pytest.approx(float(wanted), abs=1e-2)
    torch.testing.assert_close(found.straight, dip(sphere, z0, z1, rank=2, n=17))
    assert float(found.prior) == pytest.approx(float(theta**2 - 0.8**2), abs=1e-2)
    arc = torch.arccos((sphere(z0) * sphere(z1)).sum())
    assert float(found.length) == pytest.approx(float(arc / (1.8 * torch.tensor(0.8).sin())), abs=2e-3)


def test_what_the_prior_does_not_make_is_the_generators():
    """At fixed volume the whole change of a dip is the prior's; on the sphere the rest is that of the volume."""
    z0, z1 = torch.tensor([[0.8, -0.9]]), torch.tensor([[0.8, 0.9]])
    found = bent_dips.dips(sphere, z0, z1, rank=2)
    rest = found.shortest - found.straight - found.prior
    middle = (sphere(z0) + sphere(z1))[0]
    theta = torch.arccos(middle[2] / middle.norm())
    assert float(rest) == pytest.approx(float(2 * (theta.sin() / torch.tensor(0.8).sin()).log()), abs=1e-2)


def test_neighbours_are_the_nearest_of_the_same_class():
    images = torch.tensor([0.0, 1.0, 1.5, 5.0, 9.0]).view(5, 1, 1, 1)
    labels = torch.tensor([0, 1, 0, 0, 2])
    assert bent_dips.nearest_of_class(images, labels, torch.tensor([0, 2, 3])).tolist() == [2, 0, 2]


def test_all_pixels_count_in_the_distance():
    images = torch.tensor([[0.0, 0.0], [0.0, 9.0], [1.0, 1.0]]).view(3, 1, 1, 2)
    found = bent_dips.nearest_of_class(images, torch.zeros(3, dtype=torch.long), torch.tensor([0]))
    assert found.tolist() == [2]


def test_an_image_alone_in_its_class_has_its_neighbour_in_another():
    images = torch.tensor([0.0, 1.0, 1.5, 5.0, 9.0]).view(5, 1, 1, 1)
    labels = torch.tensor([0, 1, 0, 0, 2])
    assert bent_dips.nearest_of_class(images, labels, torch.tensor([1, 4])).tolist() == [2, 3]


def test_medians_are_paired_and_count_what_is_missing():
    nan = torch.nan
    case = Dips(
        straight=torch.tensor([1.0, 2.0, 3.0, 4.0]),
        shortest=torch.tensor([2.0, 2.0, 6.0, nan]),
        prior=torch.tensor([1.0, 3.0, 1.0, nan]),
        length=torch.tensor([0.5, 0.9, 0.8, nan]),
    )
    found = bent_dips.medians(case, seed=0)
    assert [part.value for part in found] == [2.5, 2.0, 1.0, 1.0, 1.0, 0.8]
    assert [part.missing for part in found] == [0, 1, 1, 1, 1, 1]
