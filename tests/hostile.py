"""Hostile input: does anything end in more than one line, or in other numbers?

    python -m tests.hostile --n 1000 --seed 0

Each case is made from its number alone: command lines, values of parameters, image files, and damage to what the caches
hold. The one oracle: it succeeds with the same numbers, or it is refused in one line without a control character; nothing
is executed, nothing is written outside the case's folder, and nothing takes longer than a minute. Prints how many were
tried, and how many ended cleanly, and each that did not.
"""

import argparse
import contextlib
import io
import json
import os
import pickle
import random
import shutil
import signal
import struct
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from lib import __main__ as command
from lib.models import data, store
from lib.models.unpack import DataError
from lib.study import parameters, runs, sweeps

SECONDS = 60

TEXTS = (
    "", " ", "0", "-1", "1", "2", "3", "1e3", "1e308", "1e999", "-0.0", "nan", "inf", "0x10", "1_0", "１４", "٣", "ten",
    str(2**31), str(2**32), str(2**64), "9" * 5000, "True", "None", "[]", "[", "]", "[1,2", "1,2", "[[1]]", "1,,2", ",",
    "0,1", "0,1,2", "0,0", "0 1", "0,1 2,3", "mnist", "faces", "celeba", "folder:", "folder:/nowhere", "folder:~nobody/x",
    "folder:/dev", "folder:" + "x" * 5000, "folder:\x1b[2J", "cpu", "cpu:7", "cuda", "cuda:99", "hpu", "privateuseone", "meta",
    "auto", "tcp://x:1", "tls://x:1", "ucx://x:1", "tcp://", "\x1b[31mred", "\u202eabc", "__import__('os').system('touch x')",
    "{}", "%s%n", "../../etc/passwd", "'", '"', "\\", "a\nb", "💥",
)  # fmt: skip


class Outcome(NamedTuple):
    """How a case ended."""

    clean: bool
    what: str
    """the case, and what was wrong with it"""


class Unpickled:
    """Leaves a file where it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.folder / "executed",))


def command_line(rng: random.Random, folder: Path) -> Outcome:
    """A call of the command line, from one that is accepted."""
    notebook = rng.choice(parameters.notebooks()).stem
    name = rng.choice([*parameters.declared(parameters.find(notebook)), rng.choice(TEXTS)])
    argv = rng.choice(
        [
            ["list"],
            ["book", "--preset", "smoke", "--jobs", "1"],
            ["run", notebook, "-p", name, rng.choice(TEXTS), "--preset", "smoke"],
            ["sweep", notebook, "-p", name, f"{rng.choice(TEXTS)},{rng.choice(TEXTS)}"],
            ["data", rng.choice(TEXTS)],
        ]
    )
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(argv) + 1)
        change = rng.randrange(3)
        if change == 0:
            argv.insert(
                at, rng.choice([*TEXTS, "--help", "--preset", "-p", "--device", "--scheduler", "--jobs", "--", "-x"])
            )
        elif change == 1 and argv:
            argv[at % len(argv)] = rng.choice(TEXTS)
        elif argv:
            del argv[at % len(argv)]
    argv = [text for text in argv if "\0" not in text]
    code, said = called(argv)
    helped = argv == [] and said == ""  # the help itself
    return Outcome(
        code in (0, 1, 2) and (code == 0 or one_line(said) or helped), f"{argv!r}: exit {code}: {said[:300]!r}"
    )


def called(argv: list[str]) -> tuple[int, str]:
    """The exit code of a call in which nothing is run, and what it complained of."""
    out, error = io.StringIO(), io.StringIO()
    stub = {"values": {}, "peak_memory_bytes": 0, "seconds": 0.0, "device": "cpu"}
    replaced = [(runs, "execute", lambda *_, **__: stub), (command.pages, "render", lambda *_: "index")]
    replaced += [
        (command.pages, "render_one", lambda *_: "page"),
        (command, "_stop", sys.exit),
        (sys, "argv", ["lib", *argv]),
    ]
    replaced += [(sweeps, "summarise", lambda *_: ("table", "figure")), (command.cluster, "PATIENCE", 1)]
    replaced += [(warnings, "showwarning", warnings.showwarning)]
    with contextlib.ExitStack() as stack:
        for module, name, value in replaced:
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, value)
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(error))
        try:
            command.cli()
        except SystemExit as end:
            return int(end.code or 0), error.getvalue()
        except Exception as uncaught:
            return 99, repr(uncaught)
    return 0, error.getvalue()


def value(rng: random.Random, folder: Path) -> Outcome:
    """Values of some parameters of a notebook: refused with what is accepted, or of the declared types."""
    notebook = rng.choice(parameters.notebooks())
    known = parameters.declared(notebook)
    names = rng.sample([name for name in known if name != "results"], rng.choice((1, 1, 2, 3)))
    given = {name: near(rng, known[name]) for name in names}
    try:
        found = parameters.for_run(notebook, "smoke", given)
    except (parameters.Refused, DataError) as error:
        return Outcome(one_line(f"error: {error}\n"), f"{notebook.stem} {given!r}: {error}")
    except Exception as error:
        return Outcome(False, f"{notebook.stem} {given!r}: {error!r}")
    right = all(found[name] == parameters.convert(known[name], found[name]) for name in known if name != "results")
    return Outcome(right, f"{notebook.stem} {given!r}: accepted as {found!r}")


def near(rng: random.Random, parameter: parameters.Parameter) -> str:
    """A text that is hostile, or nearly right."""
    default = parameter.default
    if rng.random() < 0.5 or isinstance(default, str):
        return rng.choice(TEXTS)
    items = default if isinstance(default, list) else [default]
    changed = [item * rng.choice((0, 1, -1, 2, 1000, 0.5)) + rng.choice((0, 1, -1)) for item in items]
    return ",".join(map(str, changed * rng.choice((1, 1, 2))))


def image_file(rng: random.Random, folder: Path) -> Outcome:
    """A folder of images of which one file is not what it seems."""
    rows = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    np.save(folder / "a.npy", rows)
    before = data.load(f"folder:{folder}").digest
    kind = rng.choice(("npy", "npz", "png", "jpg", "NPZ", "jpeg"))
    file = folder / f"b.{kind}"
    write(kind.lower(), file, rows)
    content = file.read_bytes()
    file.write_bytes(rng.choice(DAMAGES)(rng, content, folder))
    if rng.random() < 0.1:
        file.rename(file.with_suffix(rng.choice((".npy", ".npz", ".png", ".jpg", ".txt"))))
    inside = sorted(folder.iterdir())
    try:
        loaded = data.load(f"folder:{folder}", size=rng.choice((None, 8)))
    except DataError as error:
        right = one_line(f"error: {command.printable(' '.join(str(error).split()))}\n")
        said = str(error)
    except Exception as error:
        right, said = False, repr(error)
    else:
        x = torch.cat([loaded.train, loaded.test])
        right, said = bool((x.isfinite() & (x >= 0) & (x <= 1)).all()), f"accepted, {before} before"
    return Outcome(right and sorted(folder.iterdir()) == inside, f"{file.name}: {said[:300]}")


def write(kind: str, file: Path, rows: np.ndarray) -> None:
    """Good images in a format."""
    if kind == "npy":
        np.save(file, rows)
    elif kind == "npz":
        with file.open("wb") as opened:
            np.savez_compressed(opened, images=rows, labels=np.arange(len(rows)))
    else:
        Image.fromarray(rows[0]).save(file, format="PNG" if kind == "png" else "JPEG")


def flipped(rng: random.Random, content: bytes, folder: Path) -> bytes:
    """Some bits turned."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 30))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(rng: random.Random, content: bytes, folder: Path) -> bytes:
    """The beginning alone."""
    return content[: rng.randrange(len(content) + 1)]


