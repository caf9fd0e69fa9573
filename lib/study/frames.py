"""A path to be walked by hand: what models make along it, and the density there, computed beforehand.

The page's script is ``book/_static/frames.js``: a classic script, which works from a file, too.
"""

import base64
import json
from collections.abc import Mapping

from IPython.display import HTML
from jaxtyping import Float
from torch import Tensor

from lib.measures.paths import Curve

WITHOUT = "With JavaScript, one can walk along the path here, on a page of the book. The figure above has both ends."


def fragment(
    images: Mapping[str, Float[Tensor, "steps channels height width"]],
    curves: Mapping[str, Curve],
    unit: str = "nats",
) -> HTML:
    """A slider along a path, with the image of each model and a marker on its curve, as a part of a page.

    Without JavaScript it is a sentence; in print it is nothing.

    Args:
        images: by model, of values from 0 to 1; two models, as many images as their curves have samples.
        curves: of one path each, by model.
        unit: of the curves' values.
    """
    models = [{"name": name, "frames": _packed(images[name])} | _listed(curve) for name, curve in curves.items()]
    data = json.dumps({"shape": list(next(iter(images.values())).shape[1:]), "models": models, "unit": unit})
    script = f'<script type="application/json">{data}</script><script src="../_static/frames.js" defer></script>'
    return HTML(f'<div class="frames"><p class="without">{WITHOUT}</p>{script}</div>')


def _packed(images: Tensor) -> str:
    return base64.b64encode((255 * images.clamp(0, 1)).round().byte().cpu().numpy().tobytes()).decode()


def _listed(curve: Curve) -> dict[str, list[float]]:
    return {name: [float(f"{x:.6g}") for x in each[0].tolist()] for name, each in zip("xy", curve, strict=True)}
