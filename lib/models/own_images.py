"""Images of the reader's own: a folder of pictures or arrays, or one array, read into one form, each step said.

The readers are those of :mod:`lib.models.unpack`, which look at a file's kind and size first and open no pickle.
"""

import hashlib
import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lib.models import ranges, sources, unpack
from lib.models.draws import draw
from lib.models.unpack import DataError

LEAST = 10
"""images, below which nothing can be said of them"""

ARRAYS = {".npy": unpack.npy, ".npz": unpack.npz}

ACCEPTED = "a folder of .png or .jpg files, or of .npy files; or FILE.npy [n, height, width]; or FILE.npz with 'images'"

SIDES = {"train", "training", "test", "val", "valid", "validation", "held_out", "held-out", "heldout"}
"""names of folders that hold one side of two"""


class OwnImages(NamedTuple):
    """Images in [0, 1] and where they are from."""

    x: Float[Tensor, "n channels height width"]
    """float32"""
    notes: tuple[str, ...]
    """what was done to them, a sentence each"""
    digest: str
    """SHA-256 of the content: equal digests are equal images"""
    names: tuple[str, ...]
    """the file of each, and its row where a file holds several"""


def load(path: str | Path, *, maximum: int | None = None, seed: int = 0, given: str | None = None) -> OwnImages:
    """The images of a folder or an array file, in the order of their names.

    Pictures are grey or colour, without transparency. Arrays are ``[n, height, width]``, channels first or last, or
    ``[n, pixels]`` of square images. Values become [0, 1] by :func:`lib.models.ranges.unit`.

    Args:
        path: of a folder, with its sub-folders, or of a ``.npy`` or ``.npz`` file.
        maximum: read no more than so many, drawn at random.
        seed: of that draw.
        given: the range of the values; by default it is found.

    Raises:
        DataError: with what was given, what is accepted, and what to do.
    """
    place = sources.place(str(path))
    if not place.exists():
        raise DataError(f"{place} is not there; accepted: {ACCEPTED}")
    files = _files(place)
    if files[0].suffix.lower() in ARRAYS:
        x, names, notes = _arrays(files, maximum, seed)
    else:
        x, names, notes = _pictures(files, maximum, seed)
    if len(x) < LEAST:
        raise DataError(
            f"{place} holds {len(x)} images; at least {LEAST} are needed, and some hundreds to see anything"
        )
    try:
        x, done = ranges.unit(x, given)
    except ranges.RangeError as error:
        raise DataError(f"{place}: {error}") from None
    if bool((x == x[:1]).all()):
        raise DataError(f"{place}: all of {len(x)} images are the same")
    x = x.contiguous()
    return OwnImages(x, (*notes, *done), digest(x), names)


def digest(x: Tensor) -> str:
    """SHA-256 of images: of their shape and values."""
    return hashlib.sha256(repr(tuple(x.shape)).encode() + x.contiguous().cpu().numpy().tobytes()).hexdigest()


def shared(train: Tensor, held_out: Tensor) -> Int64[Tensor, " copies"]:
    """Which held-out images are, value by value, among the training images too.

    Example:
        >>> shared(torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [1.0]]))
        tensor([1])
    """
    places = first_equal(torch.cat([train.flatten(1), held_out.flatten(1)]))[len(train) :]
    return (places < len(train)).nonzero()[:, 0]


def repeated(images: Tensor) -> int:
    """How many images are copies of an earlier one, value by value.

    Example:
        >>> repeated(torch.tensor([[0.0], [1.0], [0.0], [0.0]]))
        2
    """
    return len(images) - len(first_equal(images).unique())


def apart(train: OwnImages, held_out: OwnImages) -> tuple[OwnImages, OwnImages]:
    """Both sides, of one shape, the held-out one without images that are also among the training images.

    Copies within the training side are counted in a note, and stay.

    Raises:
        DataError: the sides are of different shapes, or too few held-out images would be left.
    """
    shapes = [list(side.x.shape[1:]) for side in (train, held_out)]
    if shapes[0] != shapes[1]:
        raise DataError(
            f"training images are {shapes[0]}, held-out images {shapes[1]} (channels, height, width); both must be "
            "of one shape: crop, resize or convert one side like the other"
        )
    same, copies = shared(train.x, held_out.x), repeated(train.x)
    if copies:
        train = train._replace(notes=(*train.notes, f"{copies} of {len(train.x)} training images are copies of others"))
    if not len(same):
        return train, held_out
    told = f"{len(same)} of your {len(held_out.x)} held-out images are also among the training images"
    kept = torch.ones(len(held_out.x), dtype=torch.bool)
    kept[same] = False
    if kept.sum() < max(LEAST, len(kept) / 2):
        raise DataError(f"{told}; hold out images that the model was not trained with")
    x, names = held_out.x[kept], tuple(name for name, keep in zip(held_out.names, kept.tolist(), strict=True) if keep)
    return train, OwnImages(x, (*held_out.notes, f"{told}, and are left out"), digest(x), names)


