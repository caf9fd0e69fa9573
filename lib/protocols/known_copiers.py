"""Samplers whose truth is known by construction, and what every measure of copying says of them.

Training, held-out and fresh images are disjoint random parts of one set. A sampler is *innocent* if training and
held-out images are exchangeable for it: if it was made without either. A *memoriser* emits training images, as they are
or disturbed, with a known probability, and is otherwise innocent. A *learner* is fitted to the training images and
copies none of them.

Distances are between coordinates on principal components. These and the innocent mixture come from images apart.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from sklearn.mixture import GaussianMixture
from torch import Tensor

from lib.measures.axes import Images
from lib.measures.transforms import blur

APART, DRAW, SAMPLES, COPIES, NOISE = 151, 152, 153, 154, 155  # what a seed is for: no two streams are the same
Points = Float[Tensor, "n components"]


class Source(NamedTuple):
    """Where all images come from, and what was made of images apart."""

    images: Images
    """those that training, held-out and fresh images are drawn from"""
    mean: Float[Tensor, " pixels"]
    axes: Float[Tensor, "pixels components"]
    mixture: GaussianMixture
    explained: float
    """share of the variance that the components keep"""

    def coordinates(self, images: Images) -> Points:
        """Images on the principal components."""
        return (images.flatten(1) - self.mean) @ self.axes

    def pictures(self, points: Points) -> Images:
        """The images that have these coordinates and nothing beyond them."""
        return (points @ self.axes.T + self.mean).reshape(-1, *self.images.shape[1:])


def source(images: Images, apart: int, components: int, parts: int, *, seed: int) -> Source:
    """Set images apart, and fit principal components and a Gaussian mixture to them.

    Args:
        images: all of them.
        apart: how many no sampler is measured with.
        components: principal components to keep.
        parts: normal distributions of the mixture, each with a covariance of its own.
        seed: of the choice of images and of the fit.

    Raises:
        ValueError: no images would be left, or too few apart for the components.
    """
    if not max(components, parts) < apart < len(images) or components > images[0].numel():
        raise ValueError(
            f"{apart} of {len(images)} images of {images[0].numel()} pixels cannot give {components} components and "
            f"a mixture of {parts}"
        )
    order = torch.from_numpy(np.random.default_rng([seed, APART]).permutation(len(images)))
    flat = images[order[:apart]].flatten(1)
    variances, axes = torch.linalg.eigh(flat.T.cov())
    found = Source(images[order[apart:]], flat.mean(0), axes[:, -components:].flip(1), GaussianMixture(parts), 0.0)
    mixture = fitted(found.coordinates(images[order[:apart]]), parts, seed=seed)
    return found._replace(mixture=mixture, explained=float(variances[-components:].sum() / variances.sum()))


def fitted(points: Points, parts: int, *, seed: int) -> GaussianMixture:
    """A mixture of normal distributions of points; a thousandth of their mean variance is added to every direction."""
    mixture = GaussianMixture(
        parts, init_params="k-means++", max_iter=30, tol=0.01, reg_covar=float(points.var(0).mean()) / 1000,
        random_state=seed % 2**32,
    )  # fmt: skip
    return mixture.fit(points.double().numpy())


def drawn(mixture: GaussianMixture, count: int, scale: float = 1.0, *, rng: np.random.Generator) -> Points:
    """Samples of a mixture whose normal distributions are narrower or wider by a factor.

    Args:
        mixture: with a covariance for each part.
        count: number of samples.
        scale: of the standard deviations; 1 is the mixture itself.
        rng: the source of random numbers.
    """
    part = rng.choice(len(mixture.weights_), count, p=mixture.weights_)
    factors = np.linalg.cholesky(mixture.covariances_)
    steps = np.einsum("nij,nj->ni", factors[part], rng.standard_normal((count, mixture.means_.shape[1])))
    return torch.from_numpy(mixture.means_[part] + scale * steps)


class Draw(NamedTuple):
    """The disjoint images of one repetition: the first as pictures, all as coordinates."""

    images: Images
    train: Points
    held_out: Points
    fresh: Points
    identity: tuple[int, int]
    """the seed and the repetition, to which all random numbers belong"""


def draw(source: Source, count: int, repetition: int, *, seed: int) -> Draw:
    """Training, held-out and fresh images, ``count`` each.

    Raises:
        ValueError: there are not as many.
    """
    if 3 * count > len(source.images):
        raise ValueError(f"three times {count} images are needed, and {len(source.images)} are left")
    chosen = np.random.default_rng([seed, DRAW, repetition]).permutation(len(source.images))[: 3 * count]
    pictures = source.images[torch.from_numpy(chosen)].split(count)
    return Draw(pictures[0], *map(source.coordinates, pictures), (seed, repetition))


def innocents(source: Source, images: Draw, narrow: float, wide: float) -> dict[str, Points]:
    """As many samples as images of samplers that copy nothing; the last one is fitted to the training images.

    Args:
        source: with the mixture, which is fitted to images apart.
        images: of one repetition.
        narrow: factor of the mixture's standard deviations in the third sampler.
        wide: the same in the fourth.
    """
    count, parts, seed = len(images.train), len(source.mixture.weights_), images.identity[0]
    rngs = [np.random.default_rng([*images.identity, SAMPLES, index]) for index in range(4)]
    learner = fitted(images.train, min(parts, max(1, count // 30)), seed=seed)
    made = {
        "mixture": drawn(source.mixture, count, rng=rngs[0]),
        "too narrow": drawn(source.mixture, count, narrow, rng=rngs[1]),
        "too wide": drawn(source.mixture, count, wide, rng=rngs[2]),
        "learner": drawn(learner, count, rng=rngs[3]),
    }
    return {"fresh images": images.fresh} | {name: points.to(images.train) for name, points in made.items()}


def copies(source: Source, images: Draw, blurred: float, noise: float) -> dict[str, Points]:
    """The coordinates of a copy of each training image: as it is, blurred, and with noise in every pixel.

    Args:
        source: of the coordinates.
        images: of one repetition.
        blurred: standard deviation of the blur, pixels.
        noise: standard deviation of the noise, of a range of 1.
    """
    normal = np.random.default_rng([*images.identity, NOISE]).standard_normal(images.images.shape)
    made = (blur(blurred)(images.images), images.images + noise * torch.from_numpy(normal).to(images.images))
    return dict(zip(("exact", "blurred", "noised"), (images.train, *map(source.coordinates, made)), strict=True))


def memoriser(images: Draw, innocent: Points, probability: float, copy: Points) -> Points:
    """Samples each of which is, with a probability, replaced by the copy of a random training image.

    In one repetition, the copies of a lower probability are among those of a higher one.

    Args:
        images: of one repetition.
        innocent: what is emitted otherwise.
        probability: of a copy.
        copy: of each training image.
    """
    rng = np.random.default_rng([*images.identity, COPIES])
    copied = torch.from_numpy(rng.random(len(innocent)) < probability)
    chosen = torch.from_numpy(rng.integers(len(copy), size=len(innocent)))
    return torch.where(copied[:, None], copy[chosen], innocent)
