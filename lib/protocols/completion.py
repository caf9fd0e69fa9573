"""Completion and super-resolution by latent recovery, beside copying an image and a plain regression.

The search sees a degraded image; what the generator makes of the latent is the whole of it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from sklearn.linear_model import Ridge
from torch import Tensor
from torch.nn.functional import interpolate

from lib.measures.axes import Images, PerSample
from lib.measures.transforms import Transform, mask, pool
from lib.models.data import nearest_neighbours
from lib.models.generative import GeneratorFit
from lib.protocols.views import middle
from lib.protocols.zoo import Search, search

Others = Float[Tensor, "others channels height width"]


class Task(NamedTuple):
    """How images are degraded, and how they can be restored without a generator."""

    see: Transform
    """from images to what a search sees of them"""
    show: Transform
    """from images to images that show what a search sees"""
    lacking: Bool[Tensor, "height width"]
    """the pixels whose errors count: all that the search does not see as they are"""
    plainly: Callable[[Images, Others], Images]
    """from images and those that a generator was trained on to a plain restoration of the former"""


class Restored(NamedTuple):
    """Images that were restored in three ways, from what a search sees of them."""

    made: Images
    """what the generator makes of the latent that was found"""
    copied: Images
    """the training image that is nearest in what the search sees, but never one that is equal there"""
    plain: Images
    """by ridge regression, or by bicubic interpolation"""


def completion(height: int, width: int) -> Task:
    """The middle of the image is hidden; ridge regression predicts it from the visible pixels."""
    hidden = middle(height, width)
    see = mask(~hidden)
    return Task(see, lambda x: x * ~hidden.to(x.device), hidden, lambda x, among: ridge(see, x, among))


def super_resolution(height: int, width: int) -> Task:
    """Only the means of 4 x 4 pixels are seen; bicubic interpolation enlarges them."""
    see, everywhere = pool(4), torch.ones(height, width, dtype=torch.bool)
    return Task(
        see,
        lambda x: interpolate(see(x), (height, width)),
        everywhere,
        lambda x, _: interpolate(see(x), (height, width), mode="bicubic").clamp(0, 1),
    )


def restore(fit: GeneratorFit, images: Images, among: Others, task: Task, how: Search) -> Restored:
    """Restore degraded images with a generator, with another image, and plainly; all on the processor.

    Args:
        fit: the generator.
        images: the images, whole; only ``task.see(images)`` is used of them.
        among: the images that the generator was trained on.
        task: how images are degraded.
        how: how to search; its map is the task's, whatever it was.
    """
    made = fit.generator(search(fit, images, replace(how, transform=task.see)).z).cpu()
    whole, among = images.cpu(), among.cpu()
    copied = among[nearest_neighbours(task.see(whole), among=task.see(among))]
    return Restored(made, copied, task.plainly(whole, among))


def ridge(see: Transform, images: Images, among: Others, penalty: float = 10.0) -> Images:
    """Images as ridge regression predicts them from what is seen of them.

    Args:
        see: from images to what is seen.
        images: the images; only what is seen of them is used.
        among: whole images, from which the regression is learnt.
        penalty: weight of the squared coefficients beside the squared errors; the intercept is free.
    """
    seen, whole, wanted = (x.cpu().flatten(1).numpy() for x in (see(among), among, see(images)))
    return torch.from_numpy(Ridge(penalty).fit(seen, whole).predict(wanted)).view(images.shape)


def errors(restored: Images, images: Images, lacking: Bool[Tensor, "height width"]) -> PerSample:
    """Mean squared errors of the pixels that were lacking."""
    return (restored - images.cpu())[..., lacking].flatten(1).square().mean(1)
