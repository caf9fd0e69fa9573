"""A step of one of two networks that play against each other."""

import torch
from torch import Tensor, nn


def descend(loss: Tensor, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """One step of ``network``, whose parameters ``optimizer`` has, down a loss that goes through others as well.

    The others get no gradients, which saves theirs being computed. A parameter that the loss does not depend on, such
    as one of a level that has not been reached, stays as it is.

    Example:
        >>> first, second = nn.Linear(1, 1), nn.Linear(1, 1)
        >>> descend(second(first(torch.ones(1, 1))).sum(), first, torch.optim.Adam(first.parameters()))
        >>> second.weight.grad is None
        True
    """
    optimizer.zero_grad()
    loss.backward(inputs=list(network.parameters()))
    optimizer.step()
