"""Exercises that check themselves: a function of yours, on maps whose answer is known in closed form.

The maps are drawn from a seed that is made of the student's name, so no two students see the same numbers, and the
closed forms below hold for these maps alone: to be right on all of them, a function has to do what was asked. ::

    from lib.study.exercises import check

    check("dip-a", my_dip)
"""

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

POINTS = 5
"""in every case"""
TAU = math.log(2 * math.pi)


class Case(NamedTuple):
    """One question to a function."""

    what: str
    """what it is about, as the student is told"""
    arguments: tuple
    truth: Tensor
    tolerance: float = 1e-6
    """largest difference, absolute where the truth is below one, otherwise relative"""


class Found(NamedTuple):
    """What a check found; a notebook shows it in words."""

    verdict: str
    """``correct``, ``almost`` or ``still missing``"""
    said: str

    def __repr__(self) -> str:
        """In words."""
        return f"{self.verdict}: {self.said}"


def check(name: str, function: Callable, student: str | None = None) -> Found:
    """Whether a function does what an exercise asks.

    Args:
        name: the exercise, a key of :data:`CHECKS`; the section says what the function takes and returns.
        function: yours.
        student: decides the numbers; by default what the environment has as ``STUDENT``, and nothing if it has none.

    Returns:
        *correct*, *almost* (right in some cases) or *still missing*, and in which cases.

    Raises:
        ValueError: an exercise that there is not.

    Example:
        >>> check("score-a", lambda log_p_in, log_p_out: log_p_in.mean(0) - log_p_out.mean(0), "ada")
        still missing: not yet for equal numbers of models, unequal numbers of models, probabilities near zero
    """
    if name not in CHECKS:
        raise ValueError(f"there is no exercise {name!r}; known are {', '.join(CHECKS)}")
    student = os.environ.get("STUDENT", "") if student is None else student
    seed = int.from_bytes(hashlib.sha256(f"{name} {student}".encode()).digest()[:6])
    cases = CHECKS[name](torch.Generator().manual_seed(seed))
    wrong = {case.what: trouble for case in cases if (trouble := _trouble(function, case)) is not None}
    right = [case.what for case in cases if case.what not in wrong]
    if not wrong:
        return Found("correct", ", ".join(right))
    missing = ", ".join(f"{what}{trouble}" for what, trouble in wrong.items())
    if right:
        return Found("almost", f"right for {', '.join(right)}; not yet for {missing}")
    return Found("still missing", f"not yet for {missing}")


def _trouble(function: Callable, case: Case) -> str | None:
    """None if an answer is right; otherwise what is to be said after the name of the case, which may be nothing."""
    try:
        answer = function(*case.arguments)
        found = torch.as_tensor(answer, dtype=torch.float64).detach()
    except Exception as error:  # whatever a student's code may raise, the message is what helps
        return f" (it raised {type(error).__name__}: {error})"
    if found.shape != case.truth.shape:
        return f" (of shape {list(found.shape)}, wanted {list(case.truth.shape)})"
    allowed = case.tolerance * case.truth.abs().clamp(min=1)
    right = (found - case.truth).abs() <= allowed  # false for NaN
    return None if right.all() else ""


