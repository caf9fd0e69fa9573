"""A model of two latents to be moved by hand: all that a page needs to decode and to measure, in the page itself.

The page's scripts are ``book/_static/decoder.js``, ``paths.js`` and ``explorer.js``: classic scripts, which work from a
file, too.
"""

import json
from collections.abc import Mapping

from IPython.display import HTML
from jaxtyping import Float
from torch import Tensor

from lib.measures.axes import Latents
from lib.models.rounded import described, listed, pack
from lib.models.stochastic import StochasticVAE

SCRIPTS = ("decoder", "paths", "explorer")
WITHOUT = (
    "With JavaScript, two latents can be moved here, on a page of the book. The figure above shows where they start."
)


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
        ValueError: see :func:`lib.models.rounded.described`.
    """
    shown = {"codes": listed(codes), "start": ends.tolist(), "extent": extent}
    shown |= {"maps": {name: pack(values) for name, values in maps.items()}, "side": len(next(iter(maps.values())))}
    data = f'<script type="application/json">{json.dumps({**described(model), **shown})}</script>'
    scripts = "".join(f'<script src="../_static/{name}.js" defer></script>' for name in SCRIPTS)
    return HTML(f'<div class="explorer"><p class="without">{WITHOUT}</p>{data}</div>{scripts}')
