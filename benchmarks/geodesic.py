"""The cost of the metric of a stochastic decoder, and of shortest paths in it: ours, one at a time, and stochman's.

Run ``python -m benchmarks.geodesic --help``; with ``OMP_NUM_THREADS=1`` for one thread. The network is untrained.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import click
import torch
from torch import Tensor, nn

from lib.measures import geodesic
from lib.measures.axes import Decoder
from lib.models.stochastic import Precision, StochasticVAE

LOOPED = 2
"""points of the loop, which takes seconds for them already"""
ALONE = 8
"""pairs of all but our own batch"""
N = 33
"""points of a path"""


class Row(NamedTuple):
    """One way of doing the same work."""

    method: str
    milliseconds: float
    """per 1,000 points, or per path"""
    times_ours: float
    against_ours: tuple[float, ...]
    """largest relative difference of the metrics; or median, least and most of the paths' lengths over ours"""
    converged: float = torch.nan
    """share of the paths"""


def network(latent: int, *, side: int = 28, width: int = 32, centres: int = 64) -> StochasticVAE:
    """A network whose deviation grows away from centres scattered as its latents are, so that shortest paths bend."""
    torch.manual_seed(0)
    variance = Precision(side * side, latent, centres, least_precision=0.1, floor=0.0)
    variance.centres.normal_()
    variance.sharpness.fill_(2 / latent)  # wider bumps for the larger distances among more latents
    nn.init.normal_(variance.log_weights)
    return StochasticVAE((side, side), latent, width, variance).eval().requires_grad_(False)


@torch.no_grad()
def metrics(model: StochasticVAE, z: Tensor, rival: object | None, *, repeats: int = 5) -> list[Row]:
    """Compare the expected metrics, then time all ways in turn, ``repeats`` times, and keep the fastest of each.

    The floor is one more pass of the decoder than there are latents, with no differentiation.
    """
    decoder = geodesic.stacked(model.generate, model.deviation)

    def floor() -> Tensor:
        for _ in range(z.shape[1] + 1):
            decoder(z)
        return z.new_full((1, 1, 1), torch.nan)

    ways: dict[str, tuple[Callable[[], Tensor], int]] = {
        "`metric` (ours)": (lambda: geodesic.metric(decoder, z), len(z)),
        f"the floor: {z.shape[1] + 1} passes of the decoder": (floor, len(z)),
        "`torch.autograd.functional.jacobian`, a point at a time": (lambda: _loop(decoder, z[:LOOPED]), LOOPED),
        "the same with `vectorize=True`": (lambda: _loop(decoder, z[:LOOPED], vectorize=True), LOOPED),
    }
    if rival is not None:
        ways["`stochman`, the same network in its layers"] = (lambda: rival.metric(z), len(z))
    ours, differences = geodesic.metric(decoder, z), []
    for way, count in ways.values():  # the first call pays for allocations, too
        size = ours[:count].norm(dim=(1, 2))
        differences.append(float(((way() - ours[:count]).norm(dim=(1, 2)) / size).max()))
    seconds = _fastest(ways, repeats)
    least = next(iter(seconds.values()))
    return [
        Row(name, 1e6 * each, each / least, (difference,))
        for (name, each), difference in zip(seconds.items(), differences, strict=True)
    ]


