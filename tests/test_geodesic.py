import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from conftest import affine, counted, defaults, sphere
from jaxtyping import TypeCheckError

from lib.measures import curves, geodesic
from lib.measures.geodesic import (
    acceleration,
    boundary_value,
    curve_length,
    log_measure,
    metric,
    shortest_path,
    stacked,
    straight,
)
from lib.measures.jacobian import jacobian

STARTS = torch.tensor([[1.0, 0.0], [0.7, -1.0], [1.5, 0.3], [2.2, 2.0]], dtype=torch.float64)
ENDS = torch.tensor([[1.2, 2.0], [2.0, 0.5], [1.4, 0.5], [0.8, 0.5]], dtype=torch.float64)


def great_circles(z0, z1):
    return (sphere(z0) * sphere(z1)).sum(1).acos()


def pseudosphere(z):
    """The hyperbolic half-plane above y = 1: metric (dx^2 + dy^2) / y^2."""
    x, y = z.unbind(1)
    return torch.stack([x.cos() / y, x.sin() / y, y.acosh() - (1 - y**-2).sqrt()], 1)


def network(seed=0):
    generator = torch.Generator().manual_seed(seed)
    inner, outer = torch.randn(2, 16, generator=generator), torch.randn(16, 5, generator=generator)
    return lambda z: (2 * z @ inner).tanh() @ outer


def partly(z):
    """The sphere, and nothing beyond a polar angle of 5."""
    return torch.where(z[:, :1] > 5, torch.nan, sphere(z))


def logarithms(z0, z1):
    """Velocities of great circles: towards the end, and as long as the arc."""
    x, y = sphere(z0), sphere(z1)
    tangent = y - (x * y).sum(1, keepdim=True) * x
    tangent *= (great_circles(z0, z1) / tangent.norm(dim=1))[:, None]
    return torch.linalg.lstsq(jacobian(sphere, z0), tangent[..., None]).solution[..., 0]


def angles(a, b, z):
    inner = lambda v, w: torch.einsum("bi,bij,bj->b", v, metric(sphere, z), w)  # noqa: E731
    return (inner(a, b) / (inner(a, a) * inner(b, b)).sqrt()).clamp(max=1).acos()


def test_shortest_paths_on_the_sphere_are_great_circles():
    path = shortest_path(sphere, STARTS, ENDS)
    torch.testing.assert_close(path.length, great_circles(STARTS, ENDS), atol=1e-3, rtol=0)
    assert path.converged.all()
    assert torch.equal(path.z[:, 0], STARTS)
    torch.testing.assert_close(path.z[:, -1], ENDS)
    normal = torch.linalg.cross(sphere(STARTS), sphere(ENDS))
    beside = (sphere(path.z.flatten(0, 1)).view(4, -1, 3) * normal[:, None]).sum(2) / normal.norm(dim=1)[:, None]
    assert beside.abs().max() < 5e-3


def test_shortest_paths_in_the_hyperbolic_half_plane():
    z0 = torch.tensor([[0.0, 1.5], [-1.0, 2.0], [0.5, 3.0]])
    z1 = torch.tensor([[1.0, 1.5], [0.5, 3.0], [-0.5, 5.0]])
    torch.testing.assert_close(metric(pseudosphere, z0), torch.eye(2) / z0[:, 1, None, None] ** 2)
    exact = (1 + (z1 - z0).square().sum(1) / (2 * z0[:, 1] * z1[:, 1])).acosh()
    path = shortest_path(pseudosphere, z0, z1)
    torch.testing.assert_close(path.length, exact, atol=1e-4, rtol=0)
    assert (path.z[0, 1:-1, 1] > 1.5).all()


def test_in_a_flat_space_paths_are_straight():
    decoder, matrix = affine(7, 3)
    z0, z1 = torch.randn(2, 3, 3)
    for path in (shortest_path(decoder, z0, z1), boundary_value(decoder, z0, z1)):
        torch.testing.assert_close(path.z, straight(z0, z1, 33))
        torch.testing.assert_close(path.length, ((z1 - z0) @ matrix.T).norm(dim=1))
        torch.testing.assert_close(path.velocity, z1 - z0)
        assert path.converged.all()


def test_a_shortest_path_is_no_longer_than_the_straight_line_and_the_same_both_ways():
    decoder = network()
    z0, z1 = torch.randn(2, 30, 2)
    there, back = shortest_path(decoder, z0, z1), shortest_path(decoder, z1, z0)
    direct = curve_length(decoder, straight(z0, z1, 33))
    assert (there.length <= direct * (1 + 1e-6)).all()
    assert (there.length < 0.9 * direct).any()
    torch.testing.assert_close(there.length, back.length, rtol=1e-6, atol=0)
    torch.testing.assert_close(there.z, back.z.flip(1), rtol=0, atol=1e-3)


