"""A model of the reader's own, as the measures take it: any map from latents to images.

An address says where it is (:mod:`lib.models.foreign_files`). What it gives is put into one form, each step said in a
note: a first tensor out of a tuple, flat outputs as images, channels first, floats.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from lib.models import foreign_files
from lib.models.foreign_checks import TRIED, Foreign, layers_in_training, modules
from lib.models.programs import ForeignError


def decoder(
    address: str,
    latent: int | Sequence[int],
    *,
    device: torch.device | str | None = None,
    shape: Sequence[int] | None = None,
) -> Foreign:
    """The decoder at an address: from latents ``[n, latent]`` to images ``[n, channels, height, width]``.

    It is called with three latents to see what it gives. A tuple or a mapping is read as its first tensor, such as the
    mean of (mean, log variance). Flat outputs become images of ``shape``, by default square and grey or square and of
    three channels; ``[n, height, width]`` gets a channel; channels that come last are moved. Weights are frozen. Where
    the latents ask for no gradient, none is kept.

    Args:
        address: ``FILE.py:NAME``, ``package.module:NAME``, or a file: see :mod:`lib.models.foreign_files`.
        latent: how many latents it takes; or their shape, such as (100, 1, 1), if it takes them as little images. Its
            ``call`` takes ``[n, latent]`` in both cases.
        device: where its weights are put if it is a module; by default they stay where they are.
        shape: of the images, (channels, height, width), if known.

    Raises:
        ForeignError: it cannot be loaded, or called with such latents, or gives no images; with what to do.
    """
    sizes = (latent,) if isinstance(latent, int) else tuple(latent)
    if not sizes or min(sizes) < 1:
        raise ForeignError(f"latent must be at least 1, or a shape such as 100,1,1; got {latent}")
    found = _prepared(address, device)
    model = typed(found.model)
    z = torch.randn((3, math.prod(sizes)), generator=torch.Generator().manual_seed(0)).to(device)
    output = _tried(found.model, lambda: model(z.view(3, *sizes)), f"latents {[3, *sizes]}")
    arrange, notes = _arrangement(tuple(_first(output).shape), len(z), shape)

    def call(z: Tensor) -> Tensor:
        # Weights that ask for gradients would keep a graph that nobody asked for. Forward mode needs no permission.
        with torch.set_grad_enabled(torch.is_grad_enabled() and z.requires_grad):
            return arrange(_first(model(z.reshape(len(z), *sizes))).to(z.dtype))

    return Foreign(call, found.kind, (*found.notes, *_said(output), *notes), found.model)


def function(address: str, *, device: torch.device | str | None = None) -> Foreign:
    """Another function at an address, such as an encoder, from images to codes, or log p, one number per image.

    A distribution is read as its mean, and a tuple as its first tensor. What it gives is seen when it is called: notes
    that need an output are those of :func:`check_function`.

    Raises:
        ForeignError: it cannot be loaded; with what to do.
    """
    found = _prepared(address, device)
    model = typed(found.model)

    def call(x: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and x.requires_grad):
            return _first(model(x)).to(x.dtype)

    return Foreign(call, found.kind, found.notes, found.model)


def posterior(
    address: str,
    images: Float[Tensor, "n channels height width"],
    latent: int,
    *,
    device: torch.device | str | None = None,
) -> Foreign:
    """An encoder as a distribution, for :func:`lib.measures.likelihood.log_evidence`: from images to q(z | x).

    It gives a distribution over ``[n, latent]``, or a mean and a logarithm of variances, as the encoders of variational
    autoencoders do. Numbers that are all positive may be standard deviations as well, and are refused.

    Args:
        address: as of :func:`decoder`.
        images: as the model takes them; it is tried on the first eight.
        latent: how many latents there are.
        device: where its weights are put if it is a module.

    Raises:
        ForeignError: it cannot be loaded, or gives neither; with what to do.
    """
    found = _prepared(address, device)
    model = typed(found.model)
    x = images[:TRIED]
    output = _tried(found.model, lambda: model(x), f"images {list(x.shape)}")
    notes = _posterior_notes(output, (len(x), latent))

    def call(x: Tensor) -> Distribution:
        with torch.set_grad_enabled(torch.is_grad_enabled() and x.requires_grad):
            output = model(x)
        if not isinstance(output, Distribution):
            mean, log_variance = (part.to(x.dtype) for part in output[:2])
            output = Normal(mean, (0.5 * log_variance).exp())
        return Independent(output, len(output.batch_shape) - 1)

    return Foreign(call, found.kind, (*found.notes, *notes), found.model)


def _posterior_notes(output: object, shape: tuple[int, int]) -> tuple[str, ...]:
    if isinstance(output, Distribution):
        found = (*output.batch_shape, *output.event_shape)
        if found != shape:
            raise ForeignError(f"the encoder gives a distribution over {list(found)}; expected {list(shape)}")
        return ()
    pair = output[:2] if isinstance(output, tuple | list) else ()
    if [tuple(part.shape) for part in pair if isinstance(part, Tensor)] != [shape, shape]:
        raise ForeignError(
            f"the encoder gives {type(output).__name__}; for the evidence it must give a mean and a logarithm of "
            f"variances, both {list(shape)}, or torch.distributions.Normal(mean, std)"
        )
    if bool((pair[1] > 0).all()):
        raise ForeignError(
            "the second output of the encoder is positive everywhere: standard deviations? return "
            "torch.distributions.Normal(mean, std)"
        )
    return ("the second output of the encoder is read as the logarithm of variances",)


def _prepared(address: str, device: torch.device | str | None) -> foreign_files.Loaded:
    found = foreign_files.load(address)
    for module in modules(found.model):
        for weight in module.parameters():  # one by one: scripted modules know no other way
            weight.requires_grad_(False)
        if device is not None:
            module.to(device)
    return found


def typed(model: Callable) -> Callable:
    """The same model for inputs of any precision: it gets them in that of its weights."""
    weights = [weight for module in modules(model) for weight in module.parameters() if weight.is_floating_point()]
    return (lambda given: model(given.to(weights[0].dtype))) if weights else model


def _tried(model: Callable, run: Callable[[], object], given: str) -> object:
    try:
        return run()
    except Exception as error:  # somebody else's code fails in any way
        raise ForeignError(
            f"the model does not take {given} ({foreign_files.what(error)}); {_advice(model, error)}"
        ) from error


def _advice(model: Callable, error: Exception) -> str:
    """What the first layer takes, if it can be seen, and else what is usual."""
    text = str(error)
    if isinstance(error, AssertionError) and "Guard failed" in text:
        return (
            "it was exported for one number of latents only: torch.export.export(..., dynamic_shapes=({0: Dim('n')},))"
        )
    if "positional argument" in text:
        return "it must take one argument, the latents: wrap it in a function of z"
    if "numpy" in text or "data pointer" in text or "requires grad" in text:
        return "it leaves torch (.numpy(), .item()): keep it in torch, or make images with it and give them as samples"
    if isinstance(error, NotImplementedError) and "forward" in text:
        methods = [name for name in vars(type(model)) if not name.startswith("_")]
        return f"give one of its methods, as NAME.METHOD: {', '.join(methods)}"
    if "when training" in text and layers_in_training(model):
        return f"{layers_in_training(model)[0]} is in training mode: call .eval()"
    for layer in (layer for module in modules(model) for layer in module.modules()):
        if isinstance(layer, nn.Linear):
            return f"its first linear layer takes {layer.in_features}: is the number of latents right?"
        if isinstance(layer, nn.ConvTranspose2d | nn.Conv2d):
            return (
                f"its first layer is a convolution of {layer.in_channels} channels: try latents {layer.in_channels},1,1"
            )
    return "is the number of latents right? a model that takes them as little images needs a shape such as 100,1,1"


def _first(output: object) -> Tensor:
    """The tensor that counts in what a model gives.

    Raises:
        ForeignError: there is none.
    """
    if isinstance(output, Distribution):
        return output.mean
    if isinstance(output, Mapping):
        output = tuple(output.values())
    if isinstance(output, tuple | list):
        output = next((part for part in output if isinstance(part, Tensor)), output)
    if not isinstance(output, Tensor):
        raise ForeignError(
            f"the model gives {type(output).__name__}; expected a tensor: torch.as_tensor(...), if it can be"
        )
    return output


def _said(output: object) -> tuple[str, ...]:
    notes, tensor = [], _first(output)
    if not isinstance(output, Tensor):
        part = "the mean" if isinstance(output, Distribution) else "the first tensor"
        notes.append(f"gives a {type(output).__name__}, of which {part} is taken")
    if not tensor.is_floating_point():
        notes.append(f"gives whole numbers ({str(tensor.dtype).removeprefix('torch.')}), which have no gradients")
    return tuple(notes)


def _arrangement(
    found: tuple[int, ...], count: int, shape: Sequence[int] | None
) -> tuple[Callable[[Tensor], Tensor], tuple[str, ...]]:
    """How outputs become ``[n, channels, height, width]``, and what to say of it."""
    if not found or found[0] != count:
        raise ForeignError(
            f"the model gives {list(found)} for {count} latents; expected an image for each, "
            f"[{count}, channels, height, width]"
        )
    if len(found) == 4:
        return _channels(found, shape)
    size = math.prod(found[1:])
    if len(found) == 3 and (shape is None or tuple(shape) == (1, *found[1:])):
        return lambda output: output[:, None], (f"gives images of {list(found[1:])}: a channel is added",)
    target = tuple(shape) if shape and math.prod(shape) == size else _square(size)
    if len(found) != 2 or target is None:
        raise ForeignError(
            f"the model gives {list(found[1:])} for a latent; expected (channels, height, width){_or(shape)}"
        )
    note = f"flat outputs of {size} numbers are read as {' x '.join(map(str, target))} (channels, height, width)"
    return lambda output: output.view(-1, *target), (note,)


def _or(shape: Sequence[int] | None) -> str:
    return f", here {list(shape)}, or as many numbers in a row" if shape else ""


def _channels(
    found: tuple[int, ...], shape: Sequence[int] | None
) -> tuple[Callable[[Tensor], Tensor], tuple[str, ...]]:
    last = (found[3], found[1], found[2])
    wanted = last == tuple(shape) != found[1:] if shape else found[3] in (1, 3) and found[1] not in (1, 3)
    if wanted:
        return lambda output: output.movedim(3, 1), (
            f"gives images of {list(found[1:])}: channels are moved to the front",
        )
    return lambda output: output, ()


def _square(size: int) -> tuple[int, int, int] | None:
    for channels in (1, 3):
        side = math.isqrt(size // channels)
        if channels * side**2 == size and side > 1:
            return channels, side, side
    return None
