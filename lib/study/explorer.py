"""A model of two latents to be moved by hand: everything that a page needs to decode and to measure, in the page itself.

The page's scripts are ``book/_static/decoder.js``, ``paths.js`` and ``explorer.js``: classic scripts, which work from a
file, too. Weights are rounded to 16 bits; :func:`rounded` is the model that the page then has.
"""

import base64
import copy
import json
from collections.abc import Mapping

import numpy as np
import torch
from IPython.display import HTML
from jaxtyping import Float
from torch import Tensor

from lib.measures.axes import Latents
from lib.models.networks import Dense
from lib.models.stochastic import Precision, StochasticVAE

LEVELS = 2**15 - 1
SCRIPTS = ("decoder", "paths", "explorer")
WITHOUT = "With JavaScript, two latents can be moved here, on a page of the book. The figure above shows where they start."


def fragment(
    model: StochasticVAE,
    codes: Latents,
    ends: Float[Tensor, "2 latent"],
    maps: Mapping[str, Float[Tensor, "side side"]],
    extent: list[float],
) -> HTML:
    """The explorer as a part of a page: data, and the scripts that show them.

    Without JavaScript it is a sentence; in print it is nothing.

    Args:
        model: with two latents and the RBF precision.
        codes: shown on the map.
        ends: where the two handles start.
        maps: log10 of the measure by ``mean`` and ``expected``, first index upwards.
        extent: of the maps: left, right, bottom, top; latent units.

    Raises:
        ValueError: the model has another number of latents, or another variance.
    """
    text = json.dumps(
        {
            **described(model),
            "codes": [[round(part, 4) for part in code] for code in codes.tolist()],
            "start": ends.tolist(),
            "maps": {name: pack(values) for name, values in maps.items()},
            "side": len(next(iter(maps.values()))),
            "extent": extent,
        }
    )
    scripts = "".join(f'<script src="../_static/{name}.js" defer></script>' for name in SCRIPTS)
    data = f'<script type="application/json">{text}</script>'
    return HTML(f'<div class="explorer"><p class="without">{WITHOUT}</p>{data}</div>{scripts}')


def described(model: StochasticVAE) -> dict[str, object]:
    """The decoder in numbers: shape of an image, layers of the mean, and the RBF precision.

    Raises:
        ValueError: see :func:`fragment`.
    """
    variance = model.variance
    if not isinstance(variance, Precision) or variance.centres.shape[1] != 2:
        latent = "other" if not isinstance(variance, Precision) else variance.centres.shape[1]
        raise ValueError(f"a model with two latents and an RBF precision is needed, got {variance} ({latent} latents)")
    return {
        "shape": list(model.shape),
        "layers": [[pack(layer.weight.T), pack(layer.bias)] for layer in _layers(model)],
        "centres": pack(variance.centres),
        "sharpness": pack(variance.sharpness),
        "logWeights": pack(variance.log_weights.T),
        "leastPrecision": variance.least_precision,
        "floor": variance.least**0.5,
    }


def rounded(model: StochasticVAE) -> StochasticVAE:
    """The model with the numbers that a page has: a copy, whose weights went through :func:`pack`."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for layer in _layers(other):
            layer.weight.copy_(unpack(pack(layer.weight)).view_as(layer.weight))
            layer.bias.copy_(unpack(pack(layer.bias)))
        for name in ("centres", "sharpness", "log_weights"):
            numbers = getattr(other.variance, name)
            numbers.copy_(unpack(pack(numbers)).view_as(numbers))
    return other


def pack(numbers: Tensor) -> dict[str, object]:
    """Numbers as 16-bit integers in base64, low byte first, row by row, and what to multiply them with."""
    values = numbers.detach().double().cpu().numpy()
    scale = float(np.abs(values).max()) / LEVELS or 1.0
    integers = np.round(values / scale).astype("<i2")
    return {"scale": scale, "data": base64.b64encode(integers.tobytes()).decode()}


def unpack(packed: Mapping[str, object]) -> Float[Tensor, " numbers"]:
    """The numbers of :func:`pack`, in a row, in single precision as the page has them.

    Example:
        >>> unpack(pack(torch.tensor([0.0, -2.0, 1.0])))
        tensor([ 0.0000, -2.0000,  1.0000])
    """
    integers = np.frombuffer(base64.b64decode(packed["data"]), "<i2")
    return torch.from_numpy((integers * packed["scale"]).astype(np.float32))


def _layers(model: StochasticVAE) -> list[Dense]:
    return [layer for layer in model.mean.modules() if isinstance(layer, Dense)]
