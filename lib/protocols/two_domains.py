"""Images and thick images, which nothing pairs; and recovery through a translation there and back, as in CycleGAN."""

import functools
import hashlib
from collections.abc import Callable, Iterable

import numpy as np
import torch
from sklearn.neural_network import MLPClassifier
from torch.nn.functional import max_pool2d

from lib.measures.axes import Images, PerSample
from lib.measures.intervals import Estimate, difference
from lib.models.cycle import CycleFit
from lib.models.data import Dataset
from lib.models.draws import sample
from lib.protocols import frechet, quality
from lib.protocols.gaps import Sides

Translate = Callable[[Images], Images]


def thick(images: Images) -> Images:
    """Images whose strokes are a pixel wider on every side: the largest value of 3 x 3 pixels.

    Example:
        >>> thick(torch.tensor([[[[0.0, 0.0, 0.0, 1.0]]]]))
        tensor([[[[0., 0., 1., 1.]]]])
    """
    return max_pool2d(images, 3, stride=1, padding=1)


def unpaired(dataset: Dataset) -> Dataset:
    """Images of two domains in one data set: one of each in an example, and nothing in common between the two.

    Of the images, every other one stays as it is, in the first half of the channels; the one after it is made
    :func:`thick`, in the last. No image is in both domains. The labels are those of the first.
    """
    sides = (part[: len(part) // 2 * 2] for part in (dataset.train, dataset.test))
    train, test = (torch.cat([part[::2], thick(part[1::2])], 1) for part in sides)
    labels = (part[: 2 * len(x) : 2] for part, x in ((dataset.train_labels, train), (dataset.test_labels, test)))
    digest = hashlib.sha256(f"{dataset.digest} unpaired, thick".encode()).hexdigest()
    again = dataset.again and functools.partial(_unpaired_again, dataset.again)
    train_labels, test_labels = labels
    return Dataset(dataset.name, train, train_labels, test, test_labels, digest, again)


def errors(makers: Iterable[Translate], pairs: Images) -> tuple[PerSample, PerSample]:
    r"""Mean squared errors per pixel of images that go to the other domain and back: :math:`y \to F(y) \to G(F(y))`.

    That is latent recovery in which the other mapping takes the place of the search (Webster et al. 2019, CycleGAN).

    Args:
        makers: the map to the second domain, and that to the first.
        pairs: images of both domains, as from :func:`unpaired`.

    Returns:
        Those of the first domain, and of the second.

    Example:
        Inverses of each other.

        >>> errors([lambda x: x / 2, lambda y: 2 * y], torch.rand(2, 2, 4, 4))
        (tensor([0., 0.]), tensor([0., 0.]))
    """
    forth, back = makers
    first, second = pairs.chunk(2, 1)
    returned = (back(forth(first)) - first, forth(back(second)) - second)
    return tuple(left.flatten(1).square().mean(1) for left in returned)


def sides(fit: CycleFit, images: Dataset, seed: int) -> tuple[Sides, Sides]:
    """The errors of both domains: of training images, drawn at random, and of as many that are held out.

    Args:
        fit: the generators.
        images: what they were fitted on, with a test part held out, as from :func:`unpaired`.
        seed: seed of the choice of training images.

    Raises:
        ValueError: more images are held out than there are training images.
    """
    seen = images.train[fit.index][sample(len(fit.index), len(images.test), seed, name=images.name, what="images")]
    training, held_out = (errors(fit.makers, pairs) for pairs in (seen, images.test))
    return Sides(training[0], held_out[0]), Sides(training[1], held_out[1])


def readers(official: Dataset, *, units: int, seed: int) -> tuple[MLPClassifier, MLPClassifier]:
    """Two classifiers of plain and thick images, which tell their class, and their domain: 0, or 1 for thick ones.

    Args:
        official: the data as they were loaded; both are trained on its test part.
        units: hidden units of each.
        seed: seed of their weights.
    """
    both = torch.cat([official.test, thick(official.test)])
    domain = torch.arange(2).repeat_interleave(len(official.test))
    return tuple(
        frechet.classifier(both, labels, units=units, seed=seed) for labels in (official.test_labels.repeat(2), domain)
    )


def bar(fit: CycleFit, images: Dataset, network: tuple[MLPClassifier, MLPClassifier], *, seed: int) -> Estimate:
    """Have both generators learnt their domain? At most one if they have, by the worse of two bars for each.

    What a generator makes of held-out images must tell four fifths of what real images of its domain tell of their
    class (:func:`lib.protocols.quality.uninformative`), and a share of it must be taken for that domain, no smaller
    than four fifths of real images' share. Without the second, two generators that change nothing would pass.

    Args:
        fit: the generators.
        images: as from :func:`unpaired`.
        network: as from :func:`readers`.
        seed: seed of the bootstrap over made and real images.
    """
    classes, domains = network
    forth, back = fit.makers
    first, second = images.test.chunk(2, 1)
    bars = []
    for made, real, domain in ((forth(first), second, 1), (back(second), first, 0)):
        taken = (torch.from_numpy(domains.predict(x.flatten(1).numpy()) == domain).double() for x in (made, real))
        bars += [
            quality.uninformative(classes, made, real, seed=seed),
            difference(*taken, _lacking, seed=seed),
        ]
    return quality.worst(*bars)


def _unpaired_again(load: Callable[[], Dataset]) -> Dataset:
    return unpaired(load())


def _lacking(made: np.ndarray, real: np.ndarray, axis: int = -1) -> np.ndarray | np.floating:
    """One, and four fifths of the share of real images that are taken for their domain, less that of made ones."""
    return 1 + 0.8 * np.mean(real, axis) - np.mean(made, axis)