def paths(model: StochasticVAE, z0: Tensor, z1: Tensor, rival: object | None, *, repeats: int = 3) -> list[Row]:
    """Time shortest paths in all ways in turn, and compare what they find.

    All curves are taken at ``N`` points, and their lengths at eight times as many, on the lines between those.
    """
    decoder = geodesic.stacked(model.generate, model.deviation)
    some = list(zip(z0[:ALONE, None], z1[:ALONE, None], strict=True))
    results: dict[str, tuple[Tensor, Tensor]] = {}

    def ours(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        path = geodesic.shortest_path(decoder, a, b, n=N)
        return path.z, path.converged

    def theirs(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        curve, success = rival.connecting_geodesic(a, b)
        return curve(torch.linspace(0, 1, N)).detach().reshape(len(a), N, -1), success.expand(len(a))

    def keep(name: str, solve: Callable, pairs: list[tuple[Tensor, Tensor]]) -> tuple[Callable[[], None], int]:
        def run() -> None:
            z, converged = zip(*(solve(*pair) for pair in pairs), strict=True)
            results[name] = torch.cat(z), torch.cat(converged)

        return run, sum(len(a) for a, _ in pairs)

    work = {
        "`shortest_path`, all side by side (ours)": (ours, [(z0, z1)]),
        "`shortest_path`, one at a time": (ours, some),
    }
    if rival is not None:
        work[f"`stochman`, {ALONE} side by side"] = (theirs, [(z0[:ALONE], z1[:ALONE])])
        work["`stochman`, one at a time"] = (theirs, some)
    seconds = _fastest({name: keep(name, *each) for name, each in work.items()}, repeats)
    seconds["the straight lines"] = torch.nan
    results["the straight lines"] = geodesic.straight(z0, z1, N), torch.tensor([torch.nan])
    least, yardstick, rows = next(iter(seconds.values())), None, []
    for name, each in seconds.items():
        z, converged = results[name]
        length = geodesic.curve_length(decoder, _finer(z))
        yardstick = length if yardstick is None else yardstick
        ratio = length / yardstick[: len(length)]
        against = (float(ratio.median()), float(ratio.min()), float(ratio.max()))
        rows.append(Row(name, 1e3 * each, each / least, against, float(converged.double().mean())))
    return rows


def in_stochman(model: StochasticVAE) -> object:
    """The same network as one of stochman's manifolds, in its layers, which carry their Jacobian along.

    Of radial basis functions it has none: these follow its protocol. Nor can it add a constant: the floor must be zero.
    """
    from stochman import nnj
    from stochman.manifold import EmbeddedManifold

    class Bumps(nnj.AbstractJacobian, nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return (-variance.sharpness * (z[:, None] - variance.centres).square().sum(2)).exp()

        def _jacobian_wrt_input_mult_left_vec(self, z: Tensor, near: Tensor, jacobian: Tensor) -> Tensor:
            return (-2 * variance.sharpness * near)[:, :, None] * (z[:, None] - variance.centres) @ jacobian

    class Stacked(EmbeddedManifold):
        def embed(self, points: Tensor, jacobian: bool = False) -> Tensor | list[Tensor]:
            if jacobian:
                pairs = mean(points, jacobian=True), deviation(points, jacobian=True)
                return [torch.cat(column, 1) for column in zip(*pairs, strict=True)]
            flat = points.flatten(0, -2)
            return torch.cat([mean(flat), deviation(flat)], 1).unflatten(0, points.shape[:-1])

    def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Module:
        layer = nnj.Linear(*weight.shape, bias=bias is not None)
        layer.weight.data = weight.T.contiguous()
        if bias is not None:
            layer.bias.data = bias
        return layer.requires_grad_(False)

    variance = model.variance
    layers = [nnj.Tanh() if isinstance(layer, nn.Tanh) else linear(layer.weight, layer.bias) for layer in model.mean[0]]
    mean = nnj.Sequential(*layers, nnj.Sigmoid())
    precision = linear(variance.log_weights.exp())
    deviation = nnj.Sequential(Bumps(), precision, nnj.Reciprocal(variance.least_precision), nnj.Sqrt())
    return Stacked()


def _loop(decoder: Decoder, z: Tensor, *, vectorize: bool = False) -> Tensor:
    def one(point: Tensor) -> Tensor:
        return decoder(point[None])[0]

    found = [torch.autograd.functional.jacobian(one, point, vectorize=vectorize) for point in z]
    return torch.stack([jacobian.T @ jacobian for jacobian in found])


def _finer(z: Tensor) -> Tensor:
    return nn.functional.interpolate(z.mT, 8 * (N - 1) + 1, mode="linear", align_corners=True).mT


def _fastest(ways: dict[str, tuple[Callable, int]], repeats: int) -> dict[str, float]:
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(repeats):
        for name, (way, count) in ways.items():
            started = time.perf_counter()
            way()
            best[name] = min(best[name], (time.perf_counter() - started) / count)
    return best


@click.command()
@click.option("--points", default=1000, show_default=True, help="Points of the metric.")
@click.option("--pairs", default=256, show_default=True, help="Pairs to find shortest paths between.")
@click.option("--latent", default=2, show_default=True, help="Latents of the paths.")
def main(points: int, pairs: int, latent: int) -> None:
    """Print both tables.

    Example: python -m benchmarks.geodesic --pairs 64
    """
    convert = in_stochman
    try:
        convert(network(2))
    except ImportError as error:
        click.echo(f"Without stochman, which `pip install --no-deps stochman` brings: {error}\n")
        convert = lambda _: None  # noqa: E731
    click.echo(f"{points} points, {torch.get_num_threads()} threads; a point at a time: {LOOPED}, scaled\n")
    click.echo("| latents | method | ms per 1,000 points | times ours | difference |\n|---:|---|---:|---:|---:|")
    for size in (2, 4, 8, 16):
        model = network(size)
        for r in metrics(model, torch.randn(points, size), convert(model)):
            click.echo(f"| {size} | {r.method} | {r.milliseconds:.3g} | {r.times_ours:.3g} | {r.against_ours[0]:.1g} |")
    click.echo(f"\n{pairs} pairs of {latent} latents; one at a time, and stochman: {ALONE} of them, scaled\n")
    click.echo("| pixels | method | ms per path | times ours | length over ours: median, least, most | converged |")
    click.echo("|---:|---|---:|---:|---:|---:|")
    for side in (28, 4):  # with few pixels, the time goes into all that is not arithmetic
        model = network(latent, side=side)
        for r in paths(model, *torch.randn(2, pairs, latent), convert(model)):
            ratios = ", ".join(f"{ratio:.5f}" for ratio in r.against_ours)
            click.echo(
                f"| {side**2} | {r.method} | {r.milliseconds:.3g} | {r.times_ours:.3g} | {ratios} | {r.converged:.0%} |"
            )


if __name__ == "__main__":
    main()
