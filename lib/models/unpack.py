"""Files of unknown origin: their kind and their size are looked at before anything of them is unpacked."""

import math
import warnings
import zipfile
from io import BufferedIOBase
from pathlib import Path

import numpy as np
from PIL import Image

MOST = 4 * 2**30
"""bytes that a data set may take when it is unpacked: a small file can promise any size"""

MODES = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGB"}
"""Eight-bit modes of image files and what they are read as: grey or colour, without transparency."""

IMAGES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
"""Image files by suffix, and the one format that is tried."""


class DataError(ValueError):
    """A data set that is missing, damaged, or not of the form it should have."""


def npy(file: Path) -> tuple[np.ndarray, None]:
    """The array of a file; it has no labels."""
    with file.open("rb") as opened:
        return _array(opened, file), None


def npz(file: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The arrays ``images`` and, if there is one, ``labels`` of an archive.

    Raises:
        DataError: there is no array of images, or one promises too much.
    """
    with zipfile.ZipFile(file) as archive:
        parts = [name for name in ("images.npy", "labels.npy") if name in archive.namelist()]
        if "images.npy" not in parts:
            raise DataError(f"{file} has no array called images, only {', '.join(archive.namelist()[:5])}")
        arrays = []
        for name in parts:
            with archive.open(name) as opened:
                arrays.append(_array(opened, file))
    return arrays[0], arrays[1] if len(arrays) > 1 else None


HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def _array(opened: BufferedIOBase, file: Path) -> np.ndarray:
    """An array whose size is looked at before anything of it is read."""
    version = np.lib.format.read_magic(opened)
    shape, by_column, kind = HEADERS[version](opened)
    if kind.hasobject or math.prod(shape) * max(4, kind.itemsize) > MOST:
        raise DataError(f"{file} holds {kind} {shape}; accepted are numbers of at most {MOST / 2**30:g} GiB")
    content = opened.read(math.prod(shape) * kind.itemsize)
    return np.frombuffer(content, kind).reshape(shape, order="F" if by_column else "C")


def pixels(file: Path, kind: str) -> np.ndarray:
    """``[1, height, width, channels]``, 0..255."""
    with picture(file, kind) as image:
        if image.mode not in MODES:
            raise DataError(f"{file} has pixels of kind {image.mode}; save it as a grey or colour picture of 8 bits")
        array = np.asarray(image.convert(MODES[image.mode]))
    return array[None, ..., None] if array.ndim == 2 else array[None]


def picture(file: Path, kind: str) -> Image.Image:
    """An image of which the header alone is read; one of more than 89 million pixels is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(regular(file), formats=[kind])


def regular(file: Path) -> Path:
    """The same path, of a regular file: a pipe would never end.

    Raises:
        DataError: it is not there, or something else.
    """
    if not file.is_file():
        raise DataError(f"{file} is not there, or is not a regular file")
    return file