def mixed(rng: random.Random, content: bytes, folder: Path) -> bytes:
    """A part of it somewhere else, or noise."""
    a, b = sorted((rng.randrange(len(content) + 1), rng.randrange(len(content) + 1)))
    return rng.choice((content[a:b] + content, content[:a] + rng.randbytes(b - a) + content[b:], rng.randbytes(b)))


def pickled(rng: random.Random, content: bytes, folder: Path) -> bytes:
    """Something that acts when it is unpickled, plainly or in an array."""
    bomb, out = Unpickled(folder), io.BytesIO()
    if rng.random() < 0.5:
        return pickle.dumps(bomb)
    if rng.random() < 0.5:
        np.save(out, np.array([bomb], dtype=object), allow_pickle=True)
    else:
        np.savez(out, images=np.array([bomb], dtype=object))
    return out.getvalue()


def promised(rng: random.Random, content: bytes, folder: Path) -> bytes:
    """A small file that promises much: an array, an archive of one, a picture."""
    out, shape = (
        io.BytesIO(),
        rng.choice(((10**6, 1000, 1000), (-1, 8, 8), (2**62, 8, 8), (0, 8, 8), (3, 0, 8), (70_000,) * 3)),
    )
    header = {
        "descr": rng.choice(("<f8", "|u1", "|O", "<U9999", "<c16", "<M8[s]")),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(out, header)
    choice = rng.randrange(3)
    if choice == 0:
        return out.getvalue()
    if choice == 1:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
            opened.writestr("images.npy", out.getvalue() + bytes(2**20))
            opened.writestr("../../escaped.npy", b"")
        return archive.getvalue()
    chunk = b"IHDR" + struct.pack(">II5B", 2**15, 2**15, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + bytes(4) + struct.pack(">I", 9) + b"IDAT"


def emptied(rng: random.Random, content: bytes, folder: Path) -> bytes:
    """Nothing."""
    return b""


DAMAGES = (flipped, flipped, flipped, cut, mixed, pickled, promised, emptied)


def cache(rng: random.Random, folder: Path) -> Outcome:
    """Damage to a fit, or to the record of a run: it is made again with the same numbers, or used if it is whole."""
    return rng.choice((_fit, _record))(rng, folder)


def _fit(rng: random.Random, folder: Path) -> Outcome:
    works = [store.Work({"seed": seed}, lambda _, seed=seed: {"w": torch.arange(999.0) * seed}) for seed in (1, 2)]
    whole = store.fetch(works, folder=folder)
    damaged = damage(rng, sorted(path for path in folder.iterdir() if path.suffix != ".lock"))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        again = store.fetch(works, folder=folder)
        same = all(torch.equal(a["w"], b["w"]) for a, b in zip(whole, again, strict=True))
        once = len(said)
        store.fetch(works, folder=folder)
    left = [path for path in folder.iterdir() if path.name.startswith(".")]
    return Outcome(
        same and len(said) == once <= 2 and not left, f"{damaged}: same {same}, {[str(w.message) for w in said]}"
    )


def _record(rng: random.Random, folder: Path) -> Outcome:
    notebook = folder / "00_tiny.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = 1", id="x")]), notebook)
    job = runs.Job(notebook, {"dataset": "mnist", "x": 1.0}, folder / "runs", 60)
    made = (notebook.read_bytes(), b"1 item", {"values": {f"x{i}": {"value": 12345.0 + i} for i in range(99)}})
    real, runs._perform = runs._perform, lambda *_, **__: made
    try:
        first = runs.execute(job)
        damaged = damage(rng, sorted(path for path in job.folder.iterdir() if path.suffix != ".lock"))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            again = runs.execute(job)
            used = runs.execute(job)
    finally:
        runs._perform = real
    same = again["values"] == first["values"] == used["values"]
    return Outcome(
        same and used.get("reused") is True and len(said) <= 1, f"{damaged}: {same} {[str(w.message) for w in said]}"
    )


