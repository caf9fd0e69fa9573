"""The loop of a fit: resumable steps with a progress bar. What a step does is the family's."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from lib.models import store

LOG_EVERY = 25
CHECKPOINT_SECONDS = 30
"""between two checkpoints: what an interruption costs"""


def run(
    state: Mapping[str, Tensor],
    optimizers: Mapping[str, torch.optim.Optimizer],
    advance: Callable[[int], Tensor],
    steps: int,
    *,
    checkpoint: Path,
    label: str,
    rngs: Sequence[torch.Generator] = (),
    log_every: int = LOG_EVERY,
    unit: str = "step",
) -> Float[Tensor, "records losses"]:
    """Call ``advance(step)`` for all steps, from the checkpoint on if there is one.

    A resumed run goes on as if it had never stopped if the random numbers of a step belong to its number, or come from
    ``rngs``.

    Args:
        state: all tensors that change with the steps, by name, such as a model's ``state_dict()``; changed in place.
        optimizers: optimizers by name; Adam, or what keeps its state as Adam does.
        advance: one step; it returns its losses, a scalar or a vector.
        steps: how many.
        checkpoint: where the state is kept, at most every 30 seconds.
        label: the name of the model in the progress bar and the error.
        rngs: sources of random numbers that go on from step to step; their states are kept too.
        log_every: the number of steps over which losses are averaged.
        unit: what a step is, for the progress bar.

    Returns:
        The losses, mean of every ``log_every`` steps.

    Raises:
        FloatingPointError: a loss that is not finite.
    """
    start, losses = _resume(checkpoint, state, optimizers, rngs)
    saved = time.monotonic()
    for step in tqdm(range(start, steps), desc=label, initial=start, total=steps, unit=unit):
        loss = advance(step).detach().reshape(-1)
        if losses is None:
            losses = loss.new_zeros(math.ceil(steps / log_every), len(loss))
        losses = losses.to(loss.device)
        losses[step // log_every] += loss / min(log_every, steps - step // log_every * log_every)
        if (step + 1) % log_every == 0 and not losses[step // log_every].isfinite().all():
            raise FloatingPointError(f"the loss of the model of {label} is not finite by step {step}; try a lower rate")
        if time.monotonic() - saved >= CHECKPOINT_SECONDS:
            _save(checkpoint, state, optimizers, rngs, losses, step + 1)
            saved = time.monotonic()
    return losses


def rate(peak: float, step: int, steps: int) -> float:
    """The learning rate of a step: a tenth of the steps up to nearly the peak, then half a cosine down to zero."""
    done = (step + 1) / steps
    return peak * min(1, 10 * done) * (1 + math.cos(math.pi * done)) / 2


def _save(
    path: Path, state: Mapping, optimizers: Mapping, rngs: Sequence[torch.Generator], losses: Tensor, step: int
) -> None:
    moments = {
        f"moments.{name}.{index}.{moment}": value
        for name, optimizer in optimizers.items()
        for index, held in optimizer.state_dict()["state"].items()
        for moment, value in held.items()
    }
    weights = {f"model.{name}": value for name, value in state.items()}
    sources = {f"rng.{index}": rng.get_state() for index, rng in enumerate(rngs)}
    tensors = {**weights, **moments, **sources, "losses": losses, "step": torch.tensor(step)}
    store.write(path, tensors, {"checkpoint": path.stem})


@torch.no_grad()
def _resume(
    path: Path, state: Mapping, optimizers: Mapping, rngs: Sequence[torch.Generator]
) -> tuple[int, Tensor | None]:
    """Load a checkpoint in place; which step comes next, and the losses so far. Zero and None without one."""
    tensors = store.read(path, {"checkpoint": path.stem})
    if tensors is None:
        return 0, None
    for name, value in state.items():
        value.copy_(tensors[f"model.{name}"])
    for name, optimizer in optimizers.items():
        moments: dict[int, dict[str, Tensor]] = {}
        for key in [key for key in tensors if key.startswith(f"moments.{name}.")]:
            index, moment = key.split(".")[2:]
            moments.setdefault(int(index), {})[moment] = tensors[key]
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    for index, rng in enumerate(rngs):
        rng.set_state(tensors[f"rng.{index}"])
    return int(tensors["step"]), tensors["losses"]
