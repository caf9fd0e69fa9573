import doctest

import pytest
import torch

from lib.models import own_images, ranges

pytestmark = pytest.mark.usefixtures("single_precision")


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [
        (0.0, 1.0, "0,1"), (-0.04, 1.04, "0,1"), (-1.0, 1.0, "-1,1"), (-0.98, 0.3, "-1,1"), (-1.09, 1.09, "-1,1"),
        (0.0, 255.0, "0,255"), (-3.0, 260.0, "0,255"), (0.0, 0.3, "0,1"),
        (-0.3, 1.1, None), (-0.4, 0.6, None), (-2.1, 2.6, None), (0.0, 2.0, None), (0.0, 16.0, None), (-100.0, 255.0, None),
    ],
)  # fmt: skip
def test_a_range_is_found_where_there_is_one_answer(low, high, found):
    assert ranges.of(torch.tensor([low, high])) == found


@pytest.mark.parametrize("name", ranges.RANGES)
def test_images_are_put_into_the_range_of_the_model(name):
    low, high = ranges.RANGES[name]
    x = torch.rand(20, 1, 4, 4)
    outputs = low + (high - low) * torch.rand(200, 1, 4, 4)
    found = ranges.matched(x, outputs)
    assert found.range == name
    torch.testing.assert_close(found.images, low + (high - low) * x)
    torch.testing.assert_close(ranges.unit(found.images)[0], x, atol=1e-6, rtol=0)
    assert ("images are converted to it" in found.notes[0]) == (name != "0,1")
    assert ranges.matched(x, outputs, name).range == name


def test_images_against_a_tanh_generator_never_pass_without_a_word():
    x, outputs = torch.rand(20, 1, 4, 4), (5 * torch.randn(500, 1, 4, 4)).tanh()
    found = ranges.matched(x, outputs)
    assert found.images.min() < -0.9
    assert found.notes == ("the model makes values from -1 to 1, range -1,1: images are converted to it",)
    with pytest.raises(ranges.RangeError, match=r"--range 0,1 was given, the model makes values -1 to 1; 0,1 \| -1,1"):
        ranges.matched(x, outputs, "0,1")


@pytest.mark.parametrize(
    ("images", "outputs", "given", "said"),
    [
        ((0, 1), (-0.3, 1.2), None, "none of 0..1, -1..1, 0..255 for certain; say --range with that of its training"),
        ((0.6, 1), (0.1, 0.9), None, "no image has a value below 0.60, so that outputs .* can be in 0..1 or in -1..1"),
        ((0, 1), (0, 1), "0,2", r"no range '0,2'; accepted: 0,1 \| -1,1 \| 0,255"),
        ((0, 1), (0, 1), "0,255", "--range 0,255 was given, the model makes values 0 to 1"),
        ((0, 1), (0, 255), "-1,1", "--range -1,1 was given, the model makes values 0 to 255"),
        ((-1, 1), (-1, 1), None, r"images are from -1 to 1; expected \[0, 1\], see lib.models.ranges.unit"),
    ],
)
def test_a_range_that_is_not_certain_is_asked_for(images, outputs, given, said):
    between = [torch.linspace(*ends, 40, dtype=torch.float32).view(10, 1, 2, 2) for ends in (images, outputs)]
    with pytest.raises(ranges.RangeError, match=said):
        ranges.matched(*between, given)


def test_what_looks_odd_in_a_given_range_is_said():
    x, spread = torch.rand(20, 1, 4, 4), torch.linspace(0, 1, 320).view(20, 1, 4, 4)
    assert ranges.matched(x, spread, "-1,1").notes[1].startswith("none of its values is below 0")
    assert ranges.matched(x, spread * 1.4 - 0.2, "0,1").notes[1] == "some of its values leave that range"
    assert ranges.matched(x, spread * 1.4 - 0.2, "0,1").images.equal(x)
    assert ranges.matched(x, spread * 1.2, "0,1").notes[1] == "some of its values leave that range"  # above alone
    assert ranges.matched(x, spread - 0.2, "0,1").notes[1] == "some of its values leave that range"  # below alone
    assert len(ranges.matched(x, spread * 1.08 - 0.04, "0,1").notes) == 1


def test_values_of_images_become_those_from_zero_to_one():
    whole = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert ranges.unit(whole)[0].tolist() == pytest.approx([0.0, 0.2, 1.0])
    assert ranges.unit(whole)[1] == ("values 0 to 255 are divided by 255",)
    assert ranges.unit(torch.tensor([-1.0, 0.0, 1.0]))[0].tolist() == [0.0, 0.5, 1.0]
    assert ranges.unit(torch.tensor([-1.0, 0.0, 1.0]))[1] == ("values -1 to 1 are taken from [-1, 1] to [0, 1]",)
    assert ranges.unit(torch.tensor([0.0, 0.25]))[1] == ()
    assert ranges.unit(torch.tensor([0, 1, 0]))[1] == ("whole numbers 0 and 1 are taken as black and white",)
    assert ranges.unit(torch.tensor([1, 0, 255]), "0,255")[0].tolist() == pytest.approx([1 / 255, 0.0, 1.0])
    assert ranges.unit(torch.tensor([0, 1]), "0,255")[0].tolist() == pytest.approx([0.0, 1 / 255])


@pytest.mark.parametrize("values", [[0, 2], [0, 16], [-1, 20], [0, 256], [-1, 1]])
def test_whole_numbers_that_are_no_picture_are_refused(values):
    with pytest.raises(ranges.RangeError, match=r"whole numbers from .* is none of 0..1, -1..1, 0..255; divide them"):
        ranges.unit(torch.tensor(values))


@pytest.mark.parametrize(
    ("values", "given"), [([0.0, 1.01], "0,1"), ([-0.01, 1.0], "0,1"), ([-1.1, 0.0], "-1,1"), ([0.0, 1.04], None)]
)
def test_images_that_leave_their_range_are_refused(values, given):
    with pytest.raises(
        ranges.RangeError, match=r"which leaves the range .*; accepted for --range: 0,1 \| -1,1 \| 0,255"
    ):
        ranges.unit(torch.tensor(values), given)


@pytest.mark.parametrize("module", [ranges, own_images], ids=lambda module: module.__name__)
def test_examples_print_what_they_say(module):
    failed, tried = doctest.testmod(module, extraglobs={"torch": torch})
    assert (failed, tried >= 2) == (0, True)
