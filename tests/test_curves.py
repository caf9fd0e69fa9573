import math

import jaxtyping
import pytest
import torch
from conftest import affine, counted, sphere

from lib.measures import curves
from lib.measures.curves import (
    arclength,
    chords,
    curve_length,
    fractions,
    halfway,
    interpolate,
    line,
    middle,
    output_steps,
    straight,
)

MERIDIAN = straight(*torch.tensor([[[0.2, 0.5]], [[1.8, 0.5]]], dtype=torch.float64), 33)


def spiral(n):
    """On the sphere, a curve of known length: constant polar angle 1, two radians of azimuth."""
    return torch.stack([torch.ones(n), torch.linspace(0, 2, n)], 1)[None]


def test_a_straight_line_has_equal_steps_from_end_to_end():
    z0, z1 = torch.randn(2, 5, 3)
    curve = straight(z0, z1, 9)
    assert torch.equal(curve[:, 0], z0)
    torch.testing.assert_close(curve[:, -1], z1)
    torch.testing.assert_close(curve.diff(dim=1), ((z1 - z0) / 8)[:, None].expand(-1, 8, -1))


def test_a_line_is_at_its_start_at_zero_and_one_step_on_at_one():
    z, step = torch.randn(2, 4, 3)
    t = torch.tensor([0.0, 1.0, -0.5]).expand(4, 3)
    torch.testing.assert_close(line(z, step, t), torch.stack([z, z + step, z - step / 2], 1))


def test_fractions_divide_the_unit_interval():
    torch.testing.assert_close(fractions(torch.zeros(2, 1), 5), torch.tensor([[0, 0.25, 0.5, 0.75, 1]] * 2))


def test_chords_are_the_norms_of_the_steps():
    steps = output_steps(sphere, MERIDIAN)
    assert steps.shape == (1, 32, 3)
    torch.testing.assert_close(steps.sum(1), sphere(MERIDIAN[:, -1]) - sphere(MERIDIAN[:, 0]))
    torch.testing.assert_close(chords(sphere, MERIDIAN), torch.full((1, 32), 2 * math.sin(0.025)))
    torch.testing.assert_close(chords(lambda z: z.view(-1, 1, 2), MERIDIAN), torch.full((1, 32), 0.05))


def test_the_error_of_chords_falls_with_the_square_of_the_points():
    errors = [2 * math.sin(1) - float(curve_length(sphere, spiral(n))) for n in (9, 17)]
    assert errors[1] > 0
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.01)


def test_arclength_begins_at_zero_ends_at_the_length_and_grows_by_chords():
    curve = torch.randn(6, 12, 2)
    s = arclength(sphere, curve)
    assert s.shape == (6, 12)
    assert (s[:, 0] == 0).all()
    torch.testing.assert_close(s[:, -1], curve_length(sphere, curve))
    torch.testing.assert_close(s.diff(dim=1), chords(sphere, curve))


def test_interpolation_is_exact_at_samples_and_linear_between():
    s = torch.tensor([[0.0, 1.0, 3.0], [0.0, 4.0, 5.0]])
    t = torch.tensor([[0.0, 0.5, 1.0], [10.0, 20.0, 40.0]])
    torch.testing.assert_close(interpolate(s, t, s), t)
    torch.testing.assert_close(
        interpolate(s, t, torch.tensor([[0.5, 2.5], [1.0, 4.75]])), torch.tensor([[0.25, 0.875], [12.5, 35.0]])
    )


def test_a_vector_is_interpolated_as_its_coordinates_are():
    s, values = torch.rand(4, 7).cumsum(1), torch.randn(4, 7, 3)
    s = s - s[:, :1]
    targets = s[:, -1:] * torch.rand(4, 5)
    found = interpolate(s, values, targets)
    for k in range(3):
        torch.testing.assert_close(found[..., k], interpolate(s, values[..., k], targets))


def test_a_curve_that_rests_is_no_trouble_where_it_moves():
    s = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    found = interpolate(s, torch.tensor([[0.0, 1.0, 2.0, 3.0]]), torch.tensor([[0.5, 1.0]]))
    torch.testing.assert_close(found, torch.tensor([[1.5, 2.0]]))


def test_a_target_just_beyond_the_end_is_reached_by_the_last_piece():
    s, t = torch.tensor([[0.0, 1.0, 3.0]]), torch.tensor([[0.0, 5.0, 6.0]])
    torch.testing.assert_close(interpolate(s, t, torch.tensor([[3.0002]])), torch.tensor([[6.0001]]))


def test_a_curve_may_rest_at_either_end():
    resting = torch.tensor([[[0.0], [0.0], [1.0]], [[0.0], [1.0], [1.0]]])
    torch.testing.assert_close(middle(lambda z: z, resting), torch.tensor([[0.5], [0.5]]))


def test_the_middle_of_a_bent_curve_halves_its_length():
    bend = torch.tensor([[[0.0, 0.0], [0.0, 3.0], [4.0, 3.0]]])  # seven long
    torch.testing.assert_close(middle(lambda z: z, bend), torch.tensor([[0.5, 3.0]]))
    torch.testing.assert_close(middle(lambda z: z * torch.tensor([1.0, 10.0]), bend), torch.tensor([[0.0, 1.7]]))
    torch.testing.assert_close(middle(sphere, MERIDIAN), torch.tensor([[1.0, 0.5]]))


def test_the_middle_does_not_depend_on_the_direction_of_travel():
    curve = torch.randn(5, 20, 2)
    torch.testing.assert_close(middle(sphere, curve), middle(sphere, curve.flip(1)))


def test_halfway_is_half_of_each_length():
    assert halfway(torch.tensor([[0.0, 1.0, 4.0], [0.0, 2.0, 3.0]])).tolist() == [[2.0], [1.5]]


def test_blocks_do_not_matter(monkeypatch):
    decoder, _ = affine(6, 3)
    curve = torch.randn(40, 5, 3)
    whole = chords(decoder, curve)
    monkeypatch.setattr(curves, "ROWS", 33)
    counting, counts = counted(decoder)
    torch.testing.assert_close(chords(counting, curve), whole)
    assert counts == [30] * 6 + [20]
    monkeypatch.setattr(curves, "ROWS", 4)  # a curve is never cut
    counting, counts = counted(decoder)
    torch.testing.assert_close(chords(counting, curve), whole)
    assert counts == [5] * 40


def test_a_pass_decodes_at_most_2048_points():
    for batch, points, passes in ((4, 512, [2048]), (3, 683, [1366, 683])):
        counting, counts = counted(lambda z: z)
        chords(counting, torch.randn(batch, points, 1))
        assert counts == passes


def test_no_graph_is_kept_but_steps_can_be_differentiated():
    curve = MERIDIAN.clone().requires_grad_()
    assert not chords(sphere, curve).requires_grad
    assert output_steps(sphere, curve).requires_grad


def test_curves_without_length_and_with_too_few_points_are_refused():
    z = torch.zeros(2, 1)
    with pytest.raises(ValueError, match="1 of 2 paths have no length"):
        middle(lambda z: z, straight(z, torch.tensor([[0.0], [1.0]]), 3))
    with pytest.raises(ValueError, match="at least 3 points, got n=2"):
        straight(z, z + 1, 2)


def test_ends_that_do_not_fit_are_named(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as outside the tests
    for z0, z1 in ((torch.zeros(2, 1), torch.zeros(3, 1)), (torch.zeros(3), torch.zeros(3))):
        with pytest.raises(ValueError, match=r"both ends must be \[batch, latent\] of one shape, got"):
            straight(z0, z1, 3)
