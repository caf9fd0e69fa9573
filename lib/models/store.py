"""A content-addressed cache of fits: the same specification, data, code and torch give the same file.

A file counts only if the SHA-256 written beside it (in the format of ``sha256sum``, and after it) agrees. So a run that
is killed leaves nothing that a later run would trust, and a damaged file is recomputed. Nothing is unpickled.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lib.models.data import ROOT

FITS = ROOT / "_build" / "fits"

Spec = Mapping[str, object]
Tensors = dict[str, Tensor]
Builder = Callable[[Spec, Path], Tensors]


def fetch(
    specs: Sequence[Spec], build: Builder, *, folder: Path = FITS, executor: Executor | None = None
) -> list[Tensors]:
    """The fits of these specifications, built where they are missing.

    Processes that want the same fits at the same time share the work: each builds what no other is building, then waits
    for the rest.

    Args:
        specs: complete descriptions of the fits, in values that JSON has.
        build: from a specification, and a path for checkpoints (see :func:`write`, :func:`read`), to named tensors.
        folder: of the cache.
        executor: where to build all that is missing at once; by default here, one after the other. What it finishes is
            kept as it comes, also if another build fails.
    """
    wanted = {key(spec): spec for spec in specs}
    folder.mkdir(parents=True, exist_ok=True)
    found = _one_by_one(wanted, build, folder) if executor is None else _at_once(wanted, build, folder, executor)
    return [found[key(spec)] for spec in specs]


def key(spec: Spec) -> str:
    """The name of a fit: 20 hexadecimal digits of a SHA-256."""
    content = json.dumps([spec, source_digest(Path(__file__).parent), torch.__version__], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:20]


def source_digest(folder: Path) -> str:
    """SHA-256 of the Python sources under a folder, names included."""
    sources = sorted(folder.rglob("*.py"))
    return hashlib.sha256(b"\0".join(str(p.relative_to(folder)).encode() + p.read_bytes() for p in sources)).hexdigest()


def read(path: Path) -> Tensors | None:
    """The tensors of a file, or None if it is absent, unfinished or damaged (damage is warned of)."""
    try:
        expected = _digest_file(path).read_text().split()[0]
        content = path.read_bytes()
    except (FileNotFoundError, IndexError):
        return None
    found = hashlib.sha256(content).hexdigest()
    if found == expected:
        try:
            return load(content)
        except SafetensorError:
            found = "an unreadable header"
    warnings.warn(f"{path} is damaged (expected SHA-256 {expected}, found {found}): it is computed again", stacklevel=2)
    return None


def write(path: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> None:
    """Write tensors, then the digest that makes them count."""
    content = save({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, metadata)
    write_atomically(path, content)
    write_atomically(_digest_file(path), f"{hashlib.sha256(content).hexdigest()}  {path.name}\n".encode())


def remove(path: Path) -> None:
    """Delete a file of tensors and its digest, if they are there."""
    for file in (_digest_file(path), path):
        file.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write under a temporary name and rename, so that a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _one_by_one(wanted: Mapping[str, Spec], build: Builder, folder: Path) -> dict[str, Tensors]:
    found: dict[str, Tensors] = {}
    for wait in (0.0, -1.0):  # first what nobody else is building, then whatever is left
        for name in [name for name in wanted if name not in found]:
            with suppress(Timeout):
                found[name] = _locked(wanted[name], folder / f"{name}.safetensors", build, wait)
    return found


def _at_once(wanted: Mapping[str, Spec], build: Builder, folder: Path, executor: Executor) -> dict[str, Tensors]:
    def elsewhere(spec: Spec, checkpoint: Path) -> Tensors:
        return executor.submit(build, spec, checkpoint).result()

    def one(name: str) -> Tensors:
        return _locked(wanted[name], folder / f"{name}.safetensors", elsewhere, -1.0)

    with ThreadPoolExecutor(max(1, len(wanted))) as waiting:  # these only hold the locks and write
        return dict(zip(wanted, waiting.map(one, wanted), strict=True))


def _locked(spec: Spec, path: Path, build: Builder, wait: float) -> Tensors:
    with FileLock(path.with_suffix(".lock"), timeout=wait):
        return read(path) or _build(spec, path, build)


def _build(spec: Spec, path: Path, build: Builder) -> Tensors:
    checkpoint = path.with_suffix(".checkpoint")
    write(path, build(spec, checkpoint), {"spec": json.dumps(spec, sort_keys=True)})
    remove(checkpoint)
    fit = read(path)
    if fit is None:  # the disk did not keep what was written a moment ago
        raise OSError(f"{path} cannot be read back")
    return fit


def _digest_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
