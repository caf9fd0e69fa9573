"""Models of one architecture that train side by side, their weights stacked."""

import copy
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call, stack_module_state

from lib.models.networks import VAE

SIDE_BY_SIDE = 1024
"""images that are evaluated in one pass"""


class Ensemble(NamedTuple):
    """Models of one architecture, their weights stacked along a first axis."""

    skeleton: VAE
    """the architecture, without data"""
    weights: dict[str, Tensor]
    buffers: dict[str, Tensor]

    @property
    def state(self) -> dict[str, Tensor]:
        """Weights and buffers, which training changes in place."""
        return {**self.weights, **self.buffers}


def assemble(models: Sequence[VAE]) -> Ensemble:
    """Stack models of one architecture; their own weights stay as they are."""
    weights, buffers = stack_module_state(list(models))
    return Ensemble(copy.deepcopy(models[0]).to("meta"), weights, buffers)


def advance(
    ensemble: Ensemble,
    optimizer: torch.optim.Optimizer,
    x: Float[Tensor, "models batch *shape"],
    noise: Float[Tensor, "models batch latent"],
) -> Float[Tensor, " models"]:
    """One step of every model on its own batch; the loss of each, before it."""
    ensemble.skeleton.train()
    losses = _losses(ensemble, x, noise, 0).mean(1)
    optimizer.zero_grad()
    losses.sum().backward()  # the models share no weight, so each gets its own gradient
    optimizer.step()
    return losses.detach()


@torch.no_grad()
def evaluate(
    ensemble: Ensemble, x: Float[Tensor, "batch *shape"], noise: Float[Tensor, "batch latent"]
) -> Float[Tensor, " models"]:
    """The mean loss of every model on the same images, in evaluation mode."""
    ensemble.skeleton.eval()
    parts = zip(x.split(SIDE_BY_SIDE), noise.split(SIDE_BY_SIDE), strict=True)
    return torch.cat([_losses(ensemble, *part, None) for part in parts], 1).mean(1)


def _losses(ensemble: Ensemble, x: Tensor, noise: Tensor, axis: int | None) -> Float[Tensor, "models batch"]:
    def loss(weights: Mapping, buffers: Mapping, x: Tensor, noise: Tensor) -> Tensor:
        return functional_call(ensemble.skeleton, (weights, buffers), (x, noise))

    return torch.vmap(loss, in_dims=(0, 0, axis, axis))(ensemble.weights, ensemble.buffers, x, noise)
