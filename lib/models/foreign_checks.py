"""What a model made elsewhere can do, tried on a few latents or images before anything long is run."""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import jvp, vmap

from lib.measures.jacobian import FORWARD_MODE
from lib.models.foreign_files import what
from lib.models.programs import ForeignError

TRIED = 8
"""latents that are tried"""

TOLERANCE = 1e-4
"""what two calls may differ by, relative to the largest output: kernels for other batch sizes round otherwise"""

CHANGING = ("BatchNorm", "SyncBatchNorm", "LazyBatchNorm", "Dropout", "AlphaDropout", "FeatureAlphaDropout")
"""layers that give something else in training mode"""


class Foreign(NamedTuple):
    """A model made elsewhere."""

    call: Callable
    """of a decoder: from latents ``[n, latent]`` to images ``[n, channels, height, width]`` in the model's own range"""
    kind: str
    """``python``, ``torch.export``, ``TorchScript`` or ``ONNX``"""
    notes: tuple[str, ...]
    """what was done to it, a sentence each"""
    model: Callable
    """what was found at the address"""


class Checked(NamedTuple):
    """What a model can do, which limits what can be measured of it."""

    differentiable: bool
    """gradients reach the latents (reverse mode): recovery can search"""
    forward: bool
    """so do tangents (forward mode): Jacobians can be had"""
    notes: tuple[str, ...]
    """why not, a sentence each"""


def check(
    foreign: Foreign,
    latent: int,
    images: Float[Tensor, "n channels height width"],
    *,
    rng: torch.Generator | None = None,
) -> Checked:
    """Try a decoder at eight latents of the prior N(0, I).

    Args:
        foreign: the decoder, from :func:`lib.models.foreign.decoder`.
        latent: how many latents its ``call`` takes.
        images: those that it is compared with; of these the shape, the device, and the precision count.
        rng: the source of random numbers for latents and directions.

    Raises:
        ForeignError: it makes images of another shape, or NaN; it gives something else for the same latent, alone, in a
            batch or again; or the same for all latents. With what to do.
    """
    _refuse_training(foreign.model)
    z = torch.randn((TRIED, latent), generator=rng, dtype=images.dtype, device=images.device)
    y = _called(foreign.call, z)
    if y.shape[1:] != images.shape[1:]:
        raise ForeignError(
            f"the model makes images of {list(y.shape[1:])}, the images are {list(images.shape[1:])} (channels, "
            "height, width); crop or resize the images as for its training, or its outputs in a function of your own"
        )
    _steady(foreign.call, z, y, "latent")
    if bool((y == y[:1]).all()):
        raise ForeignError(
            f"all of {TRIED} latents of N(0, I) give the same image; are its weights loaded, does it use its input?"
        )
    direction = torch.randn(z.shape, generator=rng, dtype=z.dtype, device=z.device)
    reasons = _reverse(foreign.call, z, direction), _forward(foreign.call, z, direction)
    kinds = ("gradients", "recovery, and what rests on it, is"), ("tangents", "all that needs Jacobians is")
    notes = [
        f"no {kind}: {reason}; {left} left out" for reason, (kind, left) in zip(reasons, kinds, strict=True) if reason
    ]
    levels = _rounded(y)
    if levels:
        notes.append(f"outputs are rounded to {levels}: return them before they are rounded, if that can be had")
    return Checked(reasons[0] is None, reasons[1] is None, tuple(notes))


def check_function(
    foreign: Foreign, images: Float[Tensor, "n channels height width"], *, latent: int | None = None
) -> tuple[str, ...]:
    """Try an encoder, or log p, on a few images.

    Args:
        foreign: the function, from :func:`lib.models.foreign.function`.
        images: as the model takes them.
        latent: how many codes an encoder gives for an image; none if it is log p, which gives one number.

    Returns:
        What to say of it.

    Raises:
        ForeignError: it does not give so many numbers for each image, or NaN, or something else for the same image
            again or in another batch. With what to do.
    """
    _refuse_training(foreign.model)
    x = images[:TRIED]
    output = _called(foreign.call, x)
    wanted = (len(x),) if latent is None else (len(x), latent)
    if tuple(output.shape) != wanted:
        name = "log p, one number an image" if latent is None else "codes"
        raise ForeignError(
            f"the function gives {list(output.shape)} for {len(x)} images; expected {list(wanted)}, {name}"
        )
    _steady(foreign.call, x, output, "image")
    if len(x) > 1 and bool((output == output[:1]).all()):
        return (f"the function gives the same for all of {len(x)} images",)
    return ()


def modules(model: object, seen: set[int] | None = None) -> list[nn.Module]:
    """The modules that a callable is made of, or refers to: of a function, in its own module, closure and defaults."""
    seen = set() if seen is None else seen
    if id(model) in seen:
        return []
    seen.add(id(model))
    if isinstance(model, nn.Module):
        return [model]
    return [module for part in _parts(model) for module in modules(part, seen)]


def _parts(model: object) -> Iterator[object]:
    if isinstance(model, functools.partial):
        yield from (model.func, *model.args, *model.keywords.values())
    elif hasattr(model, "__self__") and hasattr(model, "__func__"):
        yield from (model.__self__, model.__func__)
    elif hasattr(model, "__wrapped__"):
        yield model.__wrapped__
    elif hasattr(model, "__code__"):
        named = (model.__globals__.get(name) for name in model.__code__.co_names)
        cells = (cell.cell_contents for cell in model.__closure__ or ())
        near = (part for part in named if isinstance(part, nn.Module) or _same_file(part, model))
        yield from (*near, *cells, *(model.__defaults__ or ()))
    elif callable(model) and hasattr(model, "__dict__") and not isinstance(model, type):
        yield from vars(model).values()


