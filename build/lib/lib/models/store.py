"""A content-addressed cache of fits: the same specification, data, code and torch give the same file.

A file counts only if the SHA-256 written beside it (in the format of ``sha256sum``, and after it) agrees. So a run that
is killed leaves nothing that a later run would trust, and a damaged file is recomputed. Nothing is unpickled.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
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


def fetch(specs: Sequence[Spec], build: Callable[[Spec, Path], Tensors], *, folder: Path = FITS) -> list[Tensors]:
    """The fits of these specifications, built where they are missing.

    Processes that want the same fits at the same time share the work: each builds what no other is building, then waits
    for the rest.

    Args:
        specs: complete descriptions of the fits, in values that JSON has.
        build: from a specification, and a path for checkpoints (see :func:`write`, :func:`read`), to named tensors.
        folder: of the cache.
    """
    found: dict[str, Tensors] = {}
    paths = {key(spec): spec for spec in specs}
    folder.mkdir(parents=True, exist_ok=True)
    for wait in (0, -1):  # first what nobody else is building, then whatever is left
        for name in [name for name in paths if name not in found]:
            path = folder / f"{name}.safetensors"
            try:
                with FileLock(path.with_suffix(".lock"), timeout=wait):
                    found[name] = read(path) or _build(paths[name], path, build)
            except Timeout:
                continue
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


def _build(spec: Spec, path: Path, build: Callable[[Spec, Path], Tensors]) -> Tensors:
    checkpoint = path.with_suffix(".checkpoint")
    write(path, build(spec, checkpoint), {"spec": json.dumps(spec, sort_keys=True)})
    remove(checkpoint)
    fit = read(path)
    if fit is None:  # the disk did not keep what was written a moment ago
        raise OSError(f"{path} cannot be read back")
    return fit


def _digest_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
