"""What a model made elsewhere takes of the memory."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


def graph_size(call: Callable, z: Float[Tensor, "1 latent"]) -> int:
    """The bytes that a decoder keeps for the gradient of one image, its weights aside.

    Example:
        >>> graph_size(lambda z: z.exp().sin(), torch.zeros(1, 100))
        800
    """

    def kept(rows: int) -> int:
        sizes: list[int] = []
        with (
            torch.enable_grad(),
            saved_tensors_hooks(lambda saved: sizes.append(saved.nbytes) or saved, lambda kept: kept),
        ):
            call(z.expand(rows, -1).clone().requires_grad_())
        return sum(sizes)

    return kept(2) - kept(1)