def _same_file(part: object, model: object) -> bool:
    return callable(part) and getattr(part, "__module__", None) == model.__module__


def layers_in_training(model: Callable) -> list[str]:
    """The layers whose output is that of training, with their names."""
    found = [
        (name, getattr(layer, "original_name", type(layer).__name__))
        for module in modules(model)
        for name, layer in module.named_modules()
        if layer.training
    ]
    return [f"the layer {name or 'itself'} ({kind})" for name, kind in found if kind.startswith(CHANGING)]


def _refuse_training(model: Callable) -> None:
    layers = layers_in_training(model)
    if layers:
        more = f" and {len(layers) - 1} more" if len(layers) > 1 else ""
        raise ForeignError(
            f"{layers[0]}{more} is in training mode, where an image depends on chance or on the others in its batch; "
            "call .eval() on the model before it is used or saved"
        )


def _called(call: Callable[[Tensor], Tensor], given: Tensor) -> Tensor:
    try:
        with torch.no_grad():
            output = call(given)
    except ForeignError:
        raise
    except Exception as error:  # somebody else's code fails in any way
        raise ForeignError(
            f"the model does not take {list(given.shape)} ({what(error)}); it must take any number of rows: if it was "
            "exported, export it with a dynamic first axis (torch.export: dynamic_shapes, ONNX: dynamic_axes)"
        ) from error
    bad = ~output.flatten(1).isfinite().all(1) if output.ndim > 1 else ~output.isfinite()
    if bad.any():
        raise ForeignError(
            f"{int(bad.sum())} of {len(output)} outputs hold NaN or infinity; are the weights loaded, are the inputs "
            f"[{given.min():.3g}, {given.max():.3g}] in the range that the model was trained on?"
        )
    return output


def _steady(call: Callable[[Tensor], Tensor], given: Tensor, output: Tensor, what_is_given: str) -> None:
    """The same again, and alone, but for rounding."""
    allowed = TOLERANCE * float(output.abs().max())
    again = float((_called(call, given) - output).abs().max())
    if again > allowed:
        raise ForeignError(
            f"the same {what_is_given} gives something else the second time (by up to {again:.3g}); return the mean in "
            "place of a draw, call .eval() where there is dropout, or seed the noise inside; or give samples only"
        )
    for rows in (slice(0, 1), slice(1, 4)):
        apart = float((_called(call, given[rows]) - output[rows]).abs().max())
        if apart > allowed:
            raise ForeignError(
                f"a {what_is_given} gives something else alone than in a batch (by up to {apart:.3g}); batch "
                "normalisation in training mode does this: call .eval() before the model is used, traced, or exported"
            )


def _reverse(call: Callable[[Tensor], Tensor], z: Tensor, direction: Tensor) -> str | None:
    """Why there are no gradients; None if there are."""
    try:
        with torch.enable_grad():
            z = z.clone().requires_grad_()
            y = call(z)
            if not y.requires_grad:
                return "none reaches the latents (torch.no_grad, .detach(), numpy or whole numbers inside)"
            weights = _difference(call, z.detach(), direction)
            (gradient,) = torch.autograd.grad((y * weights).sum(), z, allow_unused=True)
    except Exception as error:  # somebody else's code fails in any way
        return _reason(error)
    if gradient is None:
        return "none reaches the latents"
    # The derivative along the direction, weighted by the difference itself: the square of the latter if they agree.
    return _disagreement((gradient * direction).sum(), weights.square().sum())


def _forward(call: Callable[[Tensor], Tensor], z: Tensor, direction: Tensor) -> str | None:
    """Why there are no tangents, point by point as the Jacobians are made; None if there are."""

    def along(point: Tensor, step: Tensor) -> Tensor:
        return jvp(lambda row: call(row[None])[0], (point,), (step,))[1]

    try:
        with torch.no_grad(), FORWARD_MODE:
            tangent = vmap(along)(z.clone(), direction)
    except Exception as error:  # somebody else's code fails in any way
        return _reason(error)
    weights = _difference(call, z, direction)
    return _disagreement((tangent * weights).sum(), weights.square().sum())


def _reason(error: Exception) -> str:
    if any(word in str(error) for word in ("vmap", "numpy", "data pointer", ".item")):
        return "it leaves torch inside (.numpy(), .item(), an if on a value), where derivatives end"
    return what(error)


@torch.no_grad()
def _difference(call: Callable[[Tensor], Tensor], z: Tensor, direction: Tensor, eps: float = 1e-2) -> Tensor:
    return (call(z + eps * direction) - call(z - eps * direction)) / (2 * eps)


def _disagreement(derivative: Tensor, difference: Tensor) -> str | None:
    if not derivative.isfinite():
        return "they are NaN or infinite"
    if derivative == 0:
        return "they are zero, though the outputs change: something is rounded or compared inside"
    if not 0.5 < derivative / difference < 2:
        return (
            "they do not agree with differences of outputs: something is rounded inside, or has a gradient of its own"
        )
    return None


def _rounded(y: Tensor) -> str | None:
    """The levels that outputs take, if they are few."""
    for name, scaled in (
        ("whole numbers", y),
        ("256 levels of 0..1", y * 255),
        ("256 levels of -1..1", (y + 1) * 127.5),
    ):
        if bool(((scaled - scaled.round()).abs() < 1e-3).all()) and len(scaled.unique()) > 1:
            return name
    return None
