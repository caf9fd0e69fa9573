"""Every check accepts what the book itself computes, whoever asks, and refuses ten ways of getting it wrong."""

import math

import pytest
import torch
from scipy.special import logsumexp

from lib.measures.density import log_density
from lib.measures.jacobian import singular_system, singular_values
from lib.measures.memorization import balanced_score, score
from lib.measures.paths import decay, dip, midpoint, travel
from lib.measures.recovery import recover
from lib.study.exercises import CHECKS, check


def sums(decoder, z):
    return singular_values(decoder, z).log().sum(1)


def prior(z):
    return -z.square().sum(1) / 2 - z.shape[1] / 2 * math.log(2 * math.pi)


def fine_dip(decoder, z0, z1):
    return dip(decoder, z0, z1, n=513)


def at(decoder, z0, z1, t):
    z = z0 + t * (z1 - z0)
    return log_density(decoder, z0) + log_density(decoder, z1) - 2 * log_density(decoder, z)


def eta(decoder, z, v, radius, *, latent=False):
    def far(step):
        return radius if latent else travel(decoder, z, step, [radius], reach=4.0, n=2001)

    ends = [z + far(step) * step for step in (v, -v)]
    return (log_density(decoder, ends[0]) + log_density(decoder, ends[1]) - 2 * log_density(decoder, z)) / radius


def first(decoder, z, k=0):
    return singular_system(decoder, z).vectors[:, k]


def mean_eta(decoder, z, radii, k=0, **how):
    return torch.stack([eta(decoder, z, first(decoder, z, k), radius, **how) for radius in radii]).mean(0)


def error(decoder, y, latent, **how):
    return recover(decoder, y, latent=latent, **({"steps": 200, "restarts": 3, "scale": 1.0} | how)).error


def chords(decoder, path):
    return decoder(path).diff(dim=0).flatten(1).norm(dim=1)


RIGHT = {
    "density-a": log_density,
    "dip-a": fine_dip,
    "decay-a": eta,
    "decay-b": mean_eta,
    "score-a": score,
    "score-b": balanced_score,
    "recovery-a": error,
    "length-a": lambda decoder, path: chords(decoder, path).sum(),
}


def means(x):
    return x.exp().mean(0).log()


