import math

import jaxtyping
import pytest
import torch
from conftest import affine, defaults, sphere

from lib.measures.curves import straight
from lib.measures.density import log_density
from lib.measures.intervals import estimate
from lib.measures.paths import decay, decay_by_radius, dip, dip_along, line_density, midpoint, travel


def bent(z):
    """A curve with a known second difference: f(z) = (z, z^2 / 2), speed sqrt(1 + z^2)."""
    return torch.cat([z, z**2 / 2], dim=1)


def bent_log_density(z):
    return -(z**2) / 2 - math.log(2 * math.pi) / 2 - torch.log(1 + z**2) / 2


def bent_arclength(z):
    return (z * (1 + z**2).sqrt() + z.asinh()) / 2


def test_arclength_of_a_straight_image_is_its_chord():
    decoder, _ = affine(6, 3)
    z0, z1 = torch.randn(2, 4, 3)
    s = line_density(decoder, z0, z1, n=9).s
    torch.testing.assert_close(s[:, 0], torch.zeros(4))
    torch.testing.assert_close(s[:, -1], (decoder(z1) - decoder(z0)).norm(dim=1))
    torch.testing.assert_close(s.diff(dim=1), s[:, 1:2].expand(-1, 8))


def test_arclength_of_a_great_circle_converges_with_second_order():
    z0, z1 = torch.tensor([[0.2, 0.5]]), torch.tensor([[1.9, 0.5]])
    errors = [1.7 - line_density(sphere, z0, z1, n=n).s[0, -1].item() for n in (33, 65)]
    assert 0 < errors[1] < errors[0] < 1e-3
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.01)


def test_the_density_along_a_line_is_the_density_at_its_points():
    z0, z1 = torch.tensor([[0.4, 0.1], [0.9, 2.0]]), torch.tensor([[1.1, -0.4], [0.5, 0.0]])
    curve = line_density(sphere, z0, z1, n=5)
    assert curve.s.shape == curve.log_p.shape == (2, 5)
    for column, t in enumerate(torch.linspace(0, 1, 5)):
        torch.testing.assert_close(curve.log_p[:, column], log_density(sphere, (1 - t) * z0 + t * z1))


