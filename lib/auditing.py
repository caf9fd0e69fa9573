"""The command ``audit``: a generator from elsewhere, and a page about it."""

import time
from collections.abc import Callable
from pathlib import Path

import click
import torch
from torch import Tensor

from lib.audit_inputs import TESTED, TRIED, Inputs, own
from lib.measures.intervals import Estimate
from lib.models import closure, own_images, ranges
from lib.models.closure import ROOT
from lib.models.draws import rng_from
from lib.models.foreign_size import graph_size
from lib.models.kept import Keeper
from lib.protocols import audit_demos, audit_words
from lib.protocols.audit import BATCH, MAXIMUM, audit, searched
from lib.protocols.audit_decoder import Local
from lib.protocols.audit_evidence import encoded
from lib.protocols.audit_lists import LEAST, ROWS
from lib.protocols.audit_results import KINDS, Audit, Keep
from lib.protocols.audit_search import Runs
from lib.protocols.exchangeable import Sides as Differ
from lib.study import audit_page, parameters, provenance

AUDITS = ROOT / "_build" / "audits"


@click.command("audit")
@click.option("--train", metavar="PATH", help="Images that the model was trained with: a folder, .npy or .npz.")
@click.option("--held-out", metavar="PATH", help="Images of the same source that it has not seen.")
@click.option("--samples", metavar="PATH", help="Images that it made.")
@click.option("--model", metavar="ADDRESS", help="Its decoder: FILE.py:NAME, package.module:NAME, .pt2, .pt or .onnx.")
@click.option("--latent", metavar="N", help="Number of its latents, or their shape, such as 100,1,1.")
@click.option("--encoder", metavar="ADDRESS", help="From images to codes, or to distributions of codes.")
@click.option("--log-p", metavar="ADDRESS", help="From images to log probabilities in nats.")
@click.option("--range", type=click.Choice(list(ranges.RANGES)), help="Of what the model makes and takes.")
@click.option("--models", metavar="FILE.npz", help="Of several models: log_p and trained, both [models, images].")
@click.option("--codes", metavar="FILE.npz", help="Latents of all images, named train and held_out; no encoder then.")
@click.option(
    "--memory", type=click.FloatRange(0.1), default=2.0, show_default=True, help="GiB for a model's gradients."
)
@click.option("--batch", type=click.IntRange(1), help="Searches side by side.  [default: as many as --memory allows]")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="The page's folder.  [default: in _build/audits]"
)
@click.option("--title", help="Of the page.")
@click.option("--max-images", type=click.IntRange(LEAST), default=MAXIMUM, show_default=True, help="Of a side.")
@click.option("--device", default="cpu", show_default=True, help="Where the model runs: auto, cpu, cuda.")
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
    given["device"] = str(parameters.choose_device(given["device"]))
    try:
        inputs = _demo(given) if given["demo"] else own(given)
        for note in inputs.notes:
            click.echo(f"note: {note}")
        click.echo(f"expected: about {_expected(inputs, given['max_images'])}")
        folder = _folder(inputs, given)
        keeper = Keeper(folder / "kept", _identity(inputs, given), (*KINDS, Estimate, Differ, Runs, Local))
        options = {"maximum": given["max_images"], "batch": _batch(inputs, given)}

        def progress(step: str) -> None:
            click.echo(f"{time.monotonic() - started:5.0f} s  {step}")

        found = audit(inputs.train, inputs.held_out, **inputs.access, **options, progress=progress, keep=_loud(keeper))
    except ValueError as error:
        raise parameters.Refused(str(error)) from error
    page = _write(found._replace(notes=[*found.notes, *inputs.notes]), inputs, folder)
    click.echo("\n" + "\n\n".join(audit_words.sentences(found)))
    click.echo(f"\npage: {page}  ({time.monotonic() - started:.0f} s)")


def _loud(keeper: Keeper) -> Keep:
    """Says what an earlier call has made, and if it is interrupted what the next one need not make."""

    def keep(name: str, make: Callable) -> object:
        try:
            part = keeper(name, make)
        except KeyboardInterrupt:
            count = len(keeper.made) + len(keeper.read)
            kept = f"{count} step{' is' if count == 1 else 's are'} kept in {keeper.folder}"
            click.echo(f"interrupted; {kept}, and the same command goes on from there", err=True)
            raise SystemExit(130) from None
        if name in keeper.read:
            click.echo(f"         kept by an earlier call: {name}")
        return part

    return keep


def _folder(inputs: Inputs, given: dict) -> Path:
    name = "".join(c if c.isalnum() else "-" for c in inputs.title.lower())[-60:].strip("-")
    return given["out"] or AUDITS / (given["demo"] or name)


def _identity(inputs: Inputs, given: dict) -> dict:
    """All that numbers depend on: the images, the code, and of the model what it answers."""
    access, told = inputs.access, {}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        if (decoder := access.get("decoder")) is not None:
            told["decoder"] = decoder(torch.randn(TRIED, access["latent"], generator=rng_from("cpu", 0, 15)))
        if (encode := access.get("encode")) is not None:
            told["encode"], distribution = encoded(encode, inputs.train[:TRIED])
            if distribution:
                told["drawn"] = encode(inputs.train[:TRIED]).sample()  # its spread counts as well
        if (log_p := access.get("log_p")) is not None:
            answer = log_p(inputs.train[:TRIED])
            told["log_p"] = answer[0] if isinstance(answer, tuple) else answer
    for name in ("samples", "codes", "models"):
        if access.get(name) is not None:
            told[name] = access[name] if isinstance(access[name], Tensor) else torch.cat(access[name])
    told |= {"train": inputs.train, "held_out": inputs.held_out}
    others = {name: access.get(name) for name in ("latent", "search", "forward", "missing")}
    code = closure.digest(closure.sources(ROOT / "lib" / "protocols" / "audit.py"))
    return {
        "digests": {name: own_images.digest(x) for name, x in told.items()}, "others": others, "code": code,
        "maximum": given["max_images"], "torch": torch.__version__,
    }  # fmt: skip


def _batch(inputs: Inputs, given: dict) -> int:
    """How many searches fit into the memory: a step keeps a graph, and what it was made of for a while."""
    decoder = inputs.access.get("decoder")
    if given["batch"] or decoder is None or not inputs.access.get("search", True):
        return given["batch"] or BATCH
    size = graph_size(decoder, torch.zeros(1, inputs.access["latent"]))
    return max(1, min(BATCH, int(given["memory"] * 2**30 / (2 * max(size, 1)))))


def _demo(given: dict) -> Inputs:
    more = [name for name in ("train", "held_out", *TESTED, "encoder", "codes") if given[name]]
    if more:
        raise parameters.Refused(f"--demo has images and a model of its own; leave out --{more[0].replace('_', '-')}")
    demo = audit_demos.demo(given["demo"], given["device"])
    return Inputs(given["title"] or demo.title, demo.train, demo.held_out, demo.access, [], {})


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
        z = torch.zeros(2 * min(count, searched(inputs.access["latent"], block.shape[1])), inputs.access["latent"])
        decoder(z)
        started = time.perf_counter()
        decoder(z)
        seconds += 1500 * (time.perf_counter() - started)
    return f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{max(10, 10 * round(seconds / 10)):.0f} seconds"


def _write(found: Audit, inputs: Inputs, folder: Path) -> Path:
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
