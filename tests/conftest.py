import dataclasses
import inspect
import itertools
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import forked
import numpy as np
import papermill
import pytest
import torch
from chromium import FLAGS, find_chromium
from filelock import FileLock
from playwright.sync_api import sync_playwright

from lib.models import data, loop
from lib.protocols import audit_controls, audit_samples, audit_two_sides
from lib.study import pages, parameters, recorded, runs

WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
"""processes that run the tests"""
torch.set_num_threads(max(1, torch.get_num_threads() // WORKERS))
# What a hundred processes import is compiled once, whatever the shell says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

LONGEST = (
    "notebooks",
    "accessible",
    "book",
    "hostile",
    "conditions",
    "flow_planted",
    "setup_cells",
    "classes",
    "cluster",
)
"""files that take longest: first, so that no process ends with one of them while the other has nothing left"""


def pytest_collection_modifyitems(items):
    ranks = {f"test_{name}": rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))


@pytest.fixture(autouse=True)
def double_precision():
    """float64 and one seed in every test."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def single_precision():
    """float32, as the notebooks have it; :func:`double_precision` ends it."""
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def chromium():
    """A browser."""
    path = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def fewer_repetitions():
    """Fewer trials of an audit: annotations are checked in tests, which makes each of them slow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit_controls, "TRIALS", 40)
        patch.setattr(audit_controls, "SHAMS", 20)
        patch.setattr(audit_controls, "EXCHANGES", 39)
        patch.setattr(audit_samples, "EXCHANGES", 199)
        patch.setattr(audit_two_sides, "SHAMS", 20)
        yield


def defaults(function):
    """The default values of a function's arguments, by name."""
    arguments = inspect.signature(function).parameters.items()
    return {name: argument.default for name, argument in arguments if argument.default is not argument.empty}


def counted(decoder):
    """A decoder, and a list of how many latents it was given each time."""
    counts = []
    return lambda z: counts.append(len(z)) or decoder(z), counts


def affine(pixels, latent, rank=None, seed=0):
    """A random affine decoder with its matrix; of full rank unless told otherwise."""
    generator = torch.Generator().manual_seed(seed)
    inner = min(pixels, latent) if rank is None else rank
    left = torch.randn(pixels, inner, generator=generator)
    right = torch.randn(inner, latent, generator=generator)
    matrix = left @ right
    offset = torch.randn(pixels, generator=generator)
    return (lambda z: z @ matrix.T.to(z) + offset.to(z)), matrix


def sphere(z):
    """The unit sphere by polar angle and azimuth: log volume log sin(theta)."""
    theta, phi = z.unbind(1)
    return torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()], dim=1)


def torus(z, large=2.0, small=0.5):
    """A torus by its two angles: log volume log(small (large + small cos v))."""
    u, v = z.unbind(1)
    ring = large + small * v.cos()
    return torch.stack([ring * u.cos(), ring * u.sin(), small * v.sin()], dim=1)


@pytest.fixture(scope="session")
def grey(tmp_path_factory):
    """A folder of 70 small grey images, 60 of them to train with."""
    folder = tmp_path_factory.mktemp("grey")
    images = np.random.default_rng(0).choice(np.float32([0.02, 0.98]), (70, 8, 8), p=[0.7, 0.3])
    np.savez(folder / "images.npz", images=images)
    return data.load(f"folder:{folder}")


@pytest.fixture
def interrupt(monkeypatch):
    """Let every step of a fit take a second, keep checkpoints of every few steps, and interrupt the fit in one step.

    Returns a function of those two numbers, which gives an iterator over the seconds.
    """

    def prepare(every, at):
        seconds = itertools.count()

        def monotonic():
            now = next(seconds)
            if now == at + at // every:  # a checkpoint takes a second too
                raise KeyboardInterrupt
            return now

        monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", every)
        monkeypatch.setattr(loop.time, "monotonic", monotonic)
        return seconds

    return prepare


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A folder for this session's tests, whatever the number of processes that run them."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if WORKERS > 1 else own) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def smoke_run(shared):
    """A function that executes notebooks at preset smoke, all or those named, each once whatever asks: (job, record)."""

    def execute(*names):
        todo = [dataclasses.replace(job, folder=shared / "runs") for job in runs.jobs("smoke", {})]
        wanted = [job for job in todo if job.notebook.stem in names or not names]
        with ThreadPoolExecutor(2) as executor, pytest.MonkeyPatch.context() as patch:
            forked.forking(patch)
            return list(runs.execute_all(wanted, executor))

    return execute


@pytest.fixture(scope="session")
def smoke_runs(smoke_run):
    """All notebooks, executed at preset smoke, as (job, record), in the order of the book."""
    done = {job.notebook: (job, record) for job, record in smoke_run()}
    return [done[path] for path in parameters.notebooks() if path in done]


@pytest.fixture(scope="session")
def smoke_book(smoke_runs, shared):
    """The folder of the book, rendered from the smoke runs."""
    return rendered(shared / "book", smoke_runs, {})


@pytest.fixture(scope="session")
def read_book(shared):
    """The folder of the book that is made of recorded results, where nothing may be executed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(papermill, "execute_notebook", lambda *_, **__: pytest.fail("a notebook was executed"))
        return rendered(shared / "read", [], recorded.sections())


def rendered(folder, executed, kept):
    """The folder of the book's pages, which one of the processes makes."""
    html = folder / "html"
    with FileLock(f"{folder}.lock"):
        if not html.exists():
            pages.render(executed, kept, html)
    return html