def test_the_velocity_is_the_logarithm():
    exact = logarithms(STARTS, ENDS)
    for n, degree, most in ((33, 8, 3e-3), (65, 16, 2e-3)):
        path = shortest_path(sphere, STARTS, ENDS, n=n, degree=degree)
        norm = torch.einsum("bi,bij,bj->b", path.velocity, metric(sphere, STARTS), path.velocity).sqrt()
        torch.testing.assert_close(norm, path.length)
        assert angles(path.velocity, exact, STARTS).max() < most
    assert angles(boundary_value(sphere, STARTS, ENDS).velocity, exact, STARTS).max() < 1e-4


def test_a_path_from_a_point_to_itself_has_no_length_and_no_velocity():
    path = shortest_path(sphere, STARTS, STARTS)
    assert torch.equal(path.length, torch.zeros(4))
    assert torch.equal(path.velocity, torch.zeros(4, 2))
    assert path.converged.all()


def test_another_start_leads_to_the_same_path():
    bump = 0.3 * torch.linspace(0, math.pi, 33).sin()[:, None] * torch.tensor([1.0, -1.0])
    bent = straight(STARTS, ENDS, 33) + bump
    once = shortest_path(sphere, STARTS, ENDS)
    assert (curve_length(sphere, bent) > once.length + 0.01).all()
    for start in (bent, once.z):
        again = shortest_path(sphere, STARTS, ENDS, start=start)
        torch.testing.assert_close(again.length, once.length, rtol=1e-4, atol=0)
        torch.testing.assert_close(again.z, once.z, rtol=0, atol=0.02)
    torch.testing.assert_close(shortest_path(sphere, STARTS, ENDS, start=once.z, steps=0).z, once.z)


def test_the_expected_metric_is_the_sum_of_those_of_mean_and_deviation():
    (mean, a), (deviation, b) = affine(6, 3), affine(6, 3, seed=1)
    z = torch.randn(4, 3)
    found = metric(stacked(mean, deviation), z)
    torch.testing.assert_close(found, (a.T @ a + b.T @ b).expand(4, 3, 3))
    noise = torch.randn(20_000, 6)
    drawn = a + noise[:, :, None] * b
    squares = drawn.mT @ drawn
    error = squares.std(0) / len(noise) ** 0.5
    assert ((squares.mean(0) - found[0]).abs() < 4 * error).all()


def test_the_measure_of_the_sphere_is_the_sine_of_the_polar_angle():
    torch.testing.assert_close(log_measure(sphere, STARTS), STARTS[:, 0].sin().log())


def test_the_acceleration_on_the_sphere_is_that_of_christoffel():
    (theta, _), (up, around) = STARTS.T, ENDS.T
    exact = torch.stack([theta.sin() * theta.cos() * around**2, -2 * up * around / theta.tan()], 1)
    torch.testing.assert_close(acceleration(sphere, STARTS, ENDS), exact)


def test_both_solvers_find_the_same_paths():
    one, other = shortest_path(sphere, STARTS, ENDS, n=65), boundary_value(sphere, STARTS, ENDS, n=65)
    torch.testing.assert_close(one.length, other.length, rtol=0, atol=1e-4)
    torch.testing.assert_close(one.z, other.z, rtol=0, atol=5e-3)
    assert other.converged.all()


def test_a_boundary_value_problem_without_a_solution_is_reported():
    given_up = boundary_value(sphere, STARTS[:1], ENDS[:1], n=5, tolerance=1e-12)
    assert not given_up.converged.any()
    assert (given_up.z - straight(STARTS[:1], ENDS[:1], 5)).abs().max() > 0.01
    beyond = ENDS.clone()
    beyond[1, 0] = 6.0
    path = boundary_value(partly, STARTS, beyond)
    assert path.converged.tolist() == [True, False, True, True]
    assert path.length.isnan().tolist() == [False, True, False, False]


def test_a_pair_where_the_decoder_is_not_finite_does_not_harm_the_others():
    beyond = ENDS.clone()
    beyond[1, 0] = 6.0
    path, whole = shortest_path(partly, STARTS, beyond), shortest_path(sphere, STARTS, ENDS)
    assert path.converged.tolist() == [True, False, True, True]
    for found, expected in zip(
        (path.z, path.length, path.velocity), (whole.z, whole.length, whole.velocity), strict=True
    ):
        assert found[1].isnan().all()
        torch.testing.assert_close(found[[0, 2, 3]], expected[[0, 2, 3]])


