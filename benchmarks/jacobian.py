"""The cost of Jacobians: ours, batched central differences, and one point at a time.

Run ``python -m benchmarks.jacobian --help``. The section on the change of variables prints the same table.
"""

import resource
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import click
import torch
from torch import Tensor

from lib.measures.axes import Decoder
from lib.measures.density import log_density
from lib.measures.jacobian import central_difference, jacobian
from lib.models.convolutional import ConvVAE


class Row(NamedTuple):
    """One method."""

    method: str
    milliseconds_per_point: float
    times_the_yardstick: float


def compare(decoder: Decoder, z: Tensor, *, repeats: int = 3, loop_points: int = 4) -> list[Row]:
    """Time all methods in turn, ``repeats`` times, and keep the fastest of each.

    The yardstick is ``latent`` passes of the decoder over the same batch. The one-at-a-time loop runs ``loop_points``
    points once and is scaled to the batch.
    """
    latent = z.shape[1]
    rank = min(latent, 14)

    def passes() -> None:
        with torch.no_grad():
            for _ in range(latent):
                decoder(z)

    def differences() -> None:
        with torch.no_grad():
            central_difference(decoder, z, 1e-2)

    methods: dict[str, Callable] = {
        f"the yardstick: {latent} passes of the decoder": passes,
        "`jacobian` (forward mode, ours)": lambda: jacobian(decoder, z),
        f"`log_density` at rank {rank} (ours)": lambda: log_density(decoder, z, rank),
        "central differences, batched (the paper's method)": differences,
    }
    best = dict.fromkeys(methods, float("inf"))
    for method in methods.values():
        method()  # the first call pays for allocations
    for _ in range(repeats):
        for name, method in methods.items():
            best[name] = min(best[name], _seconds(method, z))
    loop = "`torch.autograd.functional.jacobian`, a point at a time"
    points = z[: min(loop_points, len(z))]
    best[loop] = _seconds(lambda: _loop(decoder, points), z) * len(z) / len(points)
    least = next(iter(best.values()))
    return [Row(name, 1e3 * seconds / len(z), seconds / least) for name, seconds in best.items()]


def markdown(rows: list[Row]) -> str:
    """The table."""
    lines = ["| method | ms per point | times the yardstick |", "|---|---:|---:|"]
    return "\n".join(lines + [f"| {name} | {time:.3g} | {ratio:.3g} |" for name, time, ratio in rows])


def _loop(decoder: Decoder, points: Tensor) -> None:
    for point in points:
        torch.autograd.functional.jacobian(lambda one: decoder(one[None]), point)


def _seconds(call: Callable, z: Tensor) -> float:
    started = time.perf_counter()
    call()
    if z.is_cuda:
        torch.accelerator.synchronize()
    return time.perf_counter() - started


@click.command()
@click.option("--points", default=64, show_default=True, help="Points in the batch.")
@click.option("--latent", default=100, show_default=True, help="Latents.")
@click.option("--width", default=16, show_default=True, help="Channels of the decoder.")
@click.option("--memory-points", default=10_000, show_default=True, help="Points of the memory check; 0 for none.")
def main(points: int, latent: int, width: int, memory_points: int) -> None:
    """Print the table, then the peak memory of log_density over many points.

    Example: python -m benchmarks.jacobian --points 64
    """
    torch.manual_seed(0)
    decoder = ConvVAE((1, 28, 28), latent, width, 256, 0.1).eval().requires_grad_(False).generate
    click.echo(markdown(compare(decoder, torch.randn(points, latent))))
    if memory_points:
        started = time.perf_counter()
        log_density(decoder, torch.randn(memory_points, latent), min(latent, 14))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        click.echo(
            f"log_density at {memory_points} points: {time.perf_counter() - started:.0f} s, "
            f"peak of the whole process {peak / 1e9:.2f} GB"
        )


if __name__ == "__main__":
    main()
