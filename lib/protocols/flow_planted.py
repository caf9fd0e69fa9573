"""What a flow says of images that it may have been trained on, for the protocol of planted copies.

Codes and log p are exact, and every image can be made: there is no reconstruction and nothing to recover.
"""

import copy
from typing import NamedTuple

import torch

from lib.measures.axes import Images
from lib.measures.density import log_prior
from lib.measures.flow_density import log_density_at
from lib.measures.flows import sampler
from lib.measures.local_dimension import flipd
from lib.models.flows import FlowFit, VelocityNetwork
from lib.protocols.flow_sizes import noised
from lib.protocols.seen_or_not import Measured, nearest_generated

ASKED = 180
"""what a seed is for: the noise on candidates, the same for all models"""


class How(NamedTuple):
    """Sizes of the measures."""

    steps: int
    """of the sampler"""
    generated: int
    """images that the model makes, of which the nearest is looked for"""
    time: float
    """at which the dimension is asked for"""
    seed: int


def of_flow(fitted: FlowFit, images: Images, how: How) -> Measured:
    """Every measure that a flow allows, larger where it points to memorisation; NaN where no code was found.

    Args:
        fitted: the model.
        images: in [0, 1]; they get the noise of the images that a flow learns.
        how: sizes.
    """
    model = fitted.model
    place = next(model.parameters()).device
    x = noised(VelocityNetwork.observe(images), fitted.spec.noise, (how.seed, ASKED)).to(place)
    exact = log_density_at(copy.deepcopy(model).double(), x.double(), how.steps)
    found = torch.where(exact.error < 1e-3, 0.0, torch.nan)
    prior = log_prior(exact.z)
    values = {
        "log p(x)": exact.log_p + found,
        "short code": prior + found,
        "small volume": exact.log_p - prior + found,
        "low dimension": -flipd(model, x, how.time),
        "nearest generated": -nearest_generated(
            sampler(model, how.steps), x.view_as(images), x.shape[1], how.generated, fitted.spec.seed
        ),
    }
    return Measured({name: each.double().cpu() for name, each in values.items()}, images)
