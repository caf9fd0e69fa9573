"""What the start, the length and the number of searches decide, and whether they end where the codes are."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from lib.measures.axes import Decoder, Latents, Outputs
from lib.measures.jacobian import singular_values
from lib.measures.recovery import Recovery, recover
from lib.models.generative import GeneratorFit
from lib.protocols.gaps import Sides
from lib.protocols.zoo import PRIOR, STARTS, Search, Zoo, rng, search, spread

Label = TypeVar("Label")


class Both(NamedTuple):
    """The searches for the two sides of a comparison under one model."""

    training: Recovery
    held_out: Recovery

    @property
    def errors(self) -> Sides:
        """The recovery errors of both sides."""
        return Sides(self.training.error.cpu(), self.held_out.error.cpu())


class Support(NamedTuple):
    """Distances from the codes' mean, in units of the root mean square distance of the codes."""

    codes: Float[Tensor, " codes"]
    """of latents that are drawn as the codes are spread"""
    training: Float[Tensor, " training"]
    """of the latents found for training images"""
    held_out: Float[Tensor, " held_out"]
    """of the latents found for held-out images"""

    def outside(self, side: str, level: float = 0.99) -> float:
        """The share of a side's latents (``training`` or ``held_out``) beyond that quantile of the codes."""
        return float((getattr(self, side) > self.codes.quantile(level)).double().mean())


def by_settings(
    zoo: Zoo, rows: Sequence[str], settings: Mapping[Label, Search], count: int, executor: Executor
) -> dict[tuple[str, Label], Both]:
    """Search for both sides under the first model of every row, with every one of the settings.

    Args:
        zoo: the models and their images.
        rows: names of the rows.
        settings: how to search, under any name, such as the number of iterations.
        count: images on a side.
        executor: where to search side by side.
    """

    def both(row: str, label: Label) -> Both:
        sides = zoo.trained_on(row, count=count), zoo.held_out(count=count)
        return Both(*(search(zoo.fits[row][0], images, settings[label]) for images in sides))

    keys = [(row, label) for row in rows for label in settings]
    return dict(zip(keys, executor.map(both, *zip(*keys, strict=True)), strict=True))


def on_typical_set(zoo: Zoo, rows: Sequence[str], how: Search, count: int, executor: Executor) -> dict[str, Both]:
    r"""Search for both sides among the latents that the first model of every row would draw.

    Almost all draws of a normal prior in ``d`` dimensions are about as far from its mean, in its units: on the shell

    .. math:: z = m + \sqrt{d}\, L\, u / \|u\|

    with its mean ``m`` and covariance :math:`L L^\top`. The search is over ``u``, starts at random directions, and
    cannot leave the shell.

    Args:
        zoo: the models and their images.
        rows: names of the rows.
        how: how to search, apart from the start.
        count: images on a side.
        executor: where to search side by side.
    """

    def one(row: str) -> Both:
        fit = zoo.fits[row][0]
        found = []
        for images in (zoo.trained_on(row, count=count), zoo.held_out(count=count)):
            ended = recover(
                lambda u: fit.generator(typical(fit, u)),
                images,
                latent=len(fit.prior.loc),
                steps=how.steps,
                restarts=how.restarts,
                scale=1.0,
                rng=rng(images.device, how.seed, STARTS, 0),
                limits=(0.0, 1.0),
            )
            found.append(ended._replace(z=typical(fit, ended.z)))
        return Both(*found)

    return dict(zip(rows, executor.map(one, rows), strict=True))


def typical(fit: GeneratorFit, u: Latents) -> Latents:
    """The latents of the typical set of a prior in the directions ``u``."""
    radius = len(fit.prior.loc) ** 0.5
    return fit.prior.loc + radius * (u / u.norm(dim=1, keepdim=True)) @ fit.prior.scale_tril.T


def descents(
    zoo: Zoo, rows: Sequence[str], how: Search, checks: Sequence[int], count: int, executor: Executor
) -> dict[str, Float[Tensor, "checks count"]]:
    """Errors of held-out images along gradient descent from the starts of the searches: the better of two step sizes.

    The step sizes are one and three over the largest curvature at the start of an objective with linearised generator;
    the better one has the smaller median error in the end.

    Args:
        zoo: the models and their images.
        rows: names of the rows; the first model of each descends.
        how: where searches start.
        checks: steps after which errors are taken, ascending; the last ends the descent.
        count: held-out images.
        executor: where to descend side by side.
    """
    images = zoo.held_out(count=count)
    starts = {row: _starts(zoo.fits[row][0], how, count, zoo.device) for row in rows}
    # The curvatures are measured here: forward mode is for one thread at a time.
    curvatures = {row: largest_curvature(zoo.fits[row][0].generator, z) for row, z in starts.items()}

    def descend(row: str, factor: float) -> Tensor:
        rate = factor / curvatures[row][:, None]
        return descent(zoo.fits[row][0].generator, starts[row], images, rate, checks).cpu()

    keys = [(row, factor) for row in rows for factor in (1.0, 3.0)]
    errors = dict(zip(keys, executor.map(descend, *zip(*keys, strict=True)), strict=True))
    return {
        row: min((errors[key] for key in keys if key[0] == row), key=lambda left: left[-1].median()) for row in rows
    }


def largest_curvature(decoder: Decoder, z: Latents) -> Float[Tensor, " batch"]:
    r"""The largest curvature :math:`2 \sigma_1^2` of the summed squared error of a linearised generator.

    In squared output units per squared unit of the latents; steps above two over it diverge.
    """
    return 2 * singular_values(decoder, z)[:, 0].square().to(z)


def descent(
    decoder: Decoder, z: Latents, images: Outputs, rate: Float[Tensor, "batch 1"], checks: Sequence[int]
) -> Float[Tensor, "checks batch"]:
    r"""Mean squared errors along gradient descent :math:`z \leftarrow z - \eta \nabla_z \|G(z) - y\|^2`.

    Args:
        decoder: the generator :math:`G`.
        z: the starts.
        images: the images :math:`y`.
        rate: the step size :math:`\eta` of every image.
        checks: steps after which errors are taken, ascending; the last ends the descent.
    """
    errors = []
    for step in range(1, checks[-1] + 1):
        z = z.detach().requires_grad_()
        (slope,) = torch.autograd.grad((decoder(z) - images).square().sum(), z)
        z = (z - rate * slope).detach()
        if step in checks:
            errors.append((decoder(z) - images).flatten(1).square().mean(1))
    return torch.stack(errors)


def support(fit: GeneratorFit, found: Both, seed: int, *, draws: int = 4000) -> Support:
    """How far from the codes' mean the searches ended, beside how far the codes are.

    Args:
        fit: the model.
        found: its searches.
        seed: seed of the latents that are drawn as the codes are spread.
        draws: how many are drawn.
    """
    device = fit.prior.loc.device
    noise = torch.randn(draws, len(fit.prior.loc), generator=rng(device, seed, PRIOR), device=device)
    codes = noise @ fit.prior.scale_tril.T
    unit = codes.square().sum(1).mean().sqrt()
    ends = ((side.z - fit.prior.loc).norm(dim=1) / unit for side in found)
    return Support((codes.norm(dim=1) / unit).cpu(), *(distances.cpu() for distances in ends))


def _starts(fit: GeneratorFit, how: Search, count: int, device: str) -> Latents:
    """The starts of :func:`lib.protocols.zoo.search`."""
    source = rng(device, how.seed, STARTS, 0)
    return how.start * spread(fit) * torch.randn(count, len(fit.prior.loc), generator=source, device=device)