def first_equal(images: Tensor) -> Int64[Tensor, " images"]:
    """For each image the place of the first that equals it, value by value: its own, if there is none before it.

    Example:
        >>> first_equal(torch.tensor([[1.0], [2.0], [1.0]]))
        tensor([0, 1, 0])
    """
    values = images.flatten(1).cpu().numpy()
    places: dict[bytes, int] = {}
    # The rows themselves as keys would take their memory again.
    keys = (hashlib.sha256((row + 0.0).tobytes()).digest() for row in values)  # a negative zero is a zero
    return torch.tensor([places.setdefault(key, place) for place, key in enumerate(keys)], dtype=torch.long)


def _files(place: Path) -> list[Path]:
    """The files that hold images, of one kind."""
    suffix = place.suffix.lower()
    if place.is_file():
        if suffix in ARRAYS:
            return [place]
        if suffix in unpack.IMAGES:
            raise DataError(
                f"{place} is one image; give the folder of all images. A sheet of many is first cut into files: "
                "PIL.Image.open(FILE).crop((left, top, right, bottom)).save(NAME) for each"
            )
        raise DataError(f"{place} is not a file of images{_instead(suffix)}; accepted: {ACCEPTED}")
    found = sorted(_all(place))
    if not found:
        raise DataError(f"{place} is empty; accepted: {ACCEPTED}")
    for kinds in (unpack.IMAGES, ARRAYS):
        files = [file for file in found if file.suffix.lower() in kinds]
        if files:
            _refuse_both_sides(place, files)
            return files
    raise DataError(
        f"{place} has no images among its {len(found)} files, such as {found[0].name}; accepted: {ACCEPTED}"
    )


def _instead(suffix: str) -> str:
    if suffix in (".pkl", ".pickle", ".pt", ".pth", ".joblib"):
        return ", and no pickle is opened: save the array with numpy.save('images.npy', array)"
    if suffix in (".zip", ".gz", ".tar", ".tgz"):
        return ": unpack it"
    return ""


