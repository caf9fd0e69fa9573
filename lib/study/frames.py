"""Frames to be gone through by hand: what models make along a way, and a curve over it, computed beforehand.

The page's script is ``book/_static/frames.js``: a classic script, which works from a file, too.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from IPython.display import HTML
from jaxtyping import Float
from torch import Tensor

WITHOUT = (
    "With JavaScript, one can go step by step here, on a page of the book. The figure above shows some of the steps."
)


def fragment(
    images: Mapping[str, Float[Tensor, "*scenes steps channels height width"]],
    curves: Mapping[str, Sequence[Float[Tensor, "scenes steps"]]],
    unit: str = "nats",
    *,
    slider: str = "Along the path",
    end: str = "output units",
    choices: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> HTML:
    """A slider along a way, with the image of each model and a marker on its curve, as a part of a page.

    Without JavaScript it is a sentence; in print it is nothing.

    Args:
        images: by model, of values from 0 to 1; two models, as many images as their curves have samples.
        curves: by model, places along the way and values there.
        unit: of the curves' values.
        slider: what it moves.
        end: unit of the places.
        choices: what else can be chosen, by name. The scenes are all combinations, the last choice changing fastest;
            then the models are not the memorised and the well-trained one, and have other colours.
    """
    models = [{"name": name, "frames": _packed(images[name])} | _listed(*curve) for name, curve in curves.items()]
    data = {"shape": list(next(iter(images.values())).shape[-3:]), "models": models, "unit": unit}
    data |= {"slider": slider, "end": end, "choices": dict(choices)}
    script = f'<script type="application/json">{json.dumps(data)}</script>'
    script += '<script src="../_static/frames.js" defer></script>'
    look = "frames others" if choices else "frames"
    return HTML(f'<div class="{look}"><p class="without">{WITHOUT}</p>{script}</div>')


def _packed(images: Tensor) -> str:
    return base64.b64encode((255 * images.clamp(0, 1)).round().byte().cpu().numpy().tobytes()).decode()


def _listed(x: Tensor, y: Tensor) -> dict[str, list[float]]:
    return {name: [float(f"{each:.6g}") for each in part.flatten().tolist()] for name, part in (("x", x), ("y", y))}
