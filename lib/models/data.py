"""Named data sets as tensors, each known by a digest of its content."""

import gzip
import hashlib
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from PIL import Image
from sklearn.model_selection import KFold
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

ROOT = Path(__file__).parents[2]
"""The repository: data, notebooks and pages are found from here, whatever the working directory."""

MNIST = {  # SHA-256 of the decompressed bytes: gzip itself is free to differ
    "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}

PNG_MODES = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGB"}
"""Eight-bit PNG modes and what they are read as: grey or colour, without transparency."""

FOLDERS = {"mnist": "mnist", "cifar10": "cifar-10-batches-bin", "celeba": "celeba"}
"""Where each named data set lies under the data folder."""

ACCEPTED = "'mnist', 'cifar10', 'celeba', or 'folder:PATH' for a folder of .npy, .npz or .png images"


class DataError(ValueError):
    """A data set that is missing, damaged, or not of the form it should have."""


class Dataset(NamedTuple):
    """Images in [0, 1] with their labels."""

    name: str
    train: Float[Tensor, "train channels height width"]
    train_labels: Int64[Tensor, " train"]
    test: Float[Tensor, "test channels height width"]
    test_labels: Int64[Tensor, " test"]
    digest: str
    """SHA-256 of the content: equal digests are equal images and labels"""
    most: int | None = None
    """how :func:`load` was limited, so that the same can be loaded again"""


def load(name: str, *, root: Path = ROOT / "data", most: int | None = None) -> Dataset:
    """The data set of that name: ``mnist``, ``cifar10``, ``celeba``, or ``folder:PATH`` for your own images.

    CIFAR-10 is read from its binary version (``ROOT/cifar-10-batches-bin/data_batch_*.bin`` and ``test_batch.bin``),
    CelebA from its aligned images (``ROOT/celeba/img_align_celeba/*.jpg`` and ``list_eval_partition.txt``), the middle
    148 x 148 pixels reduced to 32 x 32; its test set here is the validation part, as in the paper.

    A folder holds ``.png`` files (an image each), ``.npy`` files (``[n, height, width]`` or
    ``[n, height, width, channels]``) or ``.npz`` files with such an array called ``images`` and, if you like,
    ``labels``. Values are integers of 0..255 or floats in [0, 1], all images of one shape. Images in sub-folders have
    the sub-folder as their class; otherwise, without ``labels``, all are of class 0. One image in seven, spread evenly
    over a fixed permutation, is the test set. Pickled arrays are refused.

    Args:
        name: of the data set.
        root: the data folder, for data sets that have a name.
        most: of CelebA, which is a file per image, read no more than this many of either part.

    Raises:
        DataError: with the file, what was expected and what was found.
    """
    if name.startswith("folder:"):
        return _folder(Path(name.removeprefix("folder:")).expanduser())
    if name not in FOLDERS:
        raise DataError(f"unknown dataset {name!r}; accepted: {ACCEPTED}")
    folder = root / FOLDERS[name]
    return {"mnist": _mnist, "cifar10": _cifar10, "celeba": lambda folder: _celeba(folder, most)}[name](folder)


def folds(n: int, k: int, *, seed: int, repeat: int) -> Int64[Tensor, " n"]:
    """Which of ``k`` folds each of ``n`` images is in: for each repeat another random division into equal parts.

    Raises:
        ValueError: fewer than two folds, or more folds than images.
    """
    if not 2 <= k <= n:
        raise ValueError(f"folds must be in 2..{n}, the number of images, got {k}")
    fold = torch.empty(n, dtype=torch.long)
    parts = KFold(k, shuffle=True, random_state=seed_from(seed, repeat) % 2**32).split(np.empty(n))
    for index, (_, held_out) in enumerate(parts):
        fold[torch.from_numpy(held_out)] = index
    return fold


def draw(available: int, count: int, seed: int) -> Int64[Tensor, " count"]:
    """Which images a model is fitted on: the first of a permutation that depends on the seed; zero means all."""
    order = np.random.default_rng([seed, available]).permutation(available)
    return torch.from_numpy(np.sort(order[: count or available]))


def seed_from(*identity: int) -> int:
    """A seed that belongs to what it is for (seed, repeat, fold ...), not to the order of calls."""
    return int(np.random.SeedSequence(identity).generate_state(1)[0])


def nearest_neighbours(x: Float[Tensor, "n *shape"], among: Float[Tensor, "m *shape"]) -> Int64[Tensor, " n"]:
    """Index in ``among`` of the nearest *other* image, in Euclidean distance between pixels.

    An equal image counts as the same image, not as a neighbour.

    Raises:
        DataError: all of the eight nearest images of some ``x`` equal it, or ``among`` has no other image.
    """
    candidates = min(8, len(among))
    search = NearestNeighbors(n_neighbors=candidates, algorithm="brute").fit(among.flatten(1).cpu().numpy())
    index = torch.from_numpy(search.kneighbors(x.flatten(1).cpu().numpy(), return_distance=False))
    differs = (among.cpu()[index] != x.cpu()[:, None]).flatten(2).any(2)
    if not differs.any(1).all():
        raise DataError(f"{int((~differs.any(1)).sum())} of {len(x)} images have no neighbour but copies of themselves")
    return index.gather(1, differs.int().argmax(1, keepdim=True))[:, 0]


def _mnist(folder: Path) -> Dataset:
    train, train_labels, test, test_labels = (_idx(folder / name, digest) for name, digest in MNIST.items())
    digest = hashlib.sha256("".join(MNIST.values()).encode()).hexdigest()
    return Dataset("mnist", _unit(train), train_labels.long(), _unit(test), test_labels.long(), digest)


def _idx(path: Path, expected: str) -> Tensor:
    """One IDX file: 4 bytes of magic whose last is the number of axes, 4 bytes for each axis, then the values."""
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path} is missing; expected the official file with SHA-256 {expected}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged ({error}); expected content with SHA-256 {expected}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise DataError(f"{path} was altered: expected SHA-256 {expected}, found {found}")
    axes = np.frombuffer(content, ">u4", count=content[3], offset=4).astype(int)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * len(axes)).reshape(axes)
    return torch.from_numpy(values.copy())


