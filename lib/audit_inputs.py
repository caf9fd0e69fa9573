"""What the command ``audit`` is given: images, models and archives, read and checked before anything is measured."""

import zipfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib.models import foreign, own_images, ranges
from lib.models.draws import rng_from
from lib.models.foreign import ForeignError
from lib.models.foreign_checks import check, check_function
from lib.models.own_images import OwnImages
from lib.study import parameters

TESTED = ("model", "samples", "log_p", "models")
TRIED = 256
"""latents whose images say which range a model makes"""


class Inputs(NamedTuple):
    """What :func:`lib.protocols.audit.audit` takes, and what is to be said of it."""

    title: str
    train: Tensor
    held_out: Tensor
    access: dict
    """samples, decoder and so on, by the names of its arguments"""
    notes: list[str]
    digests: dict[str, str]


def own(given: dict) -> Inputs:
    """Read and check everything.

    Raises:
        Refused: something is missing, or does not fit; and as what reads images and models.
    """
    for name in ("train", "held_out"):
        if not given[name]:
            raise parameters.Refused(f"--{name.replace('_', '-')} is missing; or see a page with --demo copycat")
    if not any(given[name] for name in TESTED):
        raise parameters.Refused("there is nothing to test: give --samples, --model, --log-p or --models")
    sides = own_images.apart(*(own_images.load(given[name]) for name in ("train", "held_out")))
    loaded: dict[str, OwnImages] = dict(zip(("train", "held_out"), sides, strict=True))
    if given["samples"]:
        loaded["samples"] = own_images.load(given["samples"])
    notes = [f"{name.replace('_', '-')}: {note}" for name, images in loaded.items() for note in images.notes]
    train, held_out = (side.x for side in sides)
    access: dict = {"samples": loaded["samples"].x} if given["samples"] else {}
    made, more = _model(given, train)
    notes += more
    if given["codes"]:
        made["codes"] = _codes(given["codes"], made, sides)
    if given["models"]:
        made["models"] = _models(given["models"])
    digests = {name: images.digest for name, images in loaded.items()}
    title = given["title"] or f"An audit of {next(given[name] for name in TESTED if given[name])}"
    return Inputs(title, train, held_out, access | made, notes, digests)


def _model(given: dict, train: Tensor) -> tuple[dict, list[str]]:
    """The parts of a model, for images in [0, 1], and what was done to them."""
    access: dict = {"missing": {}}
    if given["latent"] and not given["model"]:
        raise parameters.Refused("--latent needs --model: it is the number of latents of that decoder")
    notes, low, high = [], *ranges.RANGES[given["range"] or "0,1"]
    if given["model"]:
        shape = _latent(given["latent"])
        made = foreign.decoder(given["model"], shape, device=given["device"], shape=tuple(train.shape[1:]))
        latent = int(torch.Size(shape).numel())
        able = check(made, latent, train[:8].to(given["device"]), rng=rng_from(given["device"], 0, 14))
        with torch.no_grad():
            outputs = made.call(torch.randn(TRIED, latent, generator=rng_from("cpu", 0, 15)).to(given["device"])).cpu()
        matched = ranges.matched(train, outputs, given["range"])
        low, high = ranges.RANGES[matched.range]
        notes += [f"model: {note}" for note in (*made.notes, *able.notes, *matched.notes)]
        decode = _placed(lambda z: (made.call(z) - low) / (high - low), given["device"])
        access |= {"decoder": decode, "latent": latent, "forward": able.forward, "search": able.differentiable}
    seen = (low + (high - low) * train[:8]).to(given["device"])
    if given["encoder"]:
        if "latent" not in access:
            raise parameters.Refused("--encoder needs --model and --latent: its codes are decoded")
        found = _encoder(given["encoder"], seen, access["latent"], given["device"])
        access["encode"] = _placed(_asked(found.call, low, high), given["device"])
        notes += [f"encoder: {note}" for note in found.notes]
    if given["log_p"]:
        found = foreign.function(given["log_p"], device=given["device"])
        notes += [f"log p: {note}" for note in (*found.notes, *check_function(found, seen))]
        access["log_p"] = _placed(_asked(foreign.typed(found.model), low, high), given["device"])
    return access, notes


def _codes(path: str, made: dict, sides: tuple[OwnImages, OwnImages]) -> tuple[Tensor, Tensor]:
    """The latents of both sides."""
    if "latent" not in made or "encode" in made:
        raise parameters.Refused("--codes needs --model and --latent, and no --encoder: they are decoded in its place")
    found = _archive(path, "train", "held_out")
    shapes, expected = [list(part.shape) for part in found], [[len(side.x), made["latent"]] for side in sides]
    if shapes != expected:
        raise parameters.Refused(f"{path} holds {shapes[0]} and {shapes[1]}; expected {expected[0]} and {expected[1]}")
    return found[0].float(), found[1].float()


def _models(path: str) -> tuple[Tensor, Tensor]:
    """What several models say of images, and which of them they were trained with."""
    log_p, trained = _archive(path, "log_p", "trained")
    if log_p.shape != trained.shape or log_p.ndim != 2 or not ((trained == 0) | (trained == 1)).all():
        shapes = f"log_p {list(log_p.shape)} and trained {list(trained.shape)}"
        raise parameters.Refused(f"{path} holds {shapes}; expected both [models, images], trained of 0 and 1")
    return log_p.double(), trained.bool()


def _archive(path: str, *names: str) -> list[Tensor]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return [torch.from_numpy(file[name]) for name in names]
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise parameters.Refused(
            f"{path} cannot be read ({error}); accepted: .npz with {' and '.join(names)}"
        ) from None


def _encoder(address: str, images: Tensor, latent: int, device: str) -> foreign.Foreign:
    """An encoder as a distribution of codes, or as codes if it gives no distribution."""
    try:
        return foreign.posterior(address, images, latent, device=device)
    except ForeignError as error:
        found = foreign.function(address, device=device)
        check_function(found, images, latent=latent)
        return found._replace(notes=(*found.notes, f"taken as codes, since it is no distribution: {error}"))


def _asked(model: Callable, low: float, high: float) -> Callable:
    return lambda x: model(low + (high - low) * x)


def _placed(function: Callable, device: str) -> Callable:
    """A function computed on the device, for tensors that are elsewhere; of distributions, only their input moves."""

    def call(x: Tensor) -> object:
        made = function(x.to(device))
        return made.to(x.device) if isinstance(made, Tensor) else made

    return call


def _latent(text: str | None) -> tuple[int, ...]:
    try:
        sizes = tuple(int(part) for part in (text or "").split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        said = "--latent is missing" if text is None else f"--latent {text} is impossible"
        raise parameters.Refused(f"{said}; accepted: the number of latents, or their shape, such as 100,1,1")
    return sizes
