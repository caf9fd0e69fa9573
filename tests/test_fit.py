import functools
import importlib
import json
import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from lib.models import data, draws, fit, loop, store
from lib.models.convolutional import Convolutional
from lib.models.data import DataError, Dataset
from lib.models.family import Fit, Seen, Spec, Tensors
from lib.models.fit import Images, description, family_code
from lib.models.generative import RATES, Generative
from lib.models.kfold import KFold
from lib.models.stochastic import VARIANCES, Stochastic

pytestmark = pytest.mark.usefixtures("single_precision")

fit_all = fit.fit


class MeanStream(IntEnum):
    """The streams of the family below."""

    STEPS = 1


@dataclass(frozen=True)
class Mean(Spec):
    """A family: one image, which goes towards what it sees; it may start where another has ended."""

    stream = MeanStream

    examples: int = 0
    steps: int = 40
    seed: int = 0
    start: int = 0
    """steps of the fit that it follows; zero means none"""
    unused: int = 0

    def canonical(self) -> "Mean":
        """The same without what is not used."""
        return replace(self, unused=0)

    def follows(self) -> "Mean | None":
        """A shorter fit."""
        return Mean(self.examples, self.start, self.seed) if self.start else None

    def train(self, seen: Seen, device: str, checkpoint: Path, followed: Tensors | None) -> Tensors:
        """Gradient descent on the squared error."""
        image = nn.Parameter(torch.zeros(seen.train.shape[1:]) if followed is None else followed["image"].clone())
        optimizer = torch.optim.Adam([image], lr=0.1, fused=True)

        def step(number: int) -> Tensor:
            rows = torch.randint(len(seen.train), (8,), generator=draws.rng_from(device, self.stream.STEPS, number))
            loss = (seen.train[rows] - image).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        losses = loop.run({"image": image}, {"adam": optimizer}, step, self.steps, checkpoint=checkpoint, label="mean")
        return {"image": image, "losses": losses}

    def restore(self, tensors: Tensors, index: Tensor, shape: Sequence[int], device: str) -> "MeanFit":
        """The image."""
        return MeanFit(self, index, tensors["losses"], tensors["image"])


@dataclass(frozen=True, eq=False)
class MeanFit(Fit):
    """A fitted image."""

    image: Tensor


SMALL = {"examples": 20, "steps": 20, "batch": 5, "latent": 3, "width": 2}
SPECS = {
    "mean": Mean(20, 20),
    "convolutional": Convolutional(**SMALL, hidden=8),
    **{kind: Generative(kind, **SMALL, stride=2) for kind in RATES},
    **{variance: Stochastic(variance, models=2, **SMALL, centres=4) for variance in VARIANCES},
    "kfold": KFold(
        "bernoulli", 20, folds=3, epochs=20, batch=12, score_every=4, latent=3, width=4, samples=2, test_images=5
    ),
}
every_family = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def files(folder):
    """The content of the fits of a folder."""
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def modules(fitted):
    """The networks of a fit."""
    values = [*vars(fitted).values(), *getattr(fitted, "models", [])]
    return [value for value in values if isinstance(value, nn.Module)]


def test_a_family_of_ones_own_is_fitted_and_kept(grey, tmp_path, monkeypatch):
    (one,) = fit_all([Mean(steps=150)], grey, "cpu", folder=tmp_path)
    assert (one.image - grey.train.mean(0)).abs().max() < 0.25
    assert one.losses[-1] < one.losses[0]
    assert torch.equal(one.index, torch.arange(60))
    monkeypatch.setattr(Mean, "train", lambda *_: pytest.fail("fitted again"))
    (again,) = fit_all([Mean(steps=150)], grey, "cpu", folder=tmp_path)
    assert torch.equal(one.image, again.image)


@every_family
def test_an_interrupted_fit_goes_on_from_its_checkpoint_and_ends_the_same(grey, tmp_path, interrupt, spec):
    if spec.follows():
        for name in ("whole", "cut"):
            fit_all([spec.follows()], grey, "cpu", folder=tmp_path / name)
    fit_all([spec], grey, "cpu", folder=tmp_path / "whole")
    steps = 10 if spec.follows() else 20 + getattr(spec, "folds", 0)  # a fold at a time is evaluated at the end
    interrupt(every=3, at=8)
    with pytest.raises(KeyboardInterrupt):
        fit_all([spec], grey, "cpu", folder=tmp_path / "cut")
    assert len(list((tmp_path / "cut").glob("*.checkpoint"))) == 1
    seconds = interrupt(every=100, at=1000)
    fit_all([spec], grey, "cpu", folder=tmp_path / "cut")
    assert next(seconds) == steps - 6 + 1  # from the second checkpoint, and the first look at the clock
    assert files(tmp_path / "whole") == files(tmp_path / "cut")
    assert not list((tmp_path / "cut").glob("*.checkpoint*"))


def test_fits_side_by_side_and_in_any_order_are_the_same(grey, tmp_path):
    specs = list(SPECS.values())
    one_by_one = fit_all(specs, grey, "cpu", folder=tmp_path / "a")
    with ThreadPoolExecutor(3) as pool:
        fits = fit_all(specs[::-1], grey, "cpu", folder=tmp_path / "b", executor=pool)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert len(files(tmp_path / "a")) == len(specs)
    assert [fitted.spec for fitted in fits] == specs[::-1]
    for fitted in one_by_one:
        assert not any(module.training for module in modules(fitted))
        assert not any(p.requires_grad for module in modules(fitted) for p in module.parameters())


@every_family
def test_another_seed_gives_other_weights_and_other_examples(grey, tmp_path, spec):
    one, two = fit_all([spec, replace(spec, seed=1)], grey, "cpu", folder=tmp_path)
    assert not torch.equal(one.index, two.index)
    assert not torch.equal(one.losses, two.losses)