def _unit(images: Tensor) -> Tensor:
    return images[:, None].float().div_(255)


def _cifar10(folder: Path) -> Dataset:
    """Records of one byte for the class, then 3 x 32 x 32 for the pixels."""
    parts = []
    for pattern in ("data_batch_*.bin", "test_batch.bin"):
        files = sorted(folder.glob(pattern))
        if not files:
            raise DataError(f"{folder} has no {pattern}; expected CIFAR-10, the version for C programs")
        for file in files:
            if not file.stat().st_size or file.stat().st_size % 3073:
                raise DataError(f"{file} has {file.stat().st_size} bytes; expected a multiple of 3073, an image each")
        parts.append(np.concatenate([np.fromfile(file, np.uint8) for file in files]).reshape(-1, 3073))
    sides = [
        side
        for part in parts
        for side in (
            torch.from_numpy(part[:, 1:].astype(np.float32) / 255).view(-1, 3, 32, 32),
            torch.from_numpy(part[:, 0].astype(np.int64)),
        )
    ]
    return Dataset("cifar10", *sides, _digest(*sides))


def _celeba(folder: Path, most: int | None) -> Dataset:
    """The official partition: 0 for training, 1 for validation."""
    try:
        lines = [line.split() for line in (folder / "list_eval_partition.txt").read_text().splitlines() if line.strip()]
        named = [[name for name, part in lines if part == wanted][:most] for wanted in ("0", "1")]
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}/list_eval_partition.txt: expected lines 'NAME.jpg PART' ({error})") from None
    if not all(named):
        raise DataError(f"{folder}/list_eval_partition.txt names no image of part 0 or none of part 1")
    images = [torch.stack([_face(folder / "img_align_celeba" / name) for name in names]) for names in named]
    sides = [side for part in images for side in (part, torch.zeros(len(part), dtype=torch.long))]
    return Dataset("celeba", *sides, _digest(*sides), most)


def _face(file: Path) -> Tensor:
    try:
        with Image.open(file, formats=["JPEG"]) as image:
            left, top = (image.width - 148) // 2, (image.height - 148) // 2
            if left < 0 or top < 0:
                raise DataError(f"{file} is {image.width} x {image.height}; expected 178 x 218, the aligned images")
            box = (left, top, left + 148, top + 148)
            small = image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR, box)
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error})") from None
    return torch.from_numpy(np.asarray(small).astype(np.float32) / 255).movedim(2, 0)


def _digest(*content: Tensor) -> str:
    parts = [repr(tuple(part.shape)).encode() + part.numpy().tobytes() for part in content]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _folder(path: Path) -> Dataset:
    files = sorted(file for file in path.rglob("*") if file.suffix in {".npy", ".npz", ".png"})
    if not files:
        raise DataError(f"{path} has no .npy, .npz or .png file" if path.is_dir() else f"{path} is not a folder")
    classes = sorted({str(file.parent.relative_to(path)) for file in files})
    images, labels = [], []
    for file in files:
        array, own = _read(file)
        if images and array.shape[1:] != images[0].shape[1:]:
            raise DataError(
                f"{file} has images of {list(array.shape[1:])} (height, width, channels), "
                f"{files[0]} of {list(images[0].shape[1:])}; all must have one shape"
            )
        images.append(array)
        labels.append(np.full(len(array), classes.index(str(file.parent.relative_to(path)))) if own is None else own)
    x = torch.from_numpy(np.concatenate(images)).movedim(3, 1).contiguous()
    y = torch.from_numpy(np.concatenate(labels).astype(np.int64))
    if len(x) < 14:
        raise DataError(f"{path} holds {len(x)} images; at least 14 are needed to have a test set")
    digest = hashlib.sha256(repr(tuple(x.shape)).encode() + x.numpy().tobytes() + y.numpy().tobytes()).hexdigest()
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(x)))
    test = torch.zeros(len(x), dtype=torch.bool)
    test[order[::7]] = True
    return Dataset(f"folder:{path}", x[~test], y[~test], x[test], y[test], digest)


def _read(file: Path) -> tuple[np.ndarray, np.ndarray | None]:
    labels = None
    try:
        if file.suffix == ".png":
            with Image.open(file, formats=["PNG"]) as image:
                array = np.asarray(image.convert(PNG_MODES[image.mode]))[None]
        else:
            loaded = np.load(file, allow_pickle=False)
            if file.suffix == ".npz":
                labels = loaded["labels"] if "labels" in loaded.files else None
                loaded = loaded["images"]
            array = loaded
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise DataError(f"{file} cannot be read ({error}); pickled arrays are refused") from None
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.dtype.kind not in "uif":
        raise DataError(
            f"{file}: expected numbers [n, height, width] or with channels last, got {array.dtype} {array.shape}"
        )
    array = array.astype(np.float32) / (1 if array.dtype.kind == "f" else 255)
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        raise DataError(f"{file}: values must be integers in 0..255 or floats in [0, 1]")
    if labels is not None and labels.shape != (len(array),):
        raise DataError(f"{file}: {len(array)} images but labels of shape {list(labels.shape)}")
    return array, labels
