import pytest
import torch
from conftest import affine, defaults
from torch.distributions import MultivariateNormal

from lib.measures import land as module
from lib.measures.curves import straight
from lib.measures.geodesic import log_measure, shortest_path
from lib.measures.land import Land, fit_land, log_prob

ROOT = torch.tensor([[1.0, 0.0], [0.6, 0.5]], dtype=torch.float64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(n=200, seed=0):
    return torch.randn(n, 2, generator=seeded(seed)) @ ROOT.T + torch.tensor([0.5, -1.0])


def moments(z):
    return z.mean(0), torch.cov(z.T, correction=0)


def bowl(z):
    """A paraboloid."""
    return torch.cat([z, 0.5 * z.square().sum(1, keepdim=True)], 1)


def lattice(reach, n=61):
    side = torch.linspace(-reach, reach, n)
    return torch.cartesian_prod(side, side), float(side[1] - side[0]) ** 2


def test_in_a_flat_space_it_is_the_normal_of_maximum_likelihood():
    decoder, _ = affine(5, 2)
    z = normal()
    land = fit_land(decoder, z, nodes=1024)
    mean, covariance = moments(z)
    torch.testing.assert_close(land.means, mean[None], atol=1e-3, rtol=0)
    torch.testing.assert_close(land.precisions.inverse(), covariance[None], atol=1e-2, rtol=0)
    exact = MultivariateNormal(mean, covariance)
    at = normal(50, seed=1)
    torch.testing.assert_close(
        log_prob(land, decoder, at) + log_measure(decoder, at), exact.log_prob(at), atol=5e-3, rtol=0
    )
    likelihood = (exact.log_prob(z) - log_measure(decoder, z)).mean()
    torch.testing.assert_close(land.log_likelihood[-1], likelihood, atol=1e-3, rtol=0)
    constant = 0.5 * torch.logdet(2 * torch.pi * covariance) + log_measure(decoder, z[:1])
    torch.testing.assert_close(land.log_constants, constant, atol=1e-2, rtol=0)
    # Nodes of s = 1.5 times the deviation: the mean square of the weights is (s^2 / sqrt(2 s^2 - 1))^2, in two dimensions.
    assert land.ess.item() == pytest.approx(2048 * (2 * 1.5**2 - 1) / 1.5**4, rel=0.02)
    assert land.failed == 0


def test_more_nodes_bring_it_nearer():
    decoder, _ = affine(5, 2)
    z = normal()
    few, many = (moments(z)[1] - fit_land(decoder, z, nodes=n).precisions[0].inverse() for n in (32, 1024))
    assert many.abs().max() < few.abs().max() / 5


def test_two_far_clusters_in_a_flat_space_are_two_normals():
    decoder, _ = affine(5, 2)
    parts = [normal(60) - torch.tensor([6.0, 0.0]), normal(90, seed=1) + torch.tensor([6.0, 1.0])]
    shares = torch.zeros(2, 150)
    shares[0, :60], shares[1, 60:] = 1.0, 1.0
    land = fit_land(decoder, torch.cat(parts), shares, nodes=1024)
    means, covariances = (torch.stack(each) for each in zip(*map(moments, parts), strict=True))
    torch.testing.assert_close(land.weights, torch.tensor([0.4, 0.6]), atol=1e-3, rtol=0)
    torch.testing.assert_close(land.means, means, atol=2e-3, rtol=0)
    torch.testing.assert_close(land.precisions.inverse(), covariances, atol=1e-2, rtol=0)
    constants = 0.5 * torch.logdet(2 * torch.pi * covariances) + log_measure(decoder, means)
    torch.testing.assert_close(land.log_constants, constants, atol=1e-2, rtol=0)


def maximised(z, shares):
    """Weights, means and covariances of the normals of maximum likelihood, given the points' shares."""
    total = shares.sum(1)
    means = shares @ z / total[:, None]
    beside = z - means[:, None]
    return total / total.sum(), means, (shares[:, :, None] * beside).mT @ beside / total[:, None, None]


def test_a_round_in_a_flat_space_is_a_step_of_expectation_maximisation():
    z = torch.cat([normal(40), normal(50, seed=1) + torch.tensor([3.0, 1.0])])
    first = torch.where(z[:, 0] < 1, 0.9, 0.1)
    shares = torch.stack([first, 1 - first])
    weights, means, covariances = maximised(z, shares)
    joint = MultivariateNormal(means, covariances).log_prob(z[:, None]).T + weights.log()[:, None]
    expected = maximised(z, joint.softmax(0))
    land = fit_land(lambda z: z, z, shares, nodes=2048, rounds=1, n=3)
    torch.testing.assert_close(land.weights, expected[0], atol=2e-3, rtol=0)
    torch.testing.assert_close(land.means, expected[1], atol=5e-3, rtol=0)
    torch.testing.assert_close(land.precisions.inverse(), expected[2], atol=2e-2, rtol=0)
    assert (expected[1] - means).abs().max() > 0.1
    torch.testing.assert_close(land.log_likelihood[0], joint.logsumexp(0).mean(), atol=2e-3, rtol=0)


def test_a_round_in_which_the_likelihood_falls_is_taken_back_and_the_next_moves_half_as_far(monkeypatch):
    moves, tangents = [], module._tangents
    monkeypatch.setattr(module, "_tangents", lambda f, means, *rest: moves.append(means) or tangents(f, means, *rest))
    monkeypatch.setattr(module, "_ascent", lambda *_: torch.tensor([[8.0, 0.0]]))
    land = fit_land(lambda z: z, normal(30), nodes=32, rounds=10, n=3)
    offsets = [(means - moves[0])[0, 0].item() for means in moves]
    assert offsets == pytest.approx([0, 8, 4, 2, 0])  # the last are those of the fresh nodes
    assert torch.equal(land.means, moves[0])
    assert (land.log_likelihood == land.log_likelihood[0]).all()
    assert len(land.log_likelihood) == 4


@pytest.mark.parametrize(
    ("likelihoods", "rounds"),
    [
        ([0.0, 3e-4, 4.5e-4, 5.2e-4], 3),
        ([0.0] * 4, 3),
        ([0.0, -1.0, 0.5, 0.50005], 3),
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 5),
    ],
)
def test_rounds_end_with_the_first_small_gain_or_the_third_without_any(monkeypatch, likelihoods, rounds):
    values, maximised_by = iter(likelihoods), module._maximised
    monkeypatch.setattr(
        module, "_maximised", lambda *a: maximised_by(*a)._replace(likelihood=torch.tensor(next(values)))
    )
    land = fit_land(lambda z: z, normal(30), nodes=32, rounds=5, n=3)
    assert len(land.log_likelihood) == rounds + 1
    assert land.log_likelihood[-1] == max(likelihoods)


