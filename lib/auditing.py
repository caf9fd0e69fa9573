"""The command ``audit``: a generator from elsewhere, and a page about it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click
import torch
from torch import Tensor

from lib.models import foreign, own_images, ranges
from lib.models.closure import ROOT
from lib.models.draws import rng_from
from lib.models.foreign import ForeignError
from lib.models.foreign_checks import check, check_function
from lib.models.own_images import OwnImages
from lib.protocols import audit_demos, audit_words
from lib.protocols.audit import MAXIMUM, SEARCHED, audit
from lib.protocols.audit_lists import LEAST, ROWS
from lib.protocols.audit_results import Audit
from lib.study import audit_page, parameters, provenance

AUDITS = ROOT / "_build" / "audits"
TRIED = 256
"""latents whose images say which range a model makes"""


class Inputs(NamedTuple):
    """What :func:`lib.protocols.audit.audit` takes, and what is to be said of it."""

    title: str
    train: Tensor
    held_out: Tensor
    access: dict
    """samples, decoder and so on, by the names of its arguments"""
    notes: list[str]
    digests: dict[str, str]


@click.command("audit")
@click.option("--train", metavar="PATH", help="Images that the model was trained with: a folder, .npy or .npz.")
@click.option("--held-out", metavar="PATH", help="Images of the same source that it has not seen.")
@click.option("--samples", metavar="PATH", help="Images that it made.")
@click.option("--model", metavar="ADDRESS", help="Its decoder: FILE.py:NAME, package.module:NAME, .pt2, .pt or .onnx.")
@click.option("--latent", metavar="N", help="Number of its latents, or their shape, such as 100,1,1.")
@click.option("--encoder", metavar="ADDRESS", help="From images to codes, or to distributions of codes.")
@click.option("--log-p", metavar="ADDRESS", help="From images to log probabilities in nats.")
@click.option("--range", type=click.Choice(list(ranges.RANGES)), help="Of what the model makes and takes.")
@click.option("--out", type=click.Path(path_type=Path), help="The page's folder.  [default: in _build/audits]")
@click.option("--title", help="Of the page.")
@click.option("--max-images", type=click.IntRange(LEAST), default=MAXIMUM, show_default=True, help="Of a side.")
@click.option("--device", default="cpu", show_default=True, help="Where the model runs.")
@click.option("--demo", type=click.Choice(list(audit_demos.DEMOS)), help="A generator whose answer is known.")
def audit_(**given: object) -> None:
    """Ask of your own generator whether it learnt or memorised, and make a page of the answer.

    What is not given is not tested, and the page says so. A FILE.py is run as your own code; no pickle is opened.

    \b
    Examples:
      python -m lib audit --demo copycat
      python -m lib audit --train DIR --held-out DIR --samples DIR
      python -m lib audit --train X.npy --held-out Y.npy --model my_model.py:decoder --latent 64
    """
    started = time.monotonic()
    try:
        inputs = _demo(given) if given["demo"] else _own(given)
        for note in inputs.notes:
            click.echo(f"note: {note}")
        click.echo(f"expected: about {_expected(inputs, given['max_images'])}")

        def progress(step: str) -> None:
            click.echo(f"{time.monotonic() - started:5.0f} s  {step}")

        found = audit(inputs.train, inputs.held_out, **inputs.access, maximum=given["max_images"], progress=progress)
    except (ForeignError, ranges.RangeError, ValueError) as error:
        raise parameters.Refused(str(error)) from error
    page = _write(found._replace(notes=[*found.notes, *inputs.notes]), inputs, given)
    click.echo("\n" + "\n\n".join(audit_words.sentences(found)))
    click.echo(f"\npage: {page}  ({time.monotonic() - started:.0f} s)")


def _demo(given: dict) -> Inputs:
    own = [name for name in ("train", "held_out", "samples", "model", "encoder", "log_p") if given[name]]
    if own:
        raise parameters.Refused(f"--demo has images and a model of its own; leave out --{own[0].replace('_', '-')}")
    demo = audit_demos.demo(given["demo"], given["device"])
    access = {name: getattr(demo, name) for name in ("samples", "decoder", "latent", "encode")}
    return Inputs(given["title"] or demo.title, demo.train, demo.held_out, access, [], {})


def _own(given: dict) -> Inputs:
    """Read and check everything before anything is measured."""
    for name in ("train", "held_out"):
        if not given[name]:
            raise parameters.Refused(f"--{name.replace('_', '-')} is missing; or see a page with --demo copycat")
    if not any(given[name] for name in ("samples", "model", "log_p")):
        raise parameters.Refused("there is nothing to test: give --samples, --model or --log-p")
    sides = own_images.apart(*(own_images.load(given[name]) for name in ("train", "held_out")))
    loaded: dict[str, OwnImages] = dict(zip(("train", "held_out"), sides, strict=True))
    if given["samples"]:
        loaded["samples"] = own_images.load(given["samples"])
    notes = [f"{name.replace('_', '-')}: {note}" for name, images in loaded.items() for note in images.notes]
    train, held_out = (side.x for side in sides)
    access: dict = {"samples": loaded["samples"].x} if given["samples"] else {}
    made, more = _model(given, train)
    notes += more
    digests = {name: images.digest for name, images in loaded.items()}
    title = given["title"] or f"An audit of {given['model'] or given['samples'] or given['log_p']}"
    return Inputs(title, train, held_out, access | made, notes, digests)


def _model(given: dict, train: Tensor) -> tuple[dict, list[str]]:
    """The parts of a model, for images in [0, 1], and what was done to them."""
    access: dict = {"missing": {}}
    notes, low, high = [], *ranges.RANGES[given["range"] or "0,1"]
    if given["model"]:
        shape = _latent(given["latent"])
        made = foreign.decoder(given["model"], shape, device=given["device"], shape=tuple(train.shape[1:]))
        latent = int(torch.Size(shape).numel())
        able = check(made, latent, train[:8], rng=rng_from("cpu", 0, 14))
        with torch.no_grad():
            outputs = made.call(torch.randn(TRIED, latent, generator=rng_from("cpu", 0, 15)).to(given["device"])).cpu()
        matched = ranges.matched(train, outputs, given["range"])
        low, high = ranges.RANGES[matched.range]
        notes += [f"model: {note}" for note in (*made.notes, *able.notes, *matched.notes)]
        decode = _placed(lambda z: (made.call(z) - low) / (high - low), given["device"])
        access |= {"decoder": decode, "latent": latent, "forward": able.forward, "search": able.differentiable}
    seen = low + (high - low) * train[:8]
    if given["encoder"]:
        if "latent" not in access:
            raise parameters.Refused("--encoder needs --model and --latent: its codes are decoded")
        found = _encoder(given["encoder"], seen, access["latent"], given["device"])
        access["encode"] = _placed(_asked(found.call, low, high), given["device"])
        notes += [f"encoder: {note}" for note in found.notes]
    if given["log_p"]:
        found = foreign.function(given["log_p"], device=given["device"])
        notes += [f"log p: {note}" for note in (*found.notes, *check_function(found, seen))]
        access["log_p"] = _placed(_asked(found.model, low, high), given["device"])
    return access, notes


def _encoder(address: str, images: Tensor, latent: int, device: str) -> foreign.Foreign:
    """An encoder as a distribution of codes, or as codes if it gives no distribution."""
    try:
        return foreign.posterior(address, images, latent, device=device)
    except ForeignError as error:
        found = foreign.function(address, device=device)
        check_function(found, images, latent=latent)
        return found._replace(notes=(*found.notes, f"taken as codes, since it is no distribution: {error}"))


def _asked(model: Callable, low: float, high: float) -> Callable:
    return lambda x: model(low + (high - low) * x)


def _placed(function: Callable, device: str) -> Callable:
    """A function computed on the device, for tensors that are elsewhere; of distributions, only their input moves."""

    def call(x: Tensor) -> object:
        made = function(x.to(device))
        return made.to(x.device) if isinstance(made, Tensor) else made

    return call


def _latent(text: str | None) -> tuple[int, ...]:
    try:
        sizes = tuple(int(part) for part in (text or "").split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        said = "--latent is missing" if text is None else f"--latent {text} is impossible"
        raise parameters.Refused(f"{said}; accepted: the number of latents, or their shape, such as 100,1,1")
    return sizes


def _expected(inputs: Inputs, maximum: int) -> str:
    """The time that an audit takes, from one block of distances and one step of a search."""
    count = min(len(inputs.train), len(inputs.held_out), maximum)
    block = inputs.train[:ROWS].flatten(1)
    others = inputs.train[:count].flatten(1).T
    _ = block @ others  # the first product of a process is slow
    started = time.perf_counter()
    _ = block @ others
    blocks = 2 * (6 * count + 6000) / ROWS
    seconds = 2 * blocks * (time.perf_counter() - started) + 0.012 * count + 5
    if (decoder := inputs.access.get("decoder")) is not None:
        z = torch.zeros(2 * min(count, SEARCHED), inputs.access["latent"])
        decoder(z)
        started = time.perf_counter()
        decoder(z)
        seconds += 1500 * (time.perf_counter() - started)
    return f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{max(10, 10 * round(seconds / 10)):.0f} seconds"


def _write(found: Audit, inputs: Inputs, given: dict) -> Path:
    name = "".join(c if c.isalnum() else "-" for c in inputs.title.lower()).strip("-")[:60]
    folder = given["out"] or AUDITS / (given["demo"] or name)
    report = audit_words.plain(found) | {"inputs": inputs.digests}
    rows = _rows(found)
    half = len(rows) // 2
    return audit_page.write(
        folder, report, rows[:half], rows[half:][::-1], audit_words.rows(found), title=inputs.title, made=_made_with()
    )


def _rows(found: Audit) -> list[audit_page.Row]:
    """The pictures of the page, the most suspicious first."""
    shown, images = found.pictures, found.per_image
    if shown is None or images is None:
        return []
    named = {
        "training image": shown.training,
        "what the decoder makes of it": shown.made,
        "nearest sample": shown.sample,
        "nearest held-out image": shown.held_out,
    }
    return [
        audit_page.Row(
            {caption: pictures[row].cpu().numpy() for caption, pictures in named.items() if pictures is not None},
            *(column[place].item() for column in (images.image, images.q, images.ratio)),
        )
        for row, place in enumerate(shown.rows.tolist())
    ]


def _made_with() -> str:
    here = provenance.here()
    return f"Made with learn-or-memorise, {', '.join(f'{name} {value}' for name, value in here.items() if value)}."
