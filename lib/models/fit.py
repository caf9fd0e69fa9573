"""Fit models of any family, or load the fits: each is made once, and kept under a key of all that decides it."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from lib.models import closure, machine, store, streams
from lib.models.closure import ROOT
from lib.models.data import DataError, Dataset
from lib.models.family import Fit, Index, Seen, Spec, Tensors

FITS = ROOT / "_build" / "fits"
USED: dict[str, dict] = {}
"""The fits that this process has used, by key: what decides each, how its data are loaded, where its losses ended."""


def fit(
    specs: Sequence[Spec], dataset: Dataset, device: str, *, folder: Path = FITS, executor: Executor | None = None
) -> list[Fit]:
    """The fits of these specifications, made where they are missing. Models come in evaluation mode, without gradients.

    A fit is a pure function of its specification and the data: on the same kind of machine, with the same number of
    threads, it is the same to the last bit, whatever else is fitted, and also after an interruption. What a fit
    follows, such as the mean that a variance is fitted to, is fitted before it.

    Args:
        specs: the specifications; they may be of several families.
        dataset: the images. A family may also measure its losses on those of the test set.
        device: the device to train on.
        folder: the folder of the cache.
        executor: where to fit side by side; by default here, one after the other. Another process loads the data again.
            Where workers share the folder, a fit goes on from the last checkpoint of a worker that died.

    Raises:
        ValueError: a specification that cannot be fitted on these data.
        DataError: data that another process cannot load, or that are not the same there.
        FloatingPointError: a loss that is not finite.
    """
    indices = [_checked(spec, dataset) for spec in specs]
    images = Images(dataset.digest, dataset.again, dataset)
    code = functools.cache(lambda family: made_with(Path(inspect.getfile(family))))

    def make(wanted: Sequence[Spec], made: Mapping[Spec, Tensors]) -> dict[Spec, Tensors]:
        works = [
            store.Work(
                description(spec, dataset.digest, device, code(type(spec))),
                functools.partial(train, spec, images, device, made.get(spec.follows())),
            )
            for spec in wanted
        ]
        found = store.fetch(works, folder=folder, executor=executor)
        for work, tensors in zip(works, found, strict=True):
            used = {**work.description, "again": images.again, "ended": ended(tensors["losses"])}
            USED[store.key(work.description)] = used
        return dict(zip(wanted, found, strict=True))

    canonical = [spec.canonical() for spec in specs]
    made, shape = _in_order(list(dict.fromkeys(canonical)), make), dataset.train.shape[1:]
    return [
        spec.restore(made[same], index, shape, device)
        for spec, same, index in zip(specs, canonical, indices, strict=True)
    ]


@dataclass(frozen=True)
class Images:
    """The images of a data set. A process that they are sent to gets the digest alone, and loads them again."""

    digest: str
    again: Callable[[], Dataset] | None = field(compare=False)
    here: Dataset | None = field(compare=False)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "here": None}

    def dataset(self) -> Dataset:
        """The data set, from memory if it is there.

        Raises:
            DataError: nobody said how to load it, or it has another digest here.
        """
        return _loaded(self) if self.here is None else self.here


def train(spec: Spec, images: Images, device: str, followed: Tensors | None, checkpoint: Path) -> Tensors:
    """Make one fit. It may run in another process: everything that it is given can be pickled."""
    dataset = images.dataset()
    index = spec.index(len(dataset.train), dataset.name)
    return spec.train(Seen(dataset.train[index], dataset.test), device, checkpoint, followed)


def description(spec: Spec, data: str, device: str, code: dict[str, object]) -> dict[str, object]:
    """Everything that decides a fit, which makes its key; the file of the fit keeps it."""
    return {
        "family": type(spec).__name__,
        "spec": asdict(spec),
        "streams": {stream.name: stream.value for stream in spec.stream},
        "data": data,
        "device": torch.device(device).type,  # the arithmetic of another kind differs in the last bits
        **code,
        "machine": machine.arithmetic(torch.get_num_threads()),
    }


def ended(losses: Float[Tensor, "records *losses"]) -> list[float]:
    """Where losses ended: each averaged over the last tenth of its records."""
    return losses[-max(1, len(losses) // 10) :].double().mean(0).flatten().tolist()


def made_with(file: Path) -> dict[str, object]:
    """What the fits of a family are made with, from the file of its module: our code, and the versions of others'."""
    return {"code": family_code(file), "libraries": machine.libraries(closure.sources(file))}


def family_code(file: Path, *, root: Path = ROOT) -> str:
    """A digest of the module of a family and of all that it imports.

    The streams of random numbers are left out: a description has those of its family by their values.
    """
    kept = [path for path in closure.sources(file, root=root) if path.name != Path(streams.__file__).name]
    return closure.digest(kept, root=root)


def _checked(spec: Spec, dataset: Dataset) -> Index:
    """The training images, if the specification and what it follows can be fitted on them."""
    if (followed := spec.follows()) is not None:
        _checked(followed, dataset)
    index = spec.index(len(dataset.train), dataset.name)
    spec.check(len(index))
    return index


def _in_order(specs: Sequence[Spec], make: Callable) -> dict[Spec, Tensors]:
    """Make the fits that are followed, together with those that follow none, and then the followers."""
    first = list(dict.fromkeys(spec.follows() or spec for spec in specs))
    if first == specs:
        return make(specs, {})
    made = _in_order(first, make)
    return made | make([spec for spec in specs if spec not in made], made)


@functools.lru_cache(maxsize=1)
def _loaded(images: Images) -> Dataset:
    if images.again is None:
        raise DataError("these data were not made by lib.models.data, so another process cannot load them again")
    dataset = images.again()
    if dataset.digest != images.digest:
        raise DataError(
            f"{dataset.name} is not the same data here: expected SHA-256 {images.digest}, found {dataset.digest}"
        )
    return dataset