WRONG = {
    "density-a": [
        lambda d, z: prior(z) + sums(d, z),
        lambda d, z: prior(z),
        lambda d, z: -sums(d, z),
        lambda d, z: prior(z) - 2 * sums(d, z),
        lambda d, z: prior(z) - singular_values(d, z).sum(1),
        lambda d, z: prior(z) - singular_values(d, z).log().mean(1),
        lambda d, z: -z.square().sum(1) / 2 - sums(d, z),
        lambda d, z: prior(z) - sums(d, z) / math.log(10),
        lambda d, z: prior(z) - singular_values(d, z).log()[:, 0],
        lambda d, z: -z.norm(dim=1) / 2 - sums(d, z) - z.shape[1] / 2 * math.log(2 * math.pi),
        lambda d, z: (prior(z) - sums(d, z)).exp(),
        lambda d, z: (prior(z) - sums(d, z))[:, None],
    ],
    "dip-a": [
        lambda d, a, b: -fine_dip(d, a, b),
        lambda d, a, b: fine_dip(d, a, b) / 2,
        lambda d, a, b: at(d, a, b, 0.5),
        lambda d, a, b: at(d, a, b, 0.4),
        lambda d, a, b: fine_dip(d, a, b) / (d(a) - d(b)).norm(dim=1),
        lambda d, a, b: prior(a) + prior(b) - 2 * prior((a + b) / 2),
        lambda d, a, b: -(a - b).square().sum(1) / 4,
        lambda d, a, b: log_density(d, a) - log_density(d, b),
        lambda d, a, b: dip(d, a, b, rank=1),
        lambda d, a, b: dip(d, a, b, n=3),
        lambda d, a, b: fine_dip(d, a, b).mean(),
        lambda d, a, b: log_density(d, a) + log_density(d, b) - log_density(d, (a + b) / 2),
    ],
    "decay-a": [
        lambda d, z, v, r: -eta(d, z, v, r),
        lambda d, z, v, r: eta(d, z, v, r) * r,
        lambda d, z, v, r: eta(d, z, v, r) / r,
        lambda d, z, v, r: eta(d, z, v, r) / 2,
        lambda d, z, v, r: eta(d, z, v, r, latent=True),
        lambda d, z, v, r: eta(d, z, v, 2 * r),
        lambda d, z, v, r: eta(d, z, first(d, z), r) if len(z.T) > 2 else eta(d, z, first(d, z, 1), r),
        lambda d, z, v, r: -r / (d(z + v) - d(z)).square().sum(1),
        lambda d, z, v, r: eta(d, z, v, r).mean().expand(len(z)),
        lambda d, z, v, r: (log_density(d, z + r * v) - log_density(d, z)) / r,
        lambda d, z, v, r: eta(d, 0 * z, v, r),
        lambda d, z, v, r: eta(lambda y: 2 * d(y), z, v, r),
    ],
    "decay-b": [
        lambda d, z, radii: -mean_eta(d, z, radii),
        lambda d, z, radii: 2 * mean_eta(d, z, radii),
        lambda d, z, radii: mean_eta(d, z, radii, k=1),
        lambda d, z, radii: mean_eta(d, z, radii, k=-1),
        lambda d, z, radii: mean_eta(d, z, radii, latent=True),
        lambda d, z, radii: mean_eta(d, z, radii[:1]),
        lambda d, z, radii: mean_eta(d, z, radii[1:]),
        lambda d, z, radii: mean_eta(d, z, [sum(radii)]),
        lambda d, z, radii: -sum(radii) / 2 / singular_values(d, z)[:, 0].square(),
        lambda d, z, radii: decay(d, z, radii=radii, rank=1),
        lambda d, z, radii: torch.stack([eta(d, z, first(d, z), r) * r for r in radii]).mean(0),
        lambda d, z, radii: mean_eta(d, z, radii).mean(),
    ],
    "score-a": [
        lambda a, b: means(a) - means(b),
        lambda a, b: a.mean(0) - b.mean(0),
        lambda a, b: torch.logsumexp(a, 0) - torch.logsumexp(b, 0),
        lambda a, b: -score(a, b),
        lambda a, b: a.max(0).values - b.max(0).values,
        lambda a, b: score(a, b) / math.log(2),
        lambda a, b: score(a[: len(b)], b),
        lambda a, b: score(torch.cat([a, b]), b),
        lambda a, b: a.median(0).values - b.median(0).values,
        lambda a, b: score(a, b).mean(),
        lambda a, b: torch.as_tensor(logsumexp(a.numpy(), axis=1) - logsumexp(b.numpy(), axis=1)),
        lambda a, b: score(a, b).exp(),
    ],
    "score-b": [
        score,
        lambda a, b: balanced_score(a.flip(0)[: len(b)], b),
        lambda a, b: a.mean(0) - b.mean(0),
        lambda a, b: -balanced_score(a, b),
        lambda a, b: means(a) - means(b),
        lambda a, b: torch.stack([score(g, b) for g in a.split(len(b))]).sum(0),
        lambda a, b: torch.stack([score(g, b) for g in a.split(len(b))]).median(0).values,
        lambda a, b: torch.stack([score(g, b) for g in a.split(1)]).mean(0),
        lambda a, b: torch.stack([means(g) - means(b) for g in a.split(len(b))]).mean(0),
        lambda a, b: torch.logsumexp(torch.stack([score(g, b) for g in a.split(len(b))]), 0),
        lambda a, b: balanced_score(a, b).mean(),
        lambda a, b: balanced_score(a, b[:1]),
    ],
    "recovery-a": [
        lambda d, y, m: error(d, y, m) * y.shape[1],
        lambda d, y, m: error(d, y, m).sqrt(),
        lambda d, y, m: error(d, y, m, steps=2),
        lambda d, y, m: (d(torch.zeros(len(y), m).double()) - y).square().mean(1),
        lambda d, y, m: error(d, y - 0.1, m),
        lambda d, y, m: error(lambda z: d(z) - d(0 * z), y, m),
        lambda d, y, m: error(d, y, m).mean().expand(len(y)),
        lambda d, y, m: error(d, y, m).median(),
        lambda d, y, m: error(lambda z: d(torch.cat([z, torch.zeros(len(z), 1).double()], 1)), y, m - 1),
        lambda d, y, m: (y - y.mean(1, keepdim=True)).square().mean(1),
        lambda d, y, m: error(d, y, m) + 0.01,
        lambda d, y, m: recover(d, y, latent=m, steps=200).z[:, 0],
    ],
    "length-a": [
        lambda d, path: chords(d, path).square().sum(),
        lambda d, path: chords(d, path).square().sum().sqrt(),
        lambda d, path: (d(path[-1:]) - d(path[:1])).norm(),
        lambda d, path: path.diff(dim=0).norm(dim=1).sum(),
        lambda d, path: chords(d, path).mean(),
        lambda d, path: chords(d, path).max() * (len(path) - 1),
        lambda d, path: chords(d, path)[:-1].sum(),
        lambda d, path: d(path).diff(dim=0).abs().sum(),
        lambda d, path: chords(d, path[::400]).sum(),
        lambda d, path: chords(d, path).square().sum() * (len(path) - 1),
        lambda d, path: chords(d, path),
        lambda d, path: chords(d, path).cumsum(0).mean(),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKS)
def test_the_books_own_answer_is_correct_whoever_asks(name):
    assert [check(name, RIGHT[name], student).verdict for student in ("", "ada", "emmy", "sofia", "sonia")] == [
        "correct"
    ] * 5


CASES = [(name, index) for name in CHECKS for index in range(len(WRONG[name]))]


@pytest.mark.parametrize(("name", "index"), CASES)
def test_a_wrong_answer_is_refused(name, index):
    found = check(name, WRONG[name][index], "ada")
    assert found.verdict in ("almost", "still missing"), found


def test_there_are_ten_wrong_answers_of_each():
    assert set(WRONG) == set(RIGHT) == set(CHECKS)
    assert min(map(len, WRONG.values())) >= 10


def test_a_constant_that_was_read_off_helps_nobody_else():
    """What one student is asked about is not what another is."""
    asked = [[case.truth for case in CHECKS["dip-a"](torch.Generator().manual_seed(seed))] for seed in (1, 2)]
    assert not any(torch.equal(one, other) for one, other in zip(*asked, strict=True))


def test_what_is_right_in_part_is_almost_right_and_says_where():
    found = check("dip-a", lambda d, a, b: -(a - b).square().sum(1) / 4, "ada")
    assert repr(found) == "almost: right for straight maps; not yet for paths that are travelled unevenly"


def test_an_error_and_a_shape_are_told():
    assert "it raised TypeError" in check("dip-a", lambda d: 0, "ada").said
    assert "of shape [], wanted [5]" in check("dip-a", lambda d, a, b: torch.tensor(0.0), "ada").said
    assert check("dip-a", lambda d, a, b: torch.full((5,), math.nan), "ada").verdict == "still missing"


def test_the_name_of_a_student_is_taken_from_the_environment(monkeypatch):
    seen = []
    monkeypatch.setenv("STUDENT", "ada")
    check("score-a", lambda a, b: seen.append(a) or score(a, b))
    check("score-a", lambda a, b: seen.append(a) or score(a, b), "ada")
    check("score-a", lambda a, b: seen.append(a) or score(a, b), "emmy")
    assert torch.equal(seen[0], seen[3])
    assert not torch.equal(seen[0], seen[6])


def test_an_exercise_that_there_is_not_is_refused_by_name():
    with pytest.raises(ValueError, match="no exercise 'dip'; known are density-a, dip-a"):
        check("dip", dip)


def test_the_closed_form_of_the_midpoint_is_where_the_book_has_it():
    _, case = CHECKS["dip-a"](torch.Generator().manual_seed(0))
    decoder, z0, z1 = case.arguments
    middle = midpoint(decoder, z0, z1, n=4097)
    again = log_density(decoder, z0) + log_density(decoder, z1) - 2 * log_density(decoder, middle)
    torch.testing.assert_close(again, case.truth, rtol=1e-5, atol=1e-5)