def _uniform(rng: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    return low + (high - low) * torch.rand(*shape, generator=rng, dtype=torch.float64)


def _normal(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def _straight(rng: torch.Generator, pixels: int = 7, latent: int = 3) -> tuple[Callable, Tensor]:
    """A random affine map, and its matrix."""
    a, b = _normal(rng, pixels, latent), _normal(rng, pixels)
    return (lambda z: z @ a.T + b), a


def _uneven(rng: torch.Generator) -> tuple[Callable, tuple[float, float, float]]:
    """A map of two latents onto a sphere, with the three numbers that decide it: rate, slope and radius.

    The first latent runs along a meridian and has travelled sinh(rate z) / rate, so its singular value is cosh(rate z),
    at least one; the second runs round, at right angles, with the smaller singular value slope sin(polar angle).
    """
    rate, slope, radius = (_uniform(rng, *ends, 1).item() for ends in ((0.8, 1.2), (0.3, 0.7), (5.0, 7.0)))

    def decoder(z: Tensor) -> Tensor:
        polar, round_ = _polar(z, rate, radius), slope / radius * z[:, 1]
        flat = [polar.sin() * round_.cos(), polar.sin() * round_.sin(), polar.cos()]
        return radius * torch.stack(flat, dim=1)

    return decoder, (rate, slope, radius)


def _polar(z: Tensor, rate: float, radius: float) -> Tensor:
    return 1 + torch.sinh(rate * z[:, 0]) / rate / radius


def _uneven_log_density(z: Tensor, rate: float, slope: float, radius: float) -> Tensor:
    volume = torch.cosh(rate * z[:, 0]).log() + (slope * _polar(z, rate, radius).sin()).log()
    return -z.square().sum(1) / 2 - TAU - volume


def _moved(z: Tensor, way: Tensor | float, rate: float) -> Tensor:
    """Latents of the uneven map whose images lie further along the meridian by some lengths."""
    first = torch.asinh(torch.sinh(rate * z[:, 0]) + rate * way) / rate
    return torch.stack([first, z[:, 1]], dim=1)


def _density(rng: torch.Generator) -> list[Case]:
    straight, a = _straight(rng)
    z, line = _normal(rng, POINTS, 3), _normal(rng, POINTS, 1)
    cubic, radius = (_uniform(rng, *ends, 1).item() for ends in ((0.5, 2.0), (0.5, 2.0)))
    on_plane = -z.square().sum(1) / 2 - 1.5 * TAU - torch.logdet(a.T @ a) / 2
    on_curve = -line[:, 0].square() / 2 - TAU / 2 - (1 + 9 * cubic**2 * line[:, 0] ** 4).log() / 2
    angles = _uniform(rng, 0.4, 2.7, POINTS, 2)
    on_sphere = -angles.square().sum(1) / 2 - TAU - 2 * math.log(radius) - angles[:, 0].sin().log()

    def sphere(z: Tensor) -> Tensor:
        polar, azimuth = z.unbind(1)
        flat = [polar.sin() * azimuth.cos(), polar.sin() * azimuth.sin(), polar.cos()]
        return radius * torch.stack(flat, dim=1)

    return [
        Case("straight maps", (straight, z), on_plane),
        Case("curves", (lambda z: torch.cat([z, cubic * z**3], dim=1), line), on_curve),
        Case("surfaces", (sphere, angles), on_sphere),
    ]


def _dip(rng: torch.Generator) -> list[Case]:
    straight, _ = _straight(rng)
    z0, z1 = _normal(rng, 2, POINTS, 3)
    decoder, shape = _uneven(rng)
    side = _uniform(rng, -1.0, 1.0, POINTS)
    start, end = (torch.stack([_uniform(rng, *ends, POINTS), side], dim=1) for ends in ((-0.6, -0.1), (1.2, 1.8)))
    rate, _, radius = shape
    half = (_polar(end, rate, radius) - _polar(start, rate, radius)) * radius / 2
    log_p = [_uneven_log_density(each, *shape) for each in (start, end, _moved(start, half, rate))]
    return [
        Case("straight maps", (straight, z0, z1), -(z0 - z1).square().sum(1) / 4, 1e-3),
        Case("paths that are travelled unevenly", (decoder, start, end), log_p[0] + log_p[1] - 2 * log_p[2], 0.01),
    ]


def _second_difference(z: Tensor, way: float, shape: tuple[float, float, float]) -> Tensor:
    """The decay of the uneven map along its meridian."""
    ends = [_uneven_log_density(_moved(z, step, shape[0]), *shape) for step in (-way, way)]
    return (ends[0] + ends[1] - 2 * _uneven_log_density(z, *shape)) / way


def _decay_in_a_direction(rng: torch.Generator) -> list[Case]:
    straight, a = _straight(rng)
    z, v = _normal(rng, POINTS, 3), torch.nn.functional.normalize(_normal(rng, POINTS, 3), dim=1)
    radius = _uniform(rng, 0.4, 1.2, 1).item()
    decoder, shape = _uneven(rng)
    places, along = _uniform(rng, -1.0, 1.0, POINTS, 2), torch.tensor([[1.0, 0.0]]).double().expand(POINTS, 2)
    curved = _second_difference(places, radius, shape)
    return [
        Case("straight maps", (straight, z, v, radius), -radius / (v @ a.T).square().sum(1), 5e-3),
        Case("paths that are travelled unevenly", (decoder, places, along, radius), curved, 5e-3),
    ]


def _decay(rng: torch.Generator) -> list[Case]:
    straight, a = _straight(rng)
    z, places = _normal(rng, POINTS, 3), _uniform(rng, -1.0, 1.0, POINTS, 2)
    radii = _uniform(rng, 0.4, 1.2, 2).tolist()
    decoder, shape = _uneven(rng)
    plain = -sum(radii) / len(radii) / torch.linalg.svdvals(a)[0].square()
    curved = torch.stack([_second_difference(places, radius, shape) for radius in radii]).mean(0)
    return [
        Case("straight maps", (straight, z, radii), plain.expand(POINTS), 5e-3),
        Case("paths that are travelled unevenly", (decoder, places, radii), curved, 5e-3),
    ]


def _models(rng: torch.Generator, models: int, level: float) -> tuple[Tensor, Tensor]:
    """Log probabilities of images under some models, and the relative probabilities that they were made of."""
    shares = _uniform(rng, 0.01, 1.0, models, POINTS)
    return level + shares.log(), shares


def _score(rng: torch.Generator) -> list[Case]:
    def case(what: str, inside: int, outside: int, level: float) -> Case:
        (log_in, share_in), (log_out, share_out) = _models(rng, inside, level + 3), _models(rng, outside, level)
        return Case(what, (log_in, log_out), 3 + (share_in.mean(0) / share_out.mean(0)).log())

    return [
        case("equal numbers of models", 4, 4, -9.0),
        case("unequal numbers of models", 8, 2, -9.0),
        case("probabilities near zero", 8, 2, -2000.0),
    ]


def _balanced(rng: torch.Generator) -> list[Case]:
    def case(what: str, groups: int, outside: int, level: float) -> Case:
        (log_in, share_in), (log_out, share_out) = (
            _models(rng, groups * outside, level + 3),
            _models(rng, outside, level),
        )
        means = [group.mean(0).log() for group in share_in.split(outside)]
        return Case(what, (log_in, log_out), 3 + sum(means) / groups - share_out.mean(0).log())

    return [
        case("one group of models", 1, 4, -9.0),
        case("several groups of models", 3, 2, -9.0),
        case("probabilities near zero", 3, 2, -2000.0),
    ]


def _recovery(rng: torch.Generator) -> list[Case]:
    straight, a = _straight(rng, pixels=12, latent=3)
    y = 2 * _normal(rng, POINTS, 12)
    basis = torch.linalg.qr(a).Q
    rest = y - straight(torch.zeros(1, 3).double())
    residual = (rest - rest @ basis @ basis.T).square().mean(1)

    def bent(z: Tensor) -> Tensor:
        return straight(z + 0.3 * z.sin())

    made = bent(_normal(rng, POINTS, 3))
    return [
        Case("images that a straight map cannot make", (straight, y, 3), residual, 1e-3),
        Case("images that a bent map has made", (bent, made, 3), torch.zeros(POINTS).double(), 1e-4),
    ]


def _length(rng: torch.Generator) -> list[Case]:
    straight, a = _straight(rng)
    z0, z1 = _normal(rng, 2, 3)
    t = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None]
    radius, pitch, turns = _uniform(rng, 1.5, 3.0, 3).tolist()

    def spiral(z: Tensor) -> Tensor:
        return torch.cat([radius * z.cos(), radius * z.sin(), pitch * z], dim=1)

    there = turns * t
    back = torch.cat([there, there.flip(0)[1:]])
    way = torch.tensor(turns * math.hypot(radius, pitch), dtype=torch.float64)
    return [
        Case("straight lines", (straight, z0 + t * (z1 - z0)), (a @ (z1 - z0)).norm(), 1e-4),
        Case("spirals, unevenly sampled", (spiral, turns * t**2), way, 1e-4),
        Case("ways there and back", (spiral, back), 2 * way, 1e-4),
    ]


Cases = Callable[[torch.Generator], Sequence[Case]]
CHECKS: dict[str, Cases] = {
    "density-a": _density,
    "dip-a": _dip,
    "decay-a": _decay_in_a_direction,
    "decay-b": _decay,
    "score-a": _score,
    "score-b": _balanced,
    "recovery-a": _recovery,
    "length-a": _length,
}
"""exercises by name, each with its cases"""
