"""The cost of a flow's log density: our exact one, one point at a time, and Hutchinson's estimate at equal error.

Run ``python -m benchmarks.flows --help``.
"""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import click
import torch
from torch import Tensor

from lib.measures.density import log_density, log_prior
from lib.measures.flow_density import divergence_sum, hutchinson
from lib.measures.flows import Velocity, sampler
from lib.models.draws import seeded
from lib.models.flows import VelocityNetwork

TARGET = 0.1
"""nats: at this error an estimate stands beside what is exact"""


class Row(NamedTuple):
    """One way to the log density."""

    method: str
    milliseconds: float
    """per point"""
    times_ours: float
    error: float
    """nats: from rounding for what is exact, from probes for what is estimated"""
    off: float
    """root mean square difference from ours, nats; the integral's own error of the steps is in that of the estimates"""


def compare(velocity: Velocity, z: Tensor, steps: int, *, probes: int, repeats: int = 3, alone: int = 2) -> list[Row]:
    """Time all ways in turn, ``repeats`` times, and keep the fastest of each.

    One point at a time is ``torch.autograd.functional.jacobian``, backward and forward, on the first ``alone`` points,
    scaled to all. Hutchinson's estimate has ``probes`` probes for each point. Two of its costs are extrapolated, since
    the error falls with the square root of the number of probes, and the time grows with it: for the error that the
    steps leave between the divergence's integral and the sampler's density anyway, and for :data:`TARGET`.
    """
    decoder, part = sampler(velocity, steps), z[:alone]
    rng = torch.Generator(z.device).manual_seed(0)
    work: dict[str, tuple[Callable[[], Tensor], int]] = {
        "`log_density` (ours, forward, chunked)": (lambda: log_density(decoder, z), len(z)),
        "`autograd.functional.jacobian`, one at a time": (lambda: _alone(decoder, part, "reverse-mode"), len(part)),
        "the same, forward and vectorised": (lambda: _alone(decoder, part, "forward-mode"), len(part)),
        "all divergences, exactly": (lambda: log_prior(part) - divergence_sum(velocity, part, steps), len(part)),
        f"Hutchinson, {probes} probes": (lambda: hutchinson(velocity, z, steps, probes, rng=rng).log_p, len(z)),
    }
    best, found = dict.fromkeys(work, math.inf), {}
    for _ in range(repeats):
        for name, (call, count) in work.items():
            started = time.perf_counter()
            found[name] = call()
            if z.device.type != "cpu":
                torch.accelerator.synchronize()
            best[name] = min(best[name], (time.perf_counter() - started) / count)
    ours, *others = found
    spread = _spread(velocity, z, steps, probes, rng)
    rows = [
        Row(
            name, 1e3 * best[name], best[name] / best[ours], spread if "Hutch" in name else 0.0, _off(found, name, ours)
        )
        for name in (ours, *others)
    ]
    discretisation = next(row.off for row in rows if row.method.startswith("all div"))
    for error, name in ((discretisation, "the error of the steps"), (TARGET, f"{TARGET} nats")):
        factor = (spread / error) ** 2
        seconds = best[f"Hutchinson, {probes} probes"] * factor
        label = f"Hutchinson at {name}: {math.ceil(probes * factor):,} probes, extrapolated"
        rows.append(Row(label, 1e3 * seconds, seconds / best[ours], error, math.nan))
    return rows


def markdown(rows: list[Row]) -> str:
    """The table."""
    lines = [
        "| method | ms per point | times ours | standard error, nats | off ours, nats |",
        "|---|---:|---:|---:|---:|",
    ]
    return "\n".join(
        lines
        + [f"| {r.method} | {r.milliseconds:.3g} | {r.times_ours:.3g} | {r.error:.3g} | {r.off:.3g} |" for r in rows]
    )


def _off(found: dict[str, Tensor], name: str, ours: str) -> float:
    return float((found[name] - found[ours][: len(found[name])]).square().mean().sqrt())


def _spread(velocity: Velocity, z: Tensor, steps: int, probes: int, rng: torch.Generator) -> float:
    return float(hutchinson(velocity, z, steps, max(probes, 2), rng=rng).standard_error.square().mean().sqrt())


def _alone(decoder: Callable, z: Tensor, strategy: str) -> Tensor:
    vectorised = strategy == "forward-mode"
    found = []
    for point in z:
        matrix = torch.autograd.functional.jacobian(
            lambda x: decoder(x[None])[0], point, vectorize=vectorised, strategy=strategy
        )
        found.append(log_prior(point[None])[0] - torch.linalg.slogdet(matrix.double())[1])
    return torch.stack(found)


@click.command()
@click.option("--points", default=20, show_default=True, help="Points side by side.")
@click.option("--side", default=14, show_default=True, help="Height and width of an image.")
@click.option("--width", default=256, show_default=True, help="Units of the hidden layers.")
@click.option("--steps", default=16, show_default=True, help="Steps of the sampler.")
@click.option("--probes", default=16, show_default=True, help="Probes of Hutchinson's estimate for each point.")
@click.option("--device", default="cpu", show_default=True, help="Where to run.")
def main(points: int, side: int, width: int, steps: int, probes: int, device: str) -> None:
    """Print the table, for a network that is not trained: the cost is that of any.

    Example: python -m benchmarks.flows --side 28
    """
    network = seeded(lambda: VelocityNetwork(side * side, width, 2, 0.05), 0).to(device).requires_grad_(False)
    z = torch.randn(points, side * side, generator=torch.Generator().manual_seed(0)).to(device)
    click.echo(markdown(compare(network, z, steps, probes=probes)))


if __name__ == "__main__":
    main()
