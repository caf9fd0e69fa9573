"""The commands ``class`` and ``pdf``: an edition for students or for those who teach them, and the book on paper."""

from pathlib import Path

import click

from lib.models.data import ROOT
from lib.options import preset_option
from lib.study import classes, pages, printed, recorded, runs


@click.command("class")
@click.option(
    "--for", "audience", required=True, type=click.Choice(["students", "instructors"]), help="Who is to read it."
)
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@preset_option
def class_(audience: str, out: Path, preset: str) -> None:
    """Make pages and notebooks for a class in the folder OUT. Nothing is executed.

    They are of the runs that `python -m lib book` has made, and of the recorded results where there are none.

    Example: python -m lib class --for students _build/students
    """
    todo = runs.jobs(preset, {})
    done = [(job, record) for job in todo if (record := runs.load(job))]
    kept = recorded.sections()
    click.echo(f"{len(done)} of {len(todo)} notebooks are run, {len(kept)} recorded; rendering ...")
    click.echo(f"for {audience}: {classes.make(done, kept, audience, out)}\nnotebooks: {out / 'notebooks'}")


@click.command()
@click.argument("section", required=False)
@click.option(
    "--html",
    type=click.Path(path_type=Path, resolve_path=True),
    default=pages.HTML,
    help="The built pages.",
    show_default="book",
)
def pdf(section: str | None, html: Path) -> None:
    """Print the built book, or one section of it, by the system's Chromium.

    Example: python -m lib pdf line_densities
    """
    output = ROOT / "_build" / "pdf" / f"{section or 'book'}.pdf"
    click.echo(f"pdf: {printed.pdf(html, section, output)}")