def test_constants_are_computed_on_twice_as_many_fresh_nodes(monkeypatch):
    drawn, nodes = [], module._nodes
    monkeypatch.setattr(module, "_nodes", lambda *a: drawn.append(a[3:]) or nodes(*a))
    fit_land(lambda z: z, normal(30), nodes=32, rounds=1, n=3, seed=7)
    assert drawn == [(32, 7), (64, 8)]


def test_paths_that_do_not_converge_are_counted(monkeypatch):
    paths = module._paths
    given_up = lambda path: path._replace(converged=torch.zeros_like(path.converged))  # noqa: E731
    monkeypatch.setattr(module, "_paths", lambda *a: given_up(paths(*a)))
    land = fit_land(lambda z: z, normal(30), nodes=32, rounds=1, n=3)
    assert land.failed == (30 + 32) + 64


def test_the_next_round_starts_from_the_paths_of_the_last(monkeypatch):
    asked, search = [], module.shortest_path

    def spy(*ends, **settings):
        path = search(*ends, **settings)
        asked.append((settings, path))
        return path

    monkeypatch.setattr(module, "shortest_path", spy)
    fit_land(bowl, normal(10), nodes=16, rounds=1, n=9)
    (first, path), (second, _), (fresh, _) = asked
    assert [settings["start"] is None for settings in (first, second, fresh)] == [True, False, True]
    bend = path.z - module.straight(path.z[:, 0], path.z[:, -1], 9)
    assert bend.abs().max() > 0.1
    off = second["start"] - module.straight(second["start"][:, 0], second["start"][:, -1], 9) - bend
    assert off.abs().max() < 1e-9


