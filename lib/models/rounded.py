"""A stochastic decoder in few bytes: its large matrices rounded to 16 bits, everything else in single precision.

:func:`described` has the numbers that a page computes with, :func:`rounded` the model that they make.
"""

import base64
import copy
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lib.models.networks import Dense
from lib.models.stochastic import Precision, StochasticVAE

LEVELS = 2**15 - 1


def described(model: StochasticVAE) -> dict[str, object]:
    """The decoder in numbers: shape of an image, layers of the mean, and the RBF precision.

    Matrices have a row for each output.

    Raises:
        ValueError: the model has not two latents, or another variance than the RBF precision.
    """
    variance = model.variance
    if not isinstance(variance, Precision) or variance.centres.shape[1] != 2:
        raise ValueError(f"a model with two latents and an RBF precision is needed, got {model}")
    return {
        "shape": list(model.shape),
        "layers": [[pack(layer.weight.T), listed(layer.bias)] for layer in _layers(model)],
        "centres": listed(variance.centres),
        "sharpness": listed(variance.sharpness),
        "logWeights": pack(variance.log_weights.T),
        "leastPrecision": variance.least_precision,
        "floor": variance.least**0.5,
    }


@torch.no_grad()
def rounded(model: StochasticVAE) -> StochasticVAE:
    """A copy of the model whose weights went through :func:`pack`."""
    other = copy.deepcopy(model)
    for weight in (*(layer.weight for layer in _layers(other)), other.variance.log_weights):
        weight.copy_(unpack(pack(weight)).view_as(weight))
    return other


def pack(numbers: Tensor) -> dict[str, object]:
    """Numbers as 16-bit integers in base64, low byte first, row by row, and what to multiply them with."""
    values = numbers.detach().double().cpu().numpy()
    scale = float(np.abs(values).max()) / LEVELS or 1.0
    integers = np.round(values / scale).astype("<i2")
    return {"scale": scale, "data": base64.b64encode(integers.tobytes()).decode()}


def unpack(packed: Mapping[str, object]) -> Float[Tensor, " numbers"]:
    """The numbers of :func:`pack`, one after the other, in single precision.

    Example:
        >>> unpack(pack(torch.tensor([0.0, -2.0, 1.0])))
        tensor([ 0.0000, -2.0000,  1.0000])
    """
    integers = np.frombuffer(base64.b64decode(packed["data"]), "<i2")
    return torch.from_numpy((integers * packed["scale"]).astype(np.float32))


def listed(numbers: Tensor) -> list[float]:
    """Numbers one after the other, with the nine digits that single precision has."""
    return [float(f"{number:.9g}") for number in numbers.flatten().tolist()]


def _layers(model: StochasticVAE) -> list[Dense]:
    return [layer for layer in model.mean.modules() if isinstance(layer, Dense)]
