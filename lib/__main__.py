"""The command line: ``python -m lib --help``."""

import dataclasses
import json
import os
import subprocess
import sys
import time
import warnings
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import click
from tqdm import tqdm

from lib.auditing import audit_
from lib.classes import class_, pdf
from lib.models import data
from lib.options import Given, jobs_option, line, named, parameter_option, preset_option, printable, scheduler_option
from lib.recording import read, record, verify
from lib.study import cluster, editions, pages, parameters, recorded, runs, stability


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Did this generative model learn, or did it memorise?

    Example: python -m lib run line_densities -p rank 10
    """


@main.command("list")
def list_() -> None:
    """Show the notebooks, their parameters, and what each preset takes.

    Example: python -m lib list
    """
    budgets = {name: parameters.preset(name)["notebooks"] for name in parameters.presets()}
    for path in parameters.notebooks():
        minutes = ", ".join(f"{name} {_minutes(budget[path.stem]['minutes'])}" for name, budget in budgets.items())
        click.secho(path.stem, bold=True, nl=False)
        click.echo(f"  ({minutes})")
        for parameter in parameters.settable(path).values():
            accepted = f"  [{parameter.condition}]" if parameter.condition else ""
            declaration = f"{parameter.name}: {parameter.type} = {parameter.default}"
            click.echo(f"    {declaration:<34} {parameter.help}{accepted}")


@main.command()
@preset_option
@jobs_option
@scheduler_option
@click.option("--device", default="auto", show_default=True, help="auto, cpu, or an accelerator such as cuda.")
def book(preset: str, jobs: int, device: str, scheduler: str) -> None:
    """Execute every notebook and render the book. Runs that are there and unchanged are used again.

    Example: python -m lib book --preset quick --jobs 2
    """
    todo = runs.jobs(preset, {"device": device, "scheduler": scheduler})
    started = time.monotonic()
    where = f"on {scheduler}" if scheduler else f"{jobs} side by side"
    click.echo(f"{len(todo)} notebooks, {where}; the first time, their models are fitted as well")
    for stem, reason in runs.waiting(preset).items():
        click.echo(f"{stem}: not run, {reason}")
    done = _execute_all(todo, jobs, scheduler, "notebook")
    click.echo(f"all notebooks: {time.monotonic() - started:.0f} s; rendering ...")
    index = pages.render(done, recorded.sections())
    click.echo(f"the book: {index}  ({time.monotonic() - started:.0f} s in all)")


@main.command()
@click.argument("notebook")
@parameter_option("A parameter of this notebook, as often as you like.")
@preset_option
@scheduler_option
def run(notebook: str, given: Given, preset: str, scheduler: str) -> None:
    """Run one notebook, with other parameters if you give some, and make its page.

    Example: python -m lib run line_densities -p rank 10 -p dataset folder:my_images
    """
    job = _scheduled(runs.job(parameters.find(notebook), preset, named(given)), scheduler)
    with _cluster(scheduler) as workers:
        record = runs.execute(job, progress=True, cluster=workers)
    click.echo(line(job, record))
    page = pages.render_one((job, record), job.folder / f"{job.notebook.stem}-page")
    click.echo(f"notebook: {job.output}\nnumbers:  {job.record}\npage:     {page}")


@main.command()
@click.argument("notebook")
@parameter_option("A parameter and its values, separated by commas.")
@preset_option
@jobs_option
@scheduler_option
def sweep(notebook: str, given: Given, preset: str, jobs: int, scheduler: str) -> None:
    """Run one notebook over a grid of parameters, and write one table and one figure over it.

    Example: python -m lib sweep line_densities -p rank 5,10,14,20
    """
    from lib.study import sweeps  # it draws: the other commands need no Matplotlib, which takes as long as pandas

    grid = named(given)
    if not grid:
        raise parameters.Refused("a sweep needs at least one -p NAME A,B,C")
    path = parameters.find(notebook)
    todo = [_scheduled(runs.job(path, preset, point), scheduler) for point in sweeps.grid(grid)]
    done = {job.folder: (job, record) for job, record in _execute_all(todo, jobs, scheduler, "run")}
    folder = runs.RUNS / preset / runs.label(f"{path.stem}-sweep", grid)
    table, figure = sweeps.summarise([done[job.folder] for job in todo], list(grid), folder)
    click.echo(f"table:  {table}\nfigure: {figure}")


@main.command("stability")
@click.argument("notebooks", nargs=-1)
@click.option("--seeds", default="0,1,2", show_default=True, help="At least two seeds, separated by commas.")
@preset_option
@jobs_option
@scheduler_option
def stability_(notebooks: tuple[str, ...], seeds: str, preset: str, jobs: int, scheduler: str) -> None:
    """Run the book, or some notebooks, with several seeds, and count the intervals and verdicts that disagree.

    Example: python -m lib stability decay line_densities --seeds 0,1,2
    """
    todo = stability.jobs(preset, [parameters.find(name).stem for name in notebooks], _seeds(seeds))
    made = _execute_all([_scheduled(job, scheduler) for same in todo.values() for job in same], jobs, scheduler, "run")
    done = {job.record: record for job, record in made}
    records = {seed: {job.notebook.stem: done[job.record] for job in same} for seed, same in todo.items()}
    folder = runs.RUNS / preset / runs.label("+".join(["stability", *notebooks]), {"seeds": seeds})
    text, *files = stability.write(records, folder)
    click.echo(text)
    click.echo("tables: " + ", ".join(map(str, files)))


for command in (record, read, verify, audit_, class_, pdf):
    main.add_command(command)


@main.command("data")
@click.argument("dataset", default="mnist")
@click.option("--data-dir", default=str(data.ROOT / "data"), help="The folder of data sets that have a name.")
def data_(dataset: str, data_dir: str) -> None:
    """Check a data set and say what is in it.

    Example: python -m lib data folder:my_images
    """
    loaded = data.load(dataset, root=Path(data_dir))
    click.echo(
        f"{printable(loaded.name)}: {len(loaded.train)} training and {len(loaded.test)} test images of "
        f"{list(loaded.train.shape[1:])} in {len(loaded.train_labels.unique())} classes, SHA-256 {loaded.digest}"
    )


@main.command()
@click.argument("version")
def edition(version: str) -> None:
    """Keep the book that `make book` made of this commit as an edition: pages, recorded results, digests, licence.

    Example: python -m lib edition 2026.1
    """
    made = editions.make(version, pages.HTML)
    click.echo(f"edition: {editions.archive(version)}\nfor book/editions.yml: - {json.dumps(made._asdict())}")


@main.command()
def site() -> None:
    """Put the editions that book/editions.yml lists beside the newest pages, as they are published.

    Example: python -m lib site
    """
    click.echo(f"site: {editions.publish(pages.HTML, pages.HTML.with_name('site'))}")


def _execute_all(todo: list[runs.Job], jobs: int, scheduler: str, unit: str) -> list[tuple[runs.Job, dict]]:
    done = []
    with (
        _cluster(scheduler) as workers,
        tqdm(total=len(todo), desc=f"{unit}s", unit=unit, disable=None, file=sys.stdout) as bar,
    ):
        for job, record in runs.execute_all(todo, ThreadPoolExecutor(len(todo) if workers else jobs), workers):
            bar.write(line(job, record), file=sys.stdout)
            bar.update()
            done.append((job, record))
    return done


def _cluster(scheduler: str) -> AbstractContextManager[Executor | None]:
    parameters.check_scheduler(scheduler)
    return cluster.executor(scheduler) if scheduler else nullcontext()


def _scheduled(job: runs.Job, scheduler: str) -> runs.Job:
    """The same run, its parts sent to the scheduler if it has such parts."""
    if not scheduler or "scheduler" not in job.parameters:
        return job
    return dataclasses.replace(job, parameters={**job.parameters, "scheduler": scheduler})


def _seeds(text: str) -> list[int]:
    with suppress(TypeError, ValueError):
        if len(found := parameters.numbers(text)) > 1:
            return found
    raise parameters.Refused(f"seeds={text} is impossible; accepted: at least two whole numbers such as 0,1,2")


def _minutes(minutes: float | None) -> str:
    return "not measured" if minutes is None else f"about {minutes:g} min"


def cli() -> None:
    """Run the command line: 0 is success, 1 a failed notebook or build, 2 a request that was refused, 130 Ctrl-C."""
    warnings.showwarning = lambda message, *_, **__: _complain(f"warning: {message}")
    try:
        sys.exit(main(standalone_mode=False))  # click returns the code with which a command wants to end
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help())
        sys.exit(2)
    except click.ClickException as error:
        _complain(f"error: {_usage(error)}")
        sys.exit(error.exit_code)
    except (parameters.Refused, data.DataError) as error:
        _complain(f"error: {error}")
        sys.exit(2)
    except (runs.Failed, pages.BuildFailed, subprocess.SubprocessError) as error:
        _complain(f"error: {error}")
        _stop(1)
    except (OSError, MemoryError) as error:  # a full disk, a folder that cannot be written, no memory
        _complain(
            f"error: {type(error).__name__}: {error}; what is finished is kept, the same command goes on from there"
        )
        _stop(1)
    except (click.Abort, KeyboardInterrupt):
        _complain("interrupted; what is finished is kept, the same command goes on from there")
        _stop(130)


def _usage(error: click.ClickException) -> str:
    """What is wrong with a call, and what is accepted."""
    context, message = getattr(error, "ctx", None), error.format_message()
    if context is None:
        return message
    if isinstance(error, click.NoSuchOption):
        known = context.command.get_params(context)
        names = [option for parameter in known for option in parameter.opts if option.startswith("-")]
        return f"{message} accepted: {', '.join(names)}"
    if isinstance(context.command, click.Group):
        return f"{message} accepted: {', '.join(context.command.commands)}"
    return f"{message} see: {context.command_path} --help"


def _complain(message: str) -> None:
    """A message in one line."""
    click.echo(printable(" ".join(message.split())), err=True)


def _stop(code: int) -> None:
    # Threads that still wait for their kernels would hold the process; kernels notice their parent's end and follow.
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    cli()