def test_points_on_a_line_have_a_little_width_across():
    t = torch.linspace(-1, 1, 9)
    z = torch.stack([t, 2 * t], 1)
    widths = torch.linalg.eigvalsh(module._spread(torch.ones(1, 9), torch.zeros(1, 2), z)[0])
    floor = 1e-6 * z.var(0).mean().item()
    assert widths.tolist() == pytest.approx([floor, floor + (5 * t.square()).mean().item()], rel=1e-6)


def test_a_density_is_unknown_where_a_path_does_not_converge(monkeypatch):
    search = module.shortest_path
    monkeypatch.setattr(
        module,
        "shortest_path",
        lambda *a, **k: (path := search(*a, **k))._replace(converged=torch.arange(len(path.length)) > 0),
    )
    land = fit_land(lambda z: z, normal(30), nodes=32, rounds=1, n=3)
    assert log_prob(land, lambda z: z, normal(4), n=3).isnan().tolist() == [True, False, False, False]


def test_defaults():
    assert defaults(fit_land) == {"shares": None, "nodes": 128, "rounds": 4, "n": 17, "seed": 0}
    assert defaults(log_prob) == {"n": 17}


def test_a_density_integrates_to_one_against_the_measure():
    decoder, _ = affine(5, 2)
    z = normal(100)
    z -= z.mean(0)
    flat = fit_land(decoder, z, nodes=256)
    at, cell = lattice(6.0)
    total = (log_prob(flat, decoder, at) + log_measure(decoder, at)).exp().sum() * cell
    assert float(total) == pytest.approx(1, abs=5e-3)
    curved = fit_land(bowl, 0.5 * z, nodes=256)
    at, cell = lattice(3.5)
    total = (log_prob(curved, bowl, at) + log_measure(bowl, at)).exp().sum() * cell
    assert float(total) == pytest.approx(1, abs=2e-2)


def test_the_likelihood_never_falls_and_is_that_of_the_points():
    z = torch.cat([0.4 * normal(40), 0.4 * normal(30, seed=1) + torch.tensor([1.0, 1.0])])
    shares = torch.rand(2, 70, generator=seeded())
    land = fit_land(bowl, z, shares / shares.sum(0))
    assert len(land.log_likelihood) > 2
    assert (land.log_likelihood.diff() >= 0).all()
    assert land.log_likelihood[-1] > land.log_likelihood[0] + 0.01
    torch.testing.assert_close(log_prob(land, bowl, z).mean(), land.log_likelihood[-1], atol=5e-2, rtol=0)


def test_a_density_is_that_of_its_tangent_vectors():
    land = Land(
        weights=torch.tensor([0.3, 0.7]),
        means=torch.tensor([[0.0, 0.0], [1.0, 0.5]]),
        precisions=torch.stack([5 * torch.eye(2), ROOT @ ROOT.T]),
        log_constants=torch.tensor([0.1, -0.4]),
        ess=torch.ones(2),
        log_likelihood=torch.zeros(1),
        failed=0,
    )
    at = torch.randn(6, 2, generator=seeded())
    terms = []
    for weight, mean, precision, constant in zip(*land[:4], strict=True):
        v = shortest_path(bowl, mean.expand(6, 2).clone(), at, n=17).velocity
        exponent = -0.5 * (v @ precision * v).sum(1)
        terms.append(weight * (exponent - constant).exp())
    torch.testing.assert_close(log_prob(land, bowl, at), sum(terms).log(), atol=1e-6, rtol=0)


def test_the_seed_decides():
    z = 0.5 * normal(40)
    one, two, three = (fit_land(bowl, z, nodes=32, rounds=2, seed=seed).precisions for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


def test_shares_of_other_points_are_refused():
    with pytest.raises(ValueError, match=r"shares must be \[components, 20\] for these points, got \[1, 19\]"):
        fit_land(bowl, normal(20), torch.ones(1, 19))


def test_a_round_starts_from_the_bends_of_the_paths_of_the_round_before(monkeypatch):
    calls = []

    def watched(decoder, starts, ends, **options):
        path = shortest_path(decoder, starts, ends, **options)
        calls.append((options["start"], path.z, straight(starts, ends, options["n"])))
        return path

    monkeypatch.setattr(module, "shortest_path", watched)
    fit_land(bowl, normal(20), nodes=8, rounds=1, n=5)
    (nothing, found, lines), (start, _, moved), _ = calls  # the last one is of the fresh nodes
    assert nothing is None
    assert (found - lines).abs().max() > 0.01
    torch.testing.assert_close(start - moved, found - lines)
