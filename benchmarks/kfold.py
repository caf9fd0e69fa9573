"""The cost of the K-fold score: training the folds together, and importance sampling; with a prediction for any size.

Run ``python -m benchmarks.kfold --help``. The section on the memorisation score predicts the
cost of the paper's sizes with it.
"""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import click
import torch
from torch import Tensor

from lib.measures.likelihood import log_evidence
from lib.models.ensemble import advance, assemble
from lib.models.kfold import KFold


class Row(NamedTuple):
    """One way of doing the same work."""

    method: str
    milliseconds: float
    times_the_floor: float


def training(spec: KFold, shape: tuple[int, ...], device: str, *, repeats: int = 10, steps: int = 3) -> list[Row]:
    """One optimiser step of every model: as an ensemble, one model after the other, and the matrix products alone.

    All in turn, ``repeats`` times; the fastest of each is kept. Milliseconds are per step and model. The floor is there
    for fully-connected networks only.
    """
    models, x, noise = _inputs(spec, shape, device)
    together = _trainer(models, x, noise)
    alone = [_trainer([model], x[i : i + 1], noise[i : i + 1], stacked=False) for i, model in enumerate(models)]
    work: dict[str, Callable] = {}
    if spec.network == "bernoulli":
        products = _products(models[0], spec)
        work["the floor: the matrix products of a step"] = lambda: [products() for _ in range(steps)]
    work[f"{spec.folds} models as one ensemble (ours)"] = lambda: [together() for _ in range(steps)]
    # A single model is trained for many steps at a time, as it would be: its weights then stay in the caches.
    work[f"{spec.folds} models, one after the other"] = lambda: [step() for step in alone for _ in range(steps)]
    return _rows(work, device, repeats, steps * spec.folds)


def sampling(spec: KFold, shape: tuple[int, ...], device: str, *, images: int = 256, repeats: int = 15) -> list[Row]:
    """Importance sampling against the passes of the decoder that it needs. Milliseconds are per 1,000 samples."""
    model = spec.build(shape, 0).to(device).eval().requires_grad_(False)
    x = spec.observed(torch.rand(images, *shape, device=device))
    rows = torch.randn(1024, spec.latent, device=device)
    passes = max(1, images * spec.samples // len(rows))

    def decode() -> None:
        for _ in range(passes):
            model.decoder(rows)

    generator = torch.Generator(device).manual_seed(0)
    work = {
        "the floor: the decoder's passes": decode,
        "`log_evidence` (ours)": lambda: log_evidence(
            model.encode, model.decode, x, passes * len(rows) // images, generator=generator
        ),
    }
    return _rows(work, device, repeats, passes * len(rows) / 1000)


def predict(spec: KFold, train: int, test: int, shape: tuple[int, ...], device: str) -> float:
    """Seconds that one repeat would take here, from a few steps of each kind.

    Args:
        spec: of the fits.
        train: images that are scored.
        test: images of the loss by epoch.
        shape: of an image.
        device: to time on.
    """
    step = _rows({"step": _trainer(*_inputs(spec, shape, device))}, device, 3, spec.folds)[0].milliseconds / 1e3
    sample = sampling(replace(spec, samples=16), shape, device, repeats=1)[-1].milliseconds / 1e6
    steps = max(1, (train - -(-train // spec.folds)) // spec.batch) + test / spec.batch / 3  # a third: forward only
    scored = len(range(spec.score_every, spec.epochs, spec.score_every)) + 1
    return spec.folds * (spec.epochs * steps * step + scored * train * spec.samples * sample)


def markdown(rows: list[Row], unit: str) -> str:
    """The table."""
    lines = [f"| method | {unit} | times the floor |", "|---|---:|---:|"]
    return "\n".join(lines + [f"| {row.method} | {row.milliseconds:.3g} | {row.times_the_floor:.3g} |" for row in rows])


def _inputs(spec: KFold, shape: tuple[int, ...], device: str) -> tuple[list, Tensor, Tensor]:
    """Untrained models, a batch of binary images and of noise for each."""
    models = [spec.build(shape, fold).to(device) for fold in range(spec.folds)]
    x = torch.rand(spec.folds, spec.batch, *shape, device=device).round()
    return models, x, torch.randn(spec.folds, spec.batch, spec.latent, device=device)


def _trainer(models: list, x: Tensor, noise: Tensor, *, stacked: bool = True) -> Callable:
    if stacked:
        ensemble = assemble(models)
        optimizer = torch.optim.Adam(ensemble.weights.values(), fused=True)
        return lambda: advance(ensemble, optimizer, x, noise)
    model = models[0]
    optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def step() -> None:
        loss = model(x[0], noise[0]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _products(model: torch.nn.Module, spec: KFold) -> Callable:
    """Forward, gradient of the weights and, but for the first layer, gradient of the inputs: batched over models."""
    weights = [w.detach() for name, w in model.named_parameters() if name.endswith("weight")]
    sizes = [(w.expand(spec.folds, *w.shape).contiguous(), w.shape) for w in weights]
    layers = [
        (w, w.new_ones(spec.folds, spec.batch, inputs), w.new_ones(spec.folds, spec.batch, outputs))
        for w, (inputs, outputs) in sizes
    ]

    def products() -> None:
        for index, (w, x, gradient) in enumerate(layers):
            torch.bmm(x, w)
            torch.bmm(x.mT, gradient)
            if index:
                torch.bmm(gradient, w.mT)

    return products


def _rows(work: dict[str, Callable], device: str, repeats: int, units: float) -> list[Row]:
    best = dict.fromkeys(work, float("inf"))
    for call in work.values():
        call()  # the first call pays for allocations
    for _ in range(repeats):
        for name, call in work.items():
            started = time.perf_counter()
            call()
            if torch.device(device).type != "cpu":
                torch.accelerator.synchronize()
            best[name] = min(best[name], time.perf_counter() - started)
    least = next(iter(best.values()))
    return [Row(name, 1e3 * seconds / units, seconds / least) for name, seconds in best.items()]


@click.command()
@click.option("--folds", default=10, show_default=True, help="Models in the ensemble.")
@click.option("--batch", default=64, show_default=True, help="Images per step and model.")
@click.option("--device", default="cpu", show_default=True, help="Where to run.")
def main(folds: int, batch: int, device: str) -> None:
    """Print both tables for the MNIST network of the paper, then the memory of importance sampling.

    Example: python -m benchmarks.kfold --folds 10
    """
    torch.manual_seed(0)
    spec, shape = KFold("bernoulli", images=0, folds=folds, batch=batch, pad=2, samples=64), (1, 32, 32)
    click.echo(f"{torch.get_num_threads()} threads\n")
    click.echo(markdown(training(spec, shape, device), "ms per step and model") + "\n")
    click.echo(markdown(sampling(spec, shape, device), "ms per 1,000 samples") + "\n")
    model = spec.build(shape, 0).to(device).eval()
    x = torch.rand(256, *shape, device=device).round()
    for samples in (16, 256, 1024):
        log_evidence(model.encode, model.decode, x, samples)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        click.echo(f"{samples} samples of 256 images: peak of the whole process {peak / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