@every_family
def test_work_for_another_process_finds_its_data_there(grey, tmp_path, spec):
    held = data.only(data.hold_out(grey, 10, seed=1), [0])  # data that are made of others are made again
    images = Images(held.digest, held.again, held)
    followed = fit.train(spec.follows(), images, "cpu", None, tmp_path / "c") if spec.follows() else None
    work = functools.partial(fit.train, spec, images, "cpu", followed)
    sent = pickle.dumps(work)
    assert b"again" in sent
    assert len(sent) < 3000 + 2 * sum(value.nbytes + 500 for value in (followed or {}).values())  # not the images
    fit._loaded.cache_clear()
    there, here = pickle.loads(sent)(tmp_path / "c"), work(tmp_path / "c")
    assert all(torch.equal(value, there[name]) for name, value in here.items())


def test_other_data_on_another_machine_are_refused(grey):
    for changed, message in (
        ({"digest": "other"}, "is not the same data here: expected SHA-256 other, found"),
        ({"digest": "another", "again": None}, "another process cannot load them again"),
    ):
        dataset = grey._replace(**changed)
        sent = pickle.dumps(Images(dataset.digest, dataset.again, dataset))
        with pytest.raises(DataError, match=message):
            pickle.loads(sent).dataset()


def test_what_is_followed_is_fitted_before_and_once(grey, tmp_path):
    order, real = [], Mean.train

    def recorded(spec, *rest):
        order.append((spec.start, spec.steps))
        return real(spec, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Mean, "train", recorded)
        specs = [Mean(20, 2, start=5), Mean(20, 4), Mean(20, 3, start=5), Mean(20, 5)]
        one, _, _, first = fit_all(specs, grey, "cpu", folder=tmp_path)
    assert sorted(order[:2]) == [(0, 4), (0, 5)]
    assert sorted(order[2:]) == [(5, 2), (5, 3)]
    assert (one.image - first.image).abs().max() < 0.21  # two steps of a tenth from there


def test_specifications_of_the_same_fit_share_it(grey, tmp_path):
    one, two = fit_all([Mean(20, 5, unused=1), Mean(20, 5, unused=2)], grey, "cpu", folder=tmp_path)
    assert len(files(tmp_path)) == 1
    assert torch.equal(one.image, two.image)
    assert (one.spec.unused, two.spec.unused) == (1, 2)


@every_family
def test_more_examples_than_there_are_are_refused_before_anything_is_fitted(grey, tmp_path, spec):
    field = "images" if isinstance(spec, KFold) else "examples"
    for count in (-1, 61):
        with pytest.raises(ValueError, match=rf"{field} must be in 0\.\.60 \(0: all\) for folder:.*, got {count}"):
            fit_all([Mean(20), replace(spec, **{field: count})], grey, "cpu", folder=tmp_path)
    assert not files(tmp_path)


def test_a_loss_that_is_not_finite_stops_the_fit_and_keeps_the_others(grey, tmp_path):
    bad = Stochastic("constant", **SMALL | {"steps": 50}, rate=1e30)
    with ThreadPoolExecutor(1) as pool, pytest.raises(FloatingPointError, match="not finite by step 24; try a lower"):
        fit_all([Mean(20), bad], grey, "cpu", folder=tmp_path, executor=pool)
    assert len(files(tmp_path)) == 1


def test_the_file_of_a_fit_keeps_its_specification(grey, tmp_path):
    fit_all([Mean(20, 7)], grey, "cpu", folder=tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    with safe_open(path, "pt") as file:
        kept = json.loads(file.metadata()["spec"])
    assert kept["spec"] == {"examples": 20, "steps": 7, "seed": 0, "start": 0, "unused": 0}
    assert (kept["family"], kept["data"], kept["device"]) == ("Mean", grey.digest, "cpu")
    assert kept["machine"]["threads"] == torch.get_num_threads()
    assert kept["code"] == family_code(Path(__file__))
    assert kept["libraries"]["torch"] == torch.__version__
    assert store.key(kept) == path.stem


def test_the_key_is_made_of_specification_data_kind_of_device_code_and_machine(monkeypatch):
    def key(spec=Mean(), digest="data", device="cpu", code="code"):
        return store.key(description(spec, digest, device, {"code": code}))

    keys = {
        key(),
        key(spec=Mean(seed=1)),
        key(spec=Convolutional(0)),
        key(digest="other"),
        key(device="cuda:0"),
        key(code="other"),
    }
    assert key(device="cuda:1") in keys
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    keys.add(key())
    monkeypatch.undo()
    monkeypatch.setattr(Mean, "stream", IntEnum("Moved", {"STEPS": 2}))
    assert len(keys | {key()}) == 8


def test_no_two_classes_have_the_same_name():
    folder = Path(fit.__file__).parent
    defined = [
        value.__name__
        for path in folder.glob("*.py")
        if "TEMPORARY" not in path.read_text()[:50]
        for value in vars(importlib.import_module(f"lib.models.{path.stem}")).values()
        if isinstance(value, type) and value.__module__ == f"lib.models.{path.stem}"
    ]
    assert len(defined) > 25
    assert sorted(set(defined)) == sorted(defined)


def test_data_that_were_made_by_hand_are_fitted_here(tmp_path):
    x, labels = torch.rand(30, 1, 4, 4), torch.zeros(30, dtype=torch.long)
    (one,) = fit_all([Mean(10, 3)], Dataset("mine", x, labels, x, labels, "digest"), "cpu", folder=tmp_path)
    assert one.image.shape == (1, 4, 4)
