"""Other divisions of a data set into a training and a test part, and its labels as a part of its images."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from lib.measures.axes import Images
from lib.models.data import DataError, Dataset, _again

LABELS = 256
"""labels below it are kept exactly in images"""


def exchanged(dataset: Dataset) -> Dataset:
    """The same data with the test part to train on, for a network that shall know nothing of the training part."""
    x, labels, test, test_labels = dataset[1:5]
    return dataset._replace(
        train=test,
        train_labels=test_labels,
        test=x,
        test_labels=labels,
        digest=_digest(dataset, "exchanged"),
        again=_again(dataset, exchanged),
    )


def halved(dataset: Dataset, *, seed: int) -> Dataset:
    """All images, of both parts: a random half of every class to train on, the other half as the test part."""
    _, labels = _all(dataset)
    rng = np.random.default_rng(seed)
    train = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero()[:, 0]
        train[members[torch.from_numpy(rng.permutation(len(members))[: len(members) // 2])]] = True
    return _divided(dataset, train, f"halved, seed {seed}", _again(dataset, halved, seed=seed))


def apart(dataset: Dataset, classes: Sequence[int]) -> Dataset:
    """All images, of both parts: those of some classes, such as persons, as the test part, to train on all others.

    Raises:
        DataError: a class without images, or none left to train on.
    """
    _, labels = _all(dataset)
    lacking = sorted(set(classes) - set(labels.tolist()))
    test = torch.isin(labels, torch.tensor(sorted(set(classes))))
    if lacking or test.all():
        raise DataError(f"{dataset.name} has no images of {lacking}, or none but those of {sorted(set(classes))}")
    wanted = sorted(set(classes))
    return _divided(dataset, ~test, f"classes {wanted} apart", _again(dataset, apart, wanted))


def labelled(dataset: Dataset) -> Dataset:
    """The same data, with the label of each image as its last channel; :func:`split` takes them apart.

    Raises:
        DataError: a label above 255.
    """
    most = int(max(dataset.train_labels.max(), dataset.test_labels.max()))
    if most >= LABELS:
        raise DataError(f"labels must be below {LABELS}, {dataset.name} has {most}")

    def both(images: Tensor, labels: Tensor) -> Tensor:
        channel = (labels / LABELS)[:, None, None, None].expand(-1, 1, *images.shape[2:])
        return torch.cat([images, channel], 1)

    return dataset._replace(
        train=both(dataset.train, dataset.train_labels),
        test=both(dataset.test, dataset.test_labels),
        digest=_digest(dataset, "labelled"),
        again=_again(dataset, labelled),
    )


def split(images: Images) -> tuple[Float[Tensor, "batch others height width"], Int64[Tensor, " batch"]]:
    """The images and the labels of :func:`labelled` ones.

    Example:
        >>> split(torch.tensor([[[[0.5]], [[3 / 256]]]]))
        (tensor([[[[0.5000]]]]), tensor([3]))
    """
    return images[:, :-1], (images[:, -1, 0, 0] * LABELS).round().long()


def _all(dataset: Dataset) -> tuple[Images, Int64[Tensor, " images"]]:
    return torch.cat([dataset.train, dataset.test]), torch.cat([dataset.train_labels, dataset.test_labels])


def _divided(dataset: Dataset, train: Bool[Tensor, " images"], how: str, again: Callable | None) -> Dataset:
    x, labels = _all(dataset)
    sides = x[train], labels[train], x[~train], labels[~train]
    return Dataset(dataset.name, *sides, _digest(dataset, how), again)


def _digest(dataset: Dataset, how: str) -> str:
    return hashlib.sha256(f"{dataset.digest} {how}".encode()).hexdigest()
