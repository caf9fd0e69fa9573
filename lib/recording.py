"""The commands about recorded results: ``record``, ``read`` and ``verify``."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import click
from tqdm import tqdm

from lib.models import store
from lib.models.fit import FITS
from lib.options import Given, line, named, parameter_option
from lib.study import pages, parameters, processes, provenance, recorded, runs, verification


def folder_option(*, exists: bool) -> Callable:
    """The option ``--folder``."""
    kind = click.Path(path_type=Path, exists=exists, file_okay=False)
    meaning = "The folder of the recorded results."
    return click.option("--folder", type=kind, default=recorded.FOLDER, help=meaning, show_default="recorded")


@click.command()
@click.argument("sections", nargs=-1, required=True, metavar="SECTION...")
@parameter_option("A parameter of these sections, as often as you like.")
@click.option("--preset", default="edition", show_default=True, metavar="NAME", help="Budget.")
@click.option("--replace", is_flag=True, help="Replace what was recorded with other code.")
@folder_option(exists=False)
def record(sections: tuple[str, ...], given: Given, preset: str, replace: bool, folder: Path) -> None:
    """Run sections at their recorded sizes, which may take hours, and keep the results in the repository.

    It can be interrupted at any moment: fits are kept as they come, and the same command goes on. More repeats or
    models (-p repeats 3) add to the fits that are there.

    Example: nice python -m lib record memorisation_score -p repeats 3
    """
    todo = [runs.job(parameters.find(name), preset, named(given)) for name in sections]
    wanted = [job for job in todo if _wanted(job, replace, folder)]
    for job in wanted:
        with _watched(job.notebook.stem):
            made = runs.execute(job)
        click.echo(line(job, made))
        click.echo(f"recorded: {recorded.write(job, made, folder)}")


@click.command()
@folder_option(exists=True)
def read(folder: Path) -> None:
    """Render the whole book from the recorded results. Nothing is executed.

    Example: python -m lib read
    """
    started = time.monotonic()
    sections = recorded.sections(folder)
    click.echo(f"{len(sections)} of {len(parameters.notebooks())} sections are recorded; rendering ...")
    index = pages.render([], sections)
    click.echo(f"the book: {index}  ({time.monotonic() - started:.0f} s in all)")


@click.command()
@click.argument("sections", nargs=-1, metavar="[SECTION...]")
@click.option(
    "--part",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Fit N models of each section once more, drawn at random.",
)
@click.option("--keep", is_flag=True, help="Keep what is said for the book's page on verification.")
@folder_option(exists=True)
def verify(sections: tuple[str, ...], part: int, keep: bool, folder: Path) -> None:
    """Check recorded results: the files, all numbers from their items, and if you like some models made once more.

    Example: python -m lib verify decay --part 1
    """
    said = verification.files(folder)
    names = [parameters.find(name).stem for name in sections]
    if names:
        said = [found for found in said if found.section in names]
    else:  # a section that is damaged is in the list of digests all the same
        there = {found.section for found in said}
        names = [path.stem for path in parameters.notebooks() if path.stem in there]
    _echoed(said)
    for name in names:
        if (section := recorded.read(name, folder)) is None:
            said += _echoed([verification.Line(name, "numbers", False, "not recorded, or damaged")])
            continue
        said += _echoed([verification.code(section), *verification.numbers(section)])
        with processes.scratch() as scratch:
            for found in verification.parts(section, part, scratch, random.SystemRandom()):
                said += _echoed([found])
    if keep:
        where = provenance.here() | {"files": recorded.sums(folder), "lines": [found._asdict() for found in said]}
        store.write_atomically(folder / "verification.json", json.dumps(where, indent=1).encode())
    if not all(found.good for found in said if found.level != "code"):
        raise click.exceptions.Exit(1)


def _echoed(lines: list[verification.Line]) -> list[verification.Line]:
    for found in lines:
        click.secho(("✔ " if found.good else "✘ ") + str(found), fg=None if found.good else "red")
    return lines


def _wanted(job: runs.Job, replace: bool, folder: Path) -> bool:
    """Whether a section is to be recorded; what was recorded of it with other code is not replaced unasked."""
    name, there = job.notebook.stem, recorded.read(job.notebook.stem, folder)
    if there is None:
        return True
    if there.changed and not replace:
        parts = ", ".join(there.changed)
        raise parameters.Refused(f"{name} was recorded with other code ({parts}); --replace records it anew")
    if not there.changed and there.record["parameters"] == recorded.plain(job.parameters):
        click.echo(f"{name}: unchanged, recorded {there}")
        return False
    return True


@contextmanager
def _watched(name: str) -> Iterator[None]:
    """One line of progress while a run goes on: the fits that it has made, those under way, and the time."""
    started, over = time.time(), threading.Event()

    def fresh(suffix: str) -> int:
        return sum(path.stat().st_mtime > started for path in FITS.glob(f"*.{suffix}"))

    def watch() -> None:
        with tqdm(bar_format="{desc}", disable=None) as bar:
            while not over.wait(5):
                took = timedelta(seconds=int(time.time() - started))
                with suppress(FileNotFoundError):  # a checkpoint goes when its fit is done
                    bar.set_description_str(
                        f"{name}: {fresh('safetensors')} fits made, {fresh('checkpoint')} under way, {took}"
                    )

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
