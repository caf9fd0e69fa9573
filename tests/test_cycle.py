import pytest
import torch
from sklearn.neural_network import MLPClassifier
from torch import nn

from lib.models.cycle import Cycle, CycleFit
from lib.models.data import Dataset
from lib.models.fit import fit
from lib.protocols import two_domains

SPEC = Cycle(8, steps=30, batch=4, width=2, blocks=1)


def dataset(n=41, side=16):
    x = torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(0))
    x = x.to(torch.get_default_dtype())
    return Dataset("small", x, torch.arange(n), x[:9], torch.arange(9), "digest", dataset)


class Add(nn.Module):
    """A constant is added to the images."""

    def __init__(self, constant):
        super().__init__()
        self.constant = constant

    def forward(self, x):
        return x + self.constant


class Write(nn.Module):
    """Images with another number in the pixel that says the domain."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def forward(self, x):
        x = x.clone()
        x[..., 0, 0] = self.number
        return x


def fitted(*makers):
    return CycleFit(SPEC, torch.arange(4), torch.zeros(1, 3), nn.ModuleList(makers))


def test_exact_inverses_return_every_image_and_others_the_square_of_what_is_left():
    pairs = torch.rand(5, 2, 4, 4)
    for forth, back, left in ((3.0, -3.0, 0.0), (0.5, 1.0, 1.5)):
        for found in two_domains.errors([Add(forth), Add(back)], pairs):
            torch.testing.assert_close(found, torch.full((5,), left**2))


def test_each_domain_goes_through_its_own_mapping_first():
    forth, back = (lambda x: torch.zeros_like(x)), (lambda y: y + 1)
    first, second = two_domains.errors([forth, back], torch.ones(1, 2, 4, 4))
    assert (first.item(), second.item()) == (0.0, 1.0)  # 1 -> 0 -> 1, and 1 -> 2 -> 0


def test_thick_images_are_the_largest_of_their_neighbourhoods():
    x = torch.rand(2, 1, 6, 6)
    made = two_domains.thick(x)
    assert made[1, 0, 2, 3] == x[1, 0, 1:4, 2:5].max()
    assert made[0, 0, 0, 0] == x[0, 0, :2, :2].max()


def test_the_domains_share_no_image_and_the_same_data_come_again():
    plain = dataset()
    made = two_domains.unpaired(plain)
    assert made.train.shape == (20, 2, 16, 16)
    assert made.test.shape == (4, 2, 16, 16)
    assert torch.equal(made.train[:, :1], plain.train[0:40:2])
    assert torch.equal(made.train[:, 1:], two_domains.thick(plain.train[1:40:2]))
    assert torch.equal(made.train_labels, torch.arange(0, 40, 2))
    assert made.digest not in {plain.digest, two_domains.unpaired(plain._replace(digest="other")).digest}
    again = made.again()
    assert again.digest == made.digest
    assert torch.equal(again.train, made.train)


def test_the_sides_are_training_images_of_the_fit_and_all_held_out_ones():
    images = two_domains.unpaired(dataset())
    forth, back = Add(1.0), nn.Identity()
    back.forward = torch.zeros_like
    first, second = two_domains.sides(fitted(forth, back), images, seed=0)
    squares = images.train[:4].square().mean((2, 3))
    assert set(first.training.tolist()) == set(squares[:, 0].tolist())  # all come back as zeros
    torch.testing.assert_close(first.held_out, images.test[:, 0].square().mean((1, 2)))
    torch.testing.assert_close(second.held_out, (1 - images.test[:, 1]).square().mean((1, 2)))


class Reader(MLPClassifier):
    """It reads the class (of two) or the domain off a pixel."""

    def __init__(self, pixel):
        self.pixel = pixel

    def predict_proba(self, x):
        return torch.nn.functional.one_hot(torch.from_numpy(x)[:, self.pixel].long(), 2).double().numpy()

    def predict(self, x):
        return x[:, self.pixel]


def test_generators_that_change_the_domain_pass_and_those_that_change_nothing_do_not():
    pairs = torch.zeros(40, 2, 2, 2)
    pairs[:, 1, 0, 0] = 1  # the domain
    pairs[::2, :, 0, 1] = 1  # the class
    images = Dataset("small", pairs, torch.zeros(40).long(), pairs, torch.zeros(40).long(), "digest")
    both = Reader(1), Reader(0)
    assert two_domains.bar(fitted(Write(1.0), Write(0.0)), images, both, seed=0).value == pytest.approx(0.8)
    assert two_domains.bar(fitted(nn.Identity(), nn.Identity()), images, both, seed=0).value == pytest.approx(1.8)
    half = two_domains.bar(fitted(Write(1.0), nn.Identity()), images, both, seed=0)
    assert half.value == pytest.approx(1.8)


def test_readers_tell_thick_images_from_plain_ones():
    x = (torch.rand(2000, 1, 8, 8) > 0.8).double()
    labels = (x[:, 0, 0, 0] > 0).long()
    official = Dataset("small", x, labels, x, labels, "digest")
    _, domains = two_domains.readers(official, units=16, seed=0)
    assert domains.score(two_domains.thick(x).flatten(1).numpy(), torch.ones(2000)) > 0.9
    assert domains.score(x.flatten(1).numpy(), torch.zeros(2000)) > 0.9


def test_an_interrupted_fit_goes_on_as_if_it_had_not_been(tmp_path, interrupt, single_precision):
    images = two_domains.unpaired(dataset())
    (whole,) = fit([SPEC], images, "cpu", folder=tmp_path / "whole")
    interrupt(5, 17)
    with pytest.raises(KeyboardInterrupt):
        fit([SPEC], images, "cpu", folder=tmp_path / "parts")
    (again,) = fit([SPEC], images, "cpu", folder=tmp_path / "parts")
    x = torch.rand(3, 1, 16, 16)
    for one, other in zip(whole.makers, again.makers, strict=True):
        assert one(x).shape == x.shape
        assert torch.equal(one(x), other(x))
    assert torch.equal(whole.losses, again.losses)
    assert whole.losses.shape == (2, 3)
    assert len(whole.index) == 8


def test_images_come_back_better_when_it_has_learnt(tmp_path, single_precision):
    images = two_domains.unpaired(dataset())
    spec = Cycle(0, steps=300, batch=8, width=8, blocks=1, rate=5e-3)
    (made,) = fit([spec], images, "cpu", folder=tmp_path)
    untrained = spec.build((2, 16, 16))["makers"]
    for before, after in zip(
        two_domains.errors(untrained, images.test), two_domains.errors(made.makers, images.test), strict=True
    ):
        assert after.mean() < 0.5 * before.mean()
    assert made.losses[-1, 0] < 0.6 * made.losses[0, 0]


def test_more_held_out_images_than_training_images_are_refused():
    images = two_domains.unpaired(dataset())
    few = CycleFit(SPEC, torch.arange(3), torch.zeros(1, 3), nn.ModuleList([nn.Identity(), nn.Identity()]))
    with pytest.raises(ValueError, match=r"images must be in 0\.\.3 \(0: all\) for small, got 4"):
        two_domains.sides(few, images, seed=0)
