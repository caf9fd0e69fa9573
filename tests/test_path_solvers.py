import pytest
import torch
from conftest import affine, sphere

from lib.measures.geodesic import Path
from lib.protocols import path_solvers

# on the sphere, by polar angle and azimuth: the second pair lies on a meridian, where the straight line is the shortest
CODES = torch.tensor(
    [[0.5, 0.0], [0.5, 2.0], [0.6, 1.0], [2.0, 1.0], [1.0, 0.3], [1.5, 0.7], [1.2, 1.8], [0.9, 1.4]],
    dtype=torch.float64,
)
PAIRS = torch.tensor([[0, 2], [1, 3]])


def arc(z0, z1):
    """Length of the great circle between two places on the sphere."""
    a, b = sphere(z0), sphere(z1)
    return torch.arccos((a * b).sum(1).clamp(-1, 1))


@pytest.fixture(scope="module")
def solved():
    return path_solvers.solve(sphere, sphere, CODES, PAIRS, slow=2, neighbours=3)


def test_solvers_agree_with_great_circles(solved):
    exact = arc(*CODES[PAIRS])
    for path in (solved.energy, solved.equation, solved.helped):
        assert path.converged.all()
        torch.testing.assert_close(path.length, exact, rtol=2e-3, atol=0)
    torch.testing.assert_close(solved.alike, exact, rtol=2e-3, atol=0)


def test_seconds_are_of_one_pair(monkeypatch):
    took = iter((3.0, 6.0, 12.0))
    monkeypatch.setattr(path_solvers, "_timed", lambda work: (work(), next(took)))
    found = path_solvers.solve(sphere, sphere, CODES, PAIRS, slow=2, neighbours=3)
    assert found.seconds == {"energy": 1.5, "equation": 3.0, "helped": 6.0}


def test_straight_lines_and_graphs_are_upper_bounds(solved):
    exact = arc(*CODES[PAIRS])
    assert (solved.straight > exact * (1 - 1e-3)).all()
    assert (solved.graph > exact * (1 - 1e-3)).all()
    assert solved.straight[0] > 1.02 * exact[0]
    assert solved.straight[1] == pytest.approx(float(exact[1]), rel=1e-3)


def test_the_table_compares_where_both_converged(solved):
    energy = solved.energy._replace(length=torch.tensor([1.0, 2.0]))
    case = solved._replace(
        energy=energy,
        straight=torch.tensor([1.5, 2.0]),
        alike=torch.tensor([2.0, 2.0]),
        equation=_path([3.0, 5.0], [True, False]),
        helped=_path([3.0, 4.0], [False, False]),
        seconds={"energy": 0.5, "equation": 2.0, "helped": 1.0},
    )
    rows = path_solvers.table(case).set_index("solver")
    lines, equation = rows.loc["straight lines"], rows.loc["differential equation, from the straight line"]
    assert (lines["median"], lines["least"], lines["largest"]) == (1.0, 1.0, 1.5)
    assert (equation["converged"], equation["median"], equation["time"]) == (1, 1.5, 4.0)
    helped = rows.loc["differential equation, from the path above"]
    assert helped["converged"] == 0
    assert helped["time"] == 2.0
    assert helped["median"] is None
    assert lines["time"] is None
    failed = case._replace(energy=energy._replace(converged=torch.tensor([False, True])))
    assert path_solvers.table(failed).set_index("solver").loc["straight lines", "median"] == 1.0


def _path(length, converged):
    return Path(torch.zeros(2, 3, 2), torch.tensor(length), torch.tensor(converged), torch.zeros(2, 2))


def test_a_path_without_convergence_is_missing_from_the_shortening(solved):
    energy = Path(torch.zeros(4, 3, 2), torch.tensor([1.0, 1.0, 2.0, 9.0]), torch.arange(4) < 3, torch.zeros(4, 2))
    case = solved._replace(energy=energy, straight=torch.tensor([2.0, 4.0, 2.0, 9.0]))
    found = path_solvers.shortening(case, seed=0)
    assert (found.value, found.n, found.missing) == (0.5, 3, 1)


def test_on_a_flat_space_nothing_is_shorter_than_a_straight_line():
    decoder, _ = affine(6, 2)
    z = torch.randn(20, 2)
    pairs = path_solvers.draw_pairs(torch.arange(20), 8)
    found = path_solvers.solve(decoder, decoder, z, pairs, slow=1, neighbours=4)
    torch.testing.assert_close(found.energy.length, found.straight)
    assert path_solvers.shortening(found, seed=0).value == pytest.approx(1.0)


def test_the_most_favourable_pair_is_the_one_with_the_largest_detour(solved):
    found = path_solvers.most_favourable(solved, sphere, CODES, PAIRS, 1)
    straight = found.curves["straight line"][0]
    torch.testing.assert_close(straight[[0, -1]], CODES[[0, 1]])
    torch.testing.assert_close(found.steps["shortest path"].sum(1), solved.energy.length[:1])
    torch.testing.assert_close(found.steps["straight line"].sum(1), solved.straight[:1])
    gone = solved._replace(energy=solved.energy._replace(converged=torch.tensor([False, True])))
    second = path_solvers.most_favourable(gone, sphere, CODES, PAIRS, 1)
    torch.testing.assert_close(second.curves["straight line"][0, 0], CODES[2])


def test_pairs_are_of_different_points():
    assert path_solvers.draw_pairs(torch.tensor([3, 1, 2, 0]), 2).tolist() == [[3, 1], [2, 0]]
    assert path_solvers.draw_pairs(torch.tensor([2, 0, 1]), 2).tolist() == [[2, 0], [1, 2]]
    assert path_solvers.draw_pairs(torch.tensor([2, 0, 1]), 3).tolist() == [[], []]