def test_the_midpoint_halves_the_arclength_not_the_latent():
    z0, z1 = torch.tensor([[0.0]]), torch.tensor([[3.0]])
    middle = midpoint(bent, z0, z1, n=4001)
    assert middle.item() > 1.9
    torch.testing.assert_close(bent_arclength(middle), bent_arclength(z1) / 2, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("rank", [1, 3, None])
def test_the_dip_of_a_linear_map_is_the_priors(rank):
    decoder, _ = affine(6, 3)
    z0, z1 = torch.randn(2, 5, 3)
    torch.testing.assert_close(dip(decoder, z0, z1, rank=rank), -(z0 - z1).square().sum(1) / 4)


def test_the_dip_of_a_bent_curve_has_its_closed_form():
    z0, z1 = torch.tensor([[-2.0], [-1.0]]), torch.tensor([[2.0], [1.0]])
    expected = bent_log_density(z0) + bent_log_density(z1) - 2 * bent_log_density(torch.zeros(2, 1))
    torch.testing.assert_close(dip(bent, z0, z1), expected[:, 0])


def test_the_dip_converges_with_samples():
    z0, z1 = torch.tensor([[0.0]]), torch.tensor([[3.0]])
    exact = dip(bent, z0, z1, n=8001).item()
    errors = [abs(dip(bent, z0, z1, n=n).item() - exact) for n in (9, 33, 129)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-3


def test_the_dip_does_not_depend_on_the_order_of_the_ends():
    z0, z1 = torch.rand(2, 4, 2) + 0.3
    torch.testing.assert_close(dip(sphere, z0, z1), dip(sphere, z1, z0))


def test_the_dip_along_a_straight_curve_is_the_dip():
    z0, z1 = torch.rand(2, 4, 2) + 0.3
    torch.testing.assert_close(dip_along(sphere, straight(z0, z1, 65)), dip(sphere, z0, z1))


def test_the_dip_along_a_curve_is_taken_at_its_own_middle():
    curve = torch.tensor([[[0.0, 0.0], [0.0, 3.0], [4.0, 3.0]]])  # seven long; the middle is at (0.5, 3)
    found = dip_along(lambda z: 2 * z, curve)
    torch.testing.assert_close(found, torch.tensor([-(4**2 + 3**2) / 2 + 0.5**2 + 3**2]))
    torch.testing.assert_close(dip_along(lambda z: 2 * z, curve, rank=1), found)


def test_a_squeezing_map_has_a_dip_that_grows():
    normal = torch.distributions.Normal(0.0, 1.0)

    def squeezed(kappa):
        return lambda z: torch.tanh(kappa * (normal.cdf(z) - 0.5)) / math.tanh(kappa / 2)

    ends = normal.icdf(torch.tensor([[0.1], [0.9]]))
    for kappa in (0.5, 2.0, 8.0):
        found = dip(squeezed(kappa), ends[:1], ends[1:], n=129).item()
        assert found == pytest.approx(4 * math.log(math.cosh(0.4 * kappa)), abs=1e-9)


@pytest.mark.parametrize("direction", [0, 1, 2])
def test_the_decay_of_a_linear_map_is_the_priors(direction):
    decoder, matrix = affine(6, 3)
    sigma = torch.linalg.svdvals(matrix)[direction]
    found = decay_by_radius(decoder, torch.randn(4, 3), radii=(0.5, 1.0), direction=direction, reach=50.0)
    expected = torch.stack([-0.5 / sigma**2, -1.0 / sigma**2])
    torch.testing.assert_close(found, expected.expand(4, 2))


def test_decay_is_the_mean_over_radii():
    z = torch.randn(3, 1)
    by_radius = decay_by_radius(bent, z, radii=(0.2, 0.7, 1.1))
    torch.testing.assert_close(decay(bent, z, radii=(0.2, 0.7, 1.1)), by_radius.mean(1))


def test_the_decay_of_a_bent_curve_has_its_closed_form():
    t = torch.tensor([[0.8]])
    radius = bent_arclength(t).item()
    expected = 2 * (bent_log_density(t) - bent_log_density(0 * t)).item() / radius
    assert decay(bent, torch.zeros(1, 1), radii=(radius,)).item() == pytest.approx(expected, rel=1e-3)


def test_travel_finds_the_latent_behind_an_arclength():
    t = torch.tensor([0.3, 1.0, 2.5])
    found = travel(bent, torch.zeros(1, 1), torch.ones(1, 1), bent_arclength(t).tolist(), n=2049)
    torch.testing.assert_close(found, t[None], rtol=1e-4, atol=0)


def test_a_path_that_never_travels_the_radius_is_counted_not_dropped():
    z = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    # tanh moves by less than 1 to the right of zero, and by less than 1.8 to the left of 1.
    decays = decay(torch.tanh, z, radii=(0.5, 0.9))
    assert decays.isnan().tolist() == [False, True, True, True]
    mean = estimate(torch.cat([decays, decays[:1] * 2, decays[:1] * 3]))
    assert (mean.n, mean.missing) == (3, 3)
    assert travel(torch.tanh, z[:1], torch.ones(1, 1), [0.99, 1.01]).isnan().tolist() == [[False, True]]


def test_a_radius_that_is_just_reached_counts():
    z = torch.zeros(1, 1)
    assert travel(lambda z: 2 * z, z, z + 1, [16.0, 16.1]).isnan().tolist() == [[False, True]]
    assert travel(lambda z: 2 * z, z, z + 1, [1.0, 1.1], reach=0.5).isnan().tolist() == [[False, True]]


def test_samples_are_fine_where_radii_are_met_early():
    asked = []
    travel(lambda z: asked.append(z) or z, torch.zeros(1, 1), torch.ones(1, 1), [1.0], n=5)
    torch.testing.assert_close(asked[0][:, 0], 8 * torch.tensor([0, 0.25, 0.5, 0.75, 1]) ** 3)


def test_defaults_are_those_of_the_paper_and_the_interface():
    assert defaults(decay) == defaults(decay_by_radius)
    assert defaults(decay) == {"rank": None, "radii": (0.5, 1.0), "direction": 0, "reach": 8.0}
    assert [defaults(f)["n"] for f in (line_density, dip, midpoint, travel)] == [65] * 4


def test_reach_bounds_the_search():
    slow = lambda z: 0.01 * z  # noqa: E731
    z = torch.zeros(2, 1)
    assert decay(slow, z, radii=(0.5,), reach=49.0).isnan().all()
    torch.testing.assert_close(decay(slow, z, radii=(0.5,), reach=51.0), torch.full((2,), -0.5 / 0.01**2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: dip(bent, z, z), "2 of 2 paths have no length"),
        (lambda z: line_density(bent, z, z + 1, n=2), "at least 3 points, got n=2"),
        (lambda z: decay(bent, z, radii=(0.5, -1.0)), r"positive, got radii=\[0.5, -1.0\]"),
        (lambda z: decay(bent, z, radii=(0.5, -0.5)), r"positive, got radii=\[0.5, -0.5\]"),
        (lambda z: decay(bent, z, radii=(0.0,)), r"positive, got radii=\[0.0\]"),
        (lambda z: decay(bent, z, radii=()), r"positive, got radii=\[\]"),
        (lambda z: decay(bent, z, direction=-1), r"direction must be in 0\.\.0 for 1 latents, got -1"),
        (lambda z: decay(bent, z, reach=0.0), "reach=0.0"),
        (lambda z: decay(bent, z, direction=1), r"direction must be in 0\.\.0 for 1 latents, got 1"),
        (lambda z: dip(bent, z, z + 1, rank=2), r"rank must be in 1\.\.1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.tensor([[0.0], [1.0]]))


def test_ends_of_different_shapes_are_named(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as outside the tests
    z = torch.zeros(2, 1)
    with pytest.raises(ValueError, match=r"of one shape, got \[2, 1\] and \[1, 1\]"):
        dip(bent, z, z[:1])