def test_the_first_curve_may_be_unknown():
    guess = straight(STARTS, ENDS, 9)
    guess[1], guess[2, 5] = torch.nan, torch.nan
    path = boundary_value(sphere, STARTS, ENDS, n=9, guess=guess)
    assert path.converged.tolist() == [True, False, False, True]
    assert path.z.isnan().all((1, 2)).tolist() == [False, True, True, False]
    assert path.velocity.isnan().all(1).tolist() == [False, True, True, False]


def test_the_mesh_of_the_equation_has_at_most_ten_times_as_many_points(monkeypatch):
    most, solve = [], geodesic.solve_bvp
    monkeypatch.setattr(geodesic, "solve_bvp", lambda *a, **k: most.append(k["max_nodes"]) or solve(*a, **k))
    boundary_value(sphere, STARTS[2:3], ENDS[2:3], n=7)
    assert most == [70]


def test_outputs_of_any_shape_are_flattened():
    square = lambda z: sphere(z)[:, None, :, None]  # noqa: E731
    torch.testing.assert_close(stacked(square, square)(STARTS), stacked(sphere, sphere)(STARTS))
    torch.testing.assert_close(acceleration(square, STARTS, ENDS), acceleration(sphere, STARTS, ENDS))
    path, flat = (shortest_path(decoder, STARTS, ENDS) for decoder in (square, sphere))
    torch.testing.assert_close(path.velocity, flat.velocity)


def test_where_nothing_changes_a_path_has_no_velocity():
    path = shortest_path(lambda z: 0 * z, STARTS, ENDS)
    assert torch.equal(path.velocity, torch.zeros(4, 2))


def test_a_single_polynomial_is_enough_for_a_path():
    rough, fine = (shortest_path(sphere, STARTS, ENDS, degree=degree).length for degree in (1, 8))
    assert (fine < rough).all()
    assert (rough < curve_length(sphere, straight(STARTS, ENDS, 33)))[[0, 1, 3]].all()


def test_passes_are_of_whole_paths_and_at_most_2048_points(monkeypatch):
    counting, counts = counted(sphere)
    shortest_path(counting, STARTS.repeat(25, 1), ENDS.repeat(25, 1), steps=2)
    assert counts[0] == max(counts) == 62 * 33
    monkeypatch.setattr(geodesic, "ROWS", 10)
    monkeypatch.setattr(curves, "ROWS", 10)
    counts.clear()
    shortest_path(counting, STARTS, ENDS, steps=2)
    assert max(counts) == 33


def test_defaults():
    assert defaults(shortest_path) == {"n": 33, "degree": 8, "steps": 100, "tolerance": 1e-5, "start": None}
    assert defaults(boundary_value) == {"n": 33, "tolerance": 1e-3, "guess": None}


def test_a_search_that_is_cut_short_has_not_converged():
    cut = shortest_path(sphere, STARTS, ENDS, steps=1)
    assert not cut.converged[[0, 1, 3]].any()
    assert (cut.length > shortest_path(sphere, STARTS, ENDS).length)[[0, 1, 3]].all()


def test_pairs_do_not_know_of_each_other_nor_of_blocks(monkeypatch):
    whole = shortest_path(sphere, STARTS, ENDS)
    monkeypatch.setattr(geodesic, "ROWS", 70)
    parts = shortest_path(sphere, STARTS, ENDS)
    torch.testing.assert_close(parts.z, whole.z)
    torch.testing.assert_close(parts.velocity, whole.velocity)


def test_threads_do_not_disturb_each_other():
    z, v = torch.randn(2, 200, 2)
    decoders = [network(seed) for seed in range(12)]

    def measured(decoder):
        return (
            metric(decoder, z),
            acceleration(decoder, z, v),
            log_measure(decoder, z),
            shortest_path(decoder, z[:5], v[:5]).z,
        )

    alone = [measured(decoder) for decoder in decoders]
    with ThreadPoolExecutor(4) as executor:
        together = list(executor.map(measured, decoders))
    for one, other in zip(alone, together, strict=True):
        for expected, found in zip(one, other, strict=True):
            assert torch.equal(expected, found)


def test_bad_requests_are_refused():
    for solve in (shortest_path, boundary_value):
        with pytest.raises(ValueError, match="at least 3 points, got n=2"):
            solve(sphere, STARTS, ENDS, n=2)
        with pytest.raises((TypeCheckError, ValueError)):
            solve(sphere, STARTS, ENDS[:3])
        with pytest.raises((TypeCheckError, ValueError)):
            solve(sphere, STARTS[0], ENDS[0])
    with pytest.raises(ValueError, match="degree must be at least 1, got 0"):
        shortest_path(sphere, STARTS, ENDS, degree=0)
    with pytest.raises(ValueError, match="the Jacobian is not finite at 1 of 2 points"):
        log_measure(lambda z: z.log(), torch.tensor([[0.0, 1.0], [1.0, 1.0]]))
