"""The cost of latent recovery: all images at once, one at a time with torch's L-BFGS, and the passes alone.

Run ``python -m benchmarks.recovery --help``.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import click
import torch
from torch import Tensor, nn

from lib.measures.recovery import recover
from lib.models import data
from lib.models.fit import fit
from lib.models.generative import Generative


class Row(NamedTuple):
    """One way of doing the same searches."""

    method: str
    milliseconds: float
    """per image"""
    times_the_floor: float
    median_error: float
    """over the same images for all, mean squared error per value; NaN for the floor, which searches for nothing"""


def compare(
    decoder: nn.Module, y: Tensor, *, latent: int, scale: float, steps: int = 50, repeats: int = 3
) -> list[Row]:
    """Time all ways in turn, ``repeats`` times, from the same starts, and keep the fastest of each.

    The floor is the forward and backward passes of our own searches, batch by batch, with nothing between them. One at
    a time is ``torch.optim.LBFGS`` with a strong Wolfe line search; and, as in the paper's public code, without any.
    Each has ``steps`` iterations; they run on an eighth of the images, and are scaled to all of them.
    """
    part = y[: max(1, len(y) // 8)]
    batches: list[int] = []

    def counted(z: Tensor) -> Tensor:
        batches.append(len(z))
        return decoder(z)

    def ours(generator: Callable = decoder) -> Tensor:
        draws = torch.Generator(y.device).manual_seed(0)
        return recover(generator, y, latent=latent, steps=steps, scale=scale, rng=draws).error

    starts = (
        scale * torch.randn(1, len(y), latent, generator=torch.Generator(y.device).manual_seed(0), device=y.device)[0]
    )
    ours(counted)
    passes = batches[1:-1]  # without the check of the shape and the errors at the end

    def floor() -> Tensor:
        for count in passes:
            z = starts[:count].requires_grad_()
            torch.autograd.grad((decoder(z) - y[:count]).square().sum(), z)
        return y.new_full((1,), torch.nan)

    work: dict[str, tuple[Callable[[], Tensor], int]] = {
        "the floor: forward and backward passes": (floor, len(y)),
        "`recover` (ours)": (ours, len(y)),
        "`torch.optim.LBFGS`, one at a time": (lambda: _alone(decoder, part, starts, steps, "strong_wolfe"), len(part)),
        "the same without a line search": (lambda: _alone(decoder, part, starts, steps, None), len(part)),
    }
    best = dict.fromkeys(work, float("inf"))
    errors = {}
    for _ in range(repeats):
        for name, (call, count) in work.items():
            started = time.perf_counter()
            errors[name] = float(call()[: len(part)].median())
            if y.device.type != "cpu":
                torch.accelerator.synchronize()
            best[name] = min(best[name], (time.perf_counter() - started) / count)
    least = next(iter(best.values()))
    return [Row(name, 1e3 * seconds, seconds / least, errors[name]) for name, seconds in best.items()]


def markdown(rows: list[Row]) -> str:
    """The table."""
    lines = ["| method | ms per image | times the floor | median error |", "|---|---:|---:|---:|"]
    return "\n".join(
        lines
        + [f"| {r.method} | {r.milliseconds:.3g} | {r.times_the_floor:.3g} | {r.median_error:.3g} |" for r in rows]
    )


def _alone(decoder: nn.Module, y: Tensor, starts: Tensor, steps: int, line_search: str | None) -> Tensor:
    errors = []
    for target, start in zip(y, starts, strict=False):
        z = start.detach().clone()[None].requires_grad_()
        optimizer = torch.optim.LBFGS(
            [z], max_iter=steps, max_eval=20 * steps, history_size=10, line_search_fn=line_search,
            tolerance_grad=0, tolerance_change=0,
        )  # fmt: skip

        def closure(z: Tensor = z, target: Tensor = target) -> Tensor:
            loss = (decoder(z)[0] - target).square().sum()
            (z.grad,) = torch.autograd.grad(loss, z)
            return loss

        optimizer.step(closure)
        with torch.no_grad():
            errors.append((decoder(z)[0] - target).square().mean())
    return torch.stack(errors)


@click.command()
@click.option("--images", default=256, show_default=True, help="Images searched for side by side.")
@click.option("--kind", default="glo", show_default=True, help="glo, ae, aegan, dcgan or mesch, fitted on MNIST.")
@click.option("--device", default="cpu", show_default=True, help="Where to run.")
def main(images: int, kind: str, device: str) -> None:
    """Print the table for held-out digits; the first time, the generator is fitted.

    Example: python -m benchmarks.recovery --kind dcgan
    """
    pool = data.hold_out(data.load("mnist"), images, seed=0)
    (fitted,) = fit([Generative(kind, 1024)], pool, device)
    scale = 0.1 * float((fitted.prior.loc.square() + fitted.prior.variance).mean().sqrt())
    click.echo(f"{images} images, {torch.get_num_threads()} threads\n")
    click.echo(markdown(compare(fitted.generator, pool.test.to(device), latent=fitted.spec.latent, scale=scale)))


if __name__ == "__main__":
    main()
