"""Random numbers that belong to what they are for (seed, stream, step ...), not to the order of calls."""

import threading
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)
_global_random_state = threading.Lock()


def seed_from(*identity: int) -> int:
    """The seed of what these numbers identify. Zeros at the end do not count."""
    return int(np.random.SeedSequence(identity).generate_state(1)[0])


def rng_from(device: torch.device | str, *identity: int) -> torch.Generator:
    """A source of random numbers on a device, seeded by :func:`seed_from`."""
    return torch.Generator(device).manual_seed(seed_from(*identity))


def seeded(build: Callable[[], Network], seed: int) -> Network:
    """A network whose initial weights depend on the seed alone, whatever other threads do."""
    with _global_random_state, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def draw(available: int, count: int, seed: int) -> Int64[Tensor, " count"]:
    """Which images a model is fitted on: the first of a permutation that depends on the seed; zero means all."""
    order = np.random.default_rng([seed, available]).permutation(available)
    return torch.from_numpy(np.sort(order[: count or available]))


def sample(available: int, count: int, seed: int, *, name: str, what: str = "examples") -> Int64[Tensor, " count"]:
    """:func:`draw` from the training images of the data set ``name``.

    Raises:
        ValueError: ``what`` (the name of the parameter) is more than there are.
    """
    if not 0 <= count <= available:
        raise ValueError(f"{what} must be in 0..{available} (0: all) for {name}, got {count}")
    return draw(available, count, seed)
