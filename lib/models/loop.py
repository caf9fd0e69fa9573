"""The loop of a fit: resumable steps with a progress bar. What a step does is the caller's."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from lib.models import store

LOG_EVERY = 25
CHECKPOINT_EVERY = 500


def run(
    state: Mapping[str, Tensor],
    optimizers: Mapping[str, torch.optim.Optimizer],
    advance: Callable[[int], Tensor],
    steps: int,
    *,
    checkpoint: Path,
    label: str,
) -> Float[Tensor, "records losses"]:
    """Call ``advance(step)`` for all steps, from the checkpoint on if there is one.

    A step's random numbers must belong to its number, so that a resumed run goes on as if it had never stopped.

    Args:
        state: all that changes with the steps, by name, such as a model's ``state_dict()``; changed in place.
        optimizers: by name; Adam, or what keeps its state as Adam does.
        advance: one step; returns its losses, a scalar or a vector.
        steps: how many.
        checkpoint: where the state is kept every 500 steps.
        label: of the model, for the progress bar and the error.

    Returns:
        The losses, mean of every 25 steps.

    Raises:
        FloatingPointError: a loss that is not finite.
    """
    losses = None
    start, kept = _resume(checkpoint, state, optimizers)
    for step in tqdm(range(start, steps), desc=label, initial=start, total=steps, unit="step"):
        loss = advance(step).detach().reshape(-1)
        if losses is None:
            losses = loss.new_zeros(math.ceil(steps / LOG_EVERY), len(loss)) if kept is None else kept.to(loss.device)
        losses[step // LOG_EVERY] += loss / min(LOG_EVERY, steps - step // LOG_EVERY * LOG_EVERY)
        if (step + 1) % LOG_EVERY == 0 and not losses[step // LOG_EVERY].isfinite().all():
            raise FloatingPointError(f"the loss of the model of {label} is not finite by step {step}; try a lower rate")
        if (step + 1) % CHECKPOINT_EVERY == 0:
            _save(checkpoint, state, optimizers, losses, step + 1)
    return losses if losses is not None else kept


def rate(peak: float, step: int, steps: int) -> float:
    """The learning rate of a step: a tenth of the steps up to nearly the peak, then half a cosine down to zero."""
    done = (step + 1) / steps
    return peak * min(1, 10 * done) * (1 + math.cos(math.pi * done)) / 2


def _save(path: Path, state: Mapping[str, Tensor], optimizers: Mapping, losses: Tensor, step: int) -> None:
    moments = {
        f"moments.{name}.{index}.{moment}": value
        for name, optimizer in optimizers.items()
        for index, held in optimizer.state_dict()["state"].items()
        for moment, value in held.items()
    }
    weights = {f"model.{name}": value for name, value in state.items()}
    store.write(path, {**weights, **moments, "losses": losses, "step": torch.tensor(step)})


@torch.no_grad()
def _resume(path: Path, state: Mapping[str, Tensor], optimizers: Mapping) -> tuple[int, Tensor | None]:
    """Load a checkpoint in place; which step comes next, and the losses so far. Zero and None without one."""
    tensors = store.read(path)
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
    return int(tensors["step"]), tensors["losses"]
