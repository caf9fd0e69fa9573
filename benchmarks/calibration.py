"""Are the p-values of an audit what they say? Shams, in which nothing was used and so nothing is there to be found.

Run ``python -m benchmarks.calibration --help``. A statistic that takes few values has ties, which make its p larger
than it need be. So p is shown as it is, for the alarms, and with ties broken at random, for the uniform distribution:
that alone can be uniform.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count, islice
from unittest import mock

import click
import numpy as np
import pandas as pd
import torch
from scipy.stats import kstest
from torch import Tensor
from tqdm import tqdm

from lib.measures.intervals import share
from lib.models import data
from lib.protocols import audit_controls, audit_models, audit_plateaus, audit_two_sides
from lib.protocols.audit import audit
from lib.protocols.audit_lists import lists
from lib.protocols.audit_results import LEVEL
from lib.protocols.audit_scores import NAMES, divisions, ranked, scores
from lib.protocols.exchangeable import separation

EXCHANGES = 19
"""of a sham: p is one of 20 values, and the smallest is the level"""
SIDE = 60
"""images of a side"""

Pairs = Iterator[dict[str, tuple[float, float]]]
"""of each sham, by test, p and the share of exchanges that are strictly more suspicious"""


def of_samples(images: Tensor, rng: np.random.Generator) -> Pairs:
    """The four tests of samples, and all of them together, of images that nothing was made of."""
    while True:
        held_out, samples = images[torch.from_numpy(rng.permutation(len(images))[: 3 * SIDE])].split(2 * SIDE)
        labels = torch.from_numpy(rng.permutation(2 * SIDE) < SIDE)
        divided = divisions(labels, EXCHANGES, rng=rng)
        members = lists(held_out, held_out, own=torch.arange(2 * SIDE))
        mean = scores(divided, lists(samples, held_out), members).double().mean(2, keepdim=True)
        true = torch.zeros(1, dtype=torch.int64)
        there, back = ranked(mean, true), ranked(-mean, true)
        found = {name: (p, 1 - q) for name, p, q in zip(NAMES, there.p[:, 0], back.p[:, 0], strict=True)}
        joint = float(there.joint[0])
        yield {**found, "samples, all together": (joint, joint - 1 / len(divided))}


def of_numbers(
    draw: Callable[[int], np.ndarray], statistic: audit_two_sides.Statistic, name: str, _: np.random.Generator
) -> Pairs:
    """The test of one number per image, of numbers that know no sides."""
    for sham in count():
        numbers = draw(2 * SIDE)
        there, back = (
            audit_two_sides.shams(numbers, each, seed=sham, count=1)[0][0]
            for each in (statistic, lambda *sides, axis=-1: -statistic(*sides, axis=axis))
        )
        yield {name: (there, 1 - back)}


def of_models(rng: np.random.Generator) -> Pairs:
    """The tests of several models, whose log p does not depend on what they were trained with."""
    for sham in count():
        folds = rng.permuted(np.tile(np.arange(6) % 2, (SIDE, 1)), axis=1).T
        log_p = torch.from_numpy(rng.normal(size=folds.shape) + rng.normal(size=SIDE))
        found = audit_models.measure(log_p, torch.from_numpy(folds == 1), seed=sham).findings
        yield {each.name: (each.p, each.p - 1 / (1 + EXCHANGES)) for each in found}


def of_sides(images: Tensor, rng: np.random.Generator) -> Pairs:
    """The classifier that tells training from held-out images."""
    while True:
        chosen = images[torch.from_numpy(rng.permutation(len(images))[: 2 * SIDE])].view(-1, 1, 28, 28)
        p = separation(*chosen.split(SIDE), rng=rng, draws=EXCHANGES)[0].p.value
        yield {"classifier of the two sides": (p, p - 1 / (1 + EXCHANGES))}


def whole(images: Tensor, rng: np.random.Generator) -> Pairs:
    """Whole audits of an innocent: new images as samples, and a Gaussian of few latents as the decoder."""
    while True:
        train, held_out, samples = images[torch.from_numpy(rng.permutation(len(images))[: 3 * SIDE])].split(SIDE)
        basis = torch.from_numpy(rng.normal(size=(4, 784))).float() / 40

        def decoder(z: Tensor, basis: Tensor = basis) -> Tensor:
            return (0.5 + z @ basis).view(-1, 1, 28, 28)

        given = [side.view(-1, 1, 28, 28) for side in (train, held_out, samples)]
        found = audit(*given[:2], samples=given[2], decoder=decoder, latent=4, seed=int(rng.integers(2**31)))
        sections = [section for section in found.sections.values() if section.joint is not None]
        yield {f"audit: {section.access}": (section.joint, section.joint) for section in sections} | {
            f"audit: {each.name}": (each.p, each.p) for section in sections for each in section.findings if each.p
        }


def table(shams: Pairs, number: int, rng: np.random.Generator, name: str) -> pd.DataFrame:
    """Alarms at the level, and Kolmogorov and Smirnov's test of p with its ties broken at random."""
    found = pd.DataFrame(list(tqdm(islice(shams, number), name, total=number)))
    rows = {}
    for test, pairs in found.items():
        p, strict = np.array(pairs.tolist()).T
        uniform = strict + rng.random(number) * (p - strict)
        rows[test] = {
            "shams": number,
            "flagged": str(share(int((p <= LEVEL + 1e-9).sum()), number)),
            "KS p": kstest(uniform, "uniform").pvalue if (p > strict).all() else float("nan"),
        }
    return pd.DataFrame(rows).T


@contextmanager
def shorter() -> Iterator[None]:
    """Fewer exchanges of several models, and next to no controls, which take most of an audit and change no p."""
    fewer = [(audit_models, "EXCHANGES", EXCHANGES), (audit_two_sides, "SHAMS", 2), (audit_plateaus, "TRIALS", 2)]
    fewer += [(audit_controls, "SHAMS", 2), (audit_controls, "TRIALS", 2)]
    with ExitStack() as stack:
        for patch in fewer:
            stack.enter_context(mock.patch.object(*patch))
        yield


@click.command()
@click.option("--shams", default=500, show_default=True, help="Shams of each test.")
@click.option("--audits", default=200, show_default=True, help="Whole audits of an innocent generator.")
@click.option("--seed", default=0, show_default=True)
def main(shams: int, audits: int, seed: int) -> None:
    """Print how often each test of an audit raises a false alarm, and whether its p is uniform."""
    torch.set_default_dtype(torch.float32)
    rngs = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(8))
    rng, images = next(rngs), data.load("mnist").train.flatten(1)
    numbers = {
        "recovery and reconstruction gap": (lambda n: rng.lognormal(-4, 0.5, n), audit_two_sides.gap),
        "decay, volume, log p": (rng.standard_normal, audit_two_sides.lower),
        "local dimension": (lambda n: rng.integers(3, 9, n).astype(float), audit_two_sides.lower),
    }
    tests = {
        "samples": partial(of_samples, images),
        **{name: partial(of_numbers, *each, name) for name, each in numbers.items()},
        "several models": of_models,
        "sides": partial(of_sides, images),
    }
    with shorter():
        tables = [table(test(next(rngs)), shams, rng, name) for name, test in tests.items()]
        tables.append(table(whole(images, next(rngs)), audits, rng, "whole audits"))
    click.echo(pd.concat(tables).to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