def _all(place: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be read ({error.strerror})")

    walk = os.walk(place, onerror=refuse)
    return [Path(folder) / name for folder, _, names in walk for name in names if not name.startswith(".")]


def _refuse_both_sides(place: Path, files: Sequence[Path]) -> None:
    first = {file.relative_to(place).parts[0] for file in files if len(file.relative_to(place).parts) > 1}
    sides = sorted(name for name in first if name.lower() in SIDES)
    if len(sides) > 1:
        raise DataError(f"{place} holds the sides {', '.join(sides)}; give one of them, such as {place / sides[0]}")


def _pictures(files: list[Path], maximum: int | None, seed: int) -> tuple[Tensor, tuple[str, ...], tuple[str, ...]]:
    rows, notes = _some(len(files), maximum, seed)
    chosen, read, total = [files[row] for row in rows], [], 0
    for file in chosen:
        try:
            read.append(unpack.pixels(file, unpack.IMAGES[file.suffix.lower()]))
        except Exception as error:  # decoders fail in many ways
            raise DataError(f"{file} cannot be read as an 8-bit picture ({type(error).__name__}: {error})") from None
        total += 4 * read[-1].size
        if total > unpack.MOST:
            raise DataError(f"{file.parent}: the images take more than {unpack.MOST / 2**30:g} GiB; give a maximum")
    _one_shape(chosen, [array.shape[1:] for array in read])
    x = torch.from_numpy(np.concatenate(read)).movedim(3, 1)
    return x, tuple(map(str, chosen)), notes


def _one_shape(files: Sequence[Path], shapes: Sequence[tuple[int, ...]]) -> None:
    counts = Counter(shapes).most_common()
    if len(counts) > 1:
        usual = counts[0][0]
        others = [(file, shape) for file, shape in zip(files, shapes, strict=True) if shape != usual]
        file, shape = others[0]
        raise DataError(
            f"{len(others)} of {len(files)} images are not {_size(usual)} like the others: {file} is {_size(shape)}; "
            "all must have one shape: PIL.Image.open(FILE).convert('RGB').resize((width, height)).save(FILE)"
        )


def _size(shape: tuple[int, ...]) -> str:
    height, width, channels = shape
    return f"{height} x {width} in {'grey' if channels == 1 else 'colour'}"


def _arrays(files: list[Path], maximum: int | None, seed: int) -> tuple[Tensor, tuple[str, ...], tuple[str, ...]]:
    parts, said, names = [], [], []
    for file in files:
        try:
            array, _ = ARRAYS[file.suffix.lower()](unpack.regular(file))
        except DataError as error:
            raise DataError(f"{error}; accepted: {ACCEPTED}") from None
        except Exception as error:  # decompressors fail in many ways
            raise DataError(f"{file} cannot be read ({error}); pickled arrays are refused") from None
        images, notes = _arranged(array, file)
        if parts and images.shape[1:] != parts[0].shape[1:]:
            raise DataError(f"{file} has images of {list(images.shape[1:])}, {files[0]} of {list(parts[0].shape[1:])}")
        parts.append(images)
        said += [note for note in notes if note not in said]
        names += [f"{file}[{row}]" for row in range(len(images))]
    if len({part.dtype for part in parts}) > 1:
        raise DataError(
            f"{files[0].parent}: arrays of {', '.join(sorted({str(part.dtype) for part in parts}))}; save one kind"
        )
    x = torch.cat(parts)
    rows, drawn = _some(len(x), maximum, seed)
    return x[rows], tuple(names[row] for row in rows), (*said, *drawn)


def _arranged(array: np.ndarray, file: Path) -> tuple[Tensor, list[str]]:
    """An array as ``[n, channels, height, width]``."""
    if array.dtype.kind not in "uifb" or not array.size:
        raise DataError(f"{file}: expected numbers, got {array.dtype} {list(array.shape)}")
    if array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1):
        raise DataError(f"{file} has one number per image, {list(array.shape)}: labels, it seems; accepted: {ACCEPTED}")
    bad = int((~np.isfinite(array).reshape(len(array), -1).all(1)).sum())
    if bad:
        raise DataError(f"{file}: {bad} of {len(array)} images hold NaN or infinity; leave them out or mend them")
    whole = np.uint8 if array.dtype.kind in "ub" and array.itemsize == 1 else np.int64
    x = torch.from_numpy(array.astype(np.float32 if array.dtype.kind == "f" else whole))
    if x.ndim == 2:
        return _unflattened(x, file)
    if x.ndim == 3 and x.shape[2] not in (3, 4):
        return x[:, None], []
    if x.ndim != 4:
        raise DataError(f"{file} is {list(x.shape)}, one image, it seems; accepted: {ACCEPTED}")
    first, last = x.shape[1] <= 4, x.shape[3] <= 4
    if first == last:
        raise DataError(f"{file} is {list(x.shape)}; expected 1 or 3 channels, as [n, channels, height, width] or last")
    return (x, []) if first else (x.movedim(3, 1), [])


def _unflattened(x: Tensor, file: Path) -> tuple[Tensor, list[str]]:
    for channels in (1, 3):
        side = math.isqrt(x.shape[1] // channels)
        if channels * side**2 == x.shape[1] and side >= 4:
            shape = (channels, side, side)
            return x.view(-1, *shape), [f"rows of {x.shape[1]} numbers are read as {' x '.join(map(str, shape))}"]
    raise DataError(f"{file} is {list(x.shape)}, rows that are no square images; save them as [n, height, width]")


def _some(count: int, maximum: int | None, seed: int) -> tuple[list[int], tuple[str, ...]]:
    if maximum is None or maximum >= count:
        return list(range(count)), ()
    if maximum < LEAST:
        raise DataError(f"a maximum of {maximum} images was given; at least {LEAST} are needed")
    return draw(count, maximum, seed).tolist(), (f"{maximum} of {count} images, drawn with seed {seed}",)