def damage(rng: random.Random, files: list[Path]) -> str:
    """Do something to one of some files, and say what."""
    path, other = rng.choice(files), rng.choice(files)
    content = path.read_bytes()
    deeds: dict[str, Callable] = {
        "changed": lambda: path.write_bytes(rng.choice(DAMAGES)(rng, content, path.parent)),
        "another digit": lambda: path.write_bytes(digit(rng, content)),
        "deleted": path.unlink,
        "replaced by another": lambda: path.write_bytes(other.read_bytes()),
        "a directory": lambda: (path.unlink(), path.mkdir(), (path / "x").touch()),
        "a pipe": lambda: (path.unlink(), os.mkfifo(path)),
        "a link to itself": lambda: (path.unlink(), path.symlink_to(path)),
        "other JSON": lambda: path.write_text(rng.choice(("null", "[]", "{}", "1", '{"sha256": null}', "[" * 9999))),
    }
    deed = rng.choice([*deeds, "changed", "changed", "another digit", "another digit"])
    deeds[deed]()
    return f"{path.name} {deed}"


def digit(rng: random.Random, content: bytes) -> bytes:
    """One digit replaced by another."""
    places = [at for at, byte in enumerate(content) if chr(byte).isdecimal()]
    at = rng.choice(places)
    return content[:at] + str((int(content[at : at + 1]) + rng.randrange(1, 10)) % 10).encode() + content[at + 1 :]


KINDS: dict[str, Callable[[random.Random, Path], Outcome]] = {
    "command lines": command_line, "values": value, "image files": image_file, "damages": cache,
}  # fmt: skip


def one_line(said: str) -> bool:
    """Whether a message is one line that a terminal shows as it is."""
    line = said.removesuffix("\n")
    return bool(line) and "Traceback" not in line and "\n" not in line


@contextlib.contextmanager
def in_time(seconds: int) -> Iterator[None]:
    """Raise in what takes longer."""

    def late(*_: object) -> None:
        raise TimeoutError(f"not done in {seconds} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def attacked(kind: str, n: int, seed: int) -> list[str]:
    """Try so many cases of a kind; those that did not end cleanly."""
    bad = []
    for index in tqdm(range(n), desc=kind, disable=None):
        top = Path(tempfile.mkdtemp(prefix="hostile-"))
        folder = top / "case"
        folder.mkdir()
        rng = random.Random(f"{seed} {kind} {index}")
        try:
            with in_time(SECONDS):
                outcome = KINDS[kind](rng, folder)
        except Exception as error:
            outcome = Outcome(False, repr(error))
        outside = [path.name for path in top.iterdir() if path != folder] + [str(p) for p in folder.rglob("executed")]
        shutil.rmtree(top)
        if not outcome.clean or outside:
            bad.append(f"{kind} {index}: {outcome.what} {outside or ''}")
    return bad


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100, help="cases of each kind (100)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all cases (0)")
    given = parser.parse_args()
    found = {kind: attacked(kind, given.n, given.seed) for kind in KINDS}
    for line in [line for bad in found.values() for line in bad]:
        print(line)
    print(
        json.dumps(
            {kind: {"tried": given.n, "clean": given.n - len(bad), "not": len(bad)} for kind, bad in found.items()}
        )
    )
    sys.exit(any(found.values()))


if __name__ == "__main__":
    main()
