"""The command ``audit`` as its user calls it, and its page in a real browser."""

import csv
import json
import re

import jsonschema
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch.distributions import Normal

from lib import auditing
from lib.__main__ import main
from lib.audit_inputs import Inputs
from lib.measures.intervals import Estimate
from lib.models.closure import ROOT
from lib.protocols import audit_demos, audit_samples, audit_words
from lib.protocols.audit import audit
from lib.protocols.audit_demos import Demo
from lib.study import audit_drawings, audit_page, parameters

pytestmark = pytest.mark.usefixtures("fewer_repetitions")

MODEL = """
import torch
from torch.distributions import Normal

weights = torch.linspace(-2, 2, 3 * 64).view(3, 64).sin()


def decoder(z):
    return (z.to(weights) @ weights).tanh().view(-1, 1, 8, 8)


def encode(x):
    return Normal(x.flatten(1)[:, :3], 0.1)


def log_p(x):
    return -x.flatten(1).square().sum(1)


class Double(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.mean = torch.nn.Parameter(torch.zeros(64, dtype=torch.float64))

    def forward(self, x):
        return Normal(self.mean, torch.ones_like(self.mean)).log_prob(x.flatten(1) @ torch.eye(64).to(self.mean)).sum(1)


double_log_p = Double().eval()


def rounded(z):
    return (4 * decoder(z)).round() / 4


def broken(z):
    return decoder(z) * float("nan")
"""


@pytest.fixture(autouse=True)
def as_a_user(single_precision):
    """float32, as the command has it."""


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A folder with a model, and arrays of images; samples are training images."""
    folder = tmp_path_factory.mktemp("given")
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (60, 8, 8), dtype=np.uint8)
    np.save(folder / "train.npy", x)
    np.save(folder / "held_out.npy", rng.integers(0, 256, (60, 8, 8), dtype=np.uint8))
    np.save(folder / "samples.npy", x[rng.integers(60, size=50)])
    np.save(folder / "three.npy", x[:3])
    (folder / "my_model.py").write_text(MODEL)
    (folder / "weights.pth").write_bytes(b"no pickle is opened")
    return folder


def asked(given, out, *more):
    sides = ["--train", str(given / "train.npy"), "--held-out", str(given / "held_out.npy")]
    return CliRunner().invoke(main, ["audit", *sides, "--out", str(out), *more])


@pytest.fixture(scope="module")
def copycat(given, tmp_path_factory):
    """The page of a copycat with a title that wants to be HTML, what the command said, and its report."""
    torch.set_default_dtype(torch.float32)
    out = tmp_path_factory.mktemp("page")
    result = asked(given, out, "--samples", str(given / "samples.npy"), "--title", "A <b>copycat</b>")
    assert result.exit_code == 0, result.output
    return out, result.output, json.loads((out / "report.json").read_text())


def test_the_command_ends_with_the_three_sentences_and_the_page(copycat):
    out, said, report = copycat
    end = said[said.index(report["sentences"][0]) :]
    assert [sentence in end for sentence in report["sentences"]] == [True] * 3
    assert f"page: {out / 'index.html'}" in end
    assert re.search(r"expected: about \d+ (seconds|minutes)", said)
    assert re.search(r"\d+ s  four tests of samples", said)


def test_the_sentences_say_what_was_found_what_was_not_tested_and_how_sure(copycat):
    found, tested, sure = copycat[2]["sentences"]
    assert "more than chance explains (all tests together p = 0.005)" in found
    assert "100 % [92.9, 100] of the samples are nearer to a training image" in found
    assert "training images are named at a false discovery rate of 5 %" in found
    assert "not tested: decoder, encoder, log p and several models (none was given)" in tested
    assert re.search(r"in 95 % of trials if they were [\d.]+ % of the samples \(exact\)", sure)
    assert re.search(r"flagged in [\d.]+ % \[[\d.]+, [\d.]+\] of 20 shams", sure)
    assert not re.search("memori[sz]ed", " ".join(copycat[2]["sentences"]))


def test_the_report_follows_its_schema(copycat):
    schema = json.loads((ROOT / "book" / "_static" / "audit.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(copycat[2], schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(copycat[2] | {"sentences": ["one"]}, schema)
    assert set(copycat[2]["inputs"]) == {"train", "held_out", "samples"}


def test_every_training_image_has_a_line_the_most_suspicious_first(copycat):
    with (copycat[0] / "per_image.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 60
    assert sorted(int(line["image"]) for line in lines) == list(range(60))
    assert [float(line["ratio"]) for line in lines] == sorted(float(line["ratio"]) for line in lines)
    assert sum(float(line["q"]) <= 0.05 for line in lines) == copycat[2]["named"] > 10


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1100, "dark")])
def test_the_page_opens_from_a_file_fits_and_is_legible(copycat, chromium, width, scheme):
    with chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme) as context:
        page, asked_for, errors = context.new_page(), [], []
        page.on("request", lambda request: asked_for.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((copycat[0] / "index.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert [url for url in asked_for if not url.startswith(("file:", "data:"))] == []
        assert errors == []
        assert page.locator("h1").inner_text() == "A <b>copycat</b>"
        assert page.locator("dt").all_inner_texts() == list(audit_page.HEADS)
        assert page.locator("dd").all_inner_texts() == copycat[2]["sentences"]
        pictures = page.locator(".rows img")
        assert pictures.count() == 2 * 8 * 3
        assert all(pictures.nth(i).get_attribute("alt") for i in range(3))
        assert page.evaluate("[...document.images].every(image => image.naturalWidth >= 96)")
        assert page.evaluate("[...document.querySelectorAll('svg')].every(svg => svg.getAttribute('aria-label'))")
        light = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert light == (scheme == "light")
        assert page.locator(".finding").count() == 5
        assert page.locator("a").evaluate_all("links => links.map(link => link.getAttribute('href'))") == [
            "report.json",
            "per_image.csv",
        ]


def test_a_model_of_a_files_own_is_measured_by_all_its_parts(given, tmp_path):
    parts = [f"{given / 'my_model.py'}:{name}" for name in ("decoder", "encode", "log_p")]
    more = ["--model", parts[0], "--latent", "3", "--encoder", parts[1], "--log-p", parts[2]]
    result = asked(given, tmp_path, *more)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert {section["access"]: section["skipped"] for section in report["sections"]} == dict.fromkeys(
        ("samples", "decoder", "encoder", "log p"), ""
    ) | {"several models": "none was given"}
    assert any("range -1,1" in note for note in report["notes"])
    assert report["counts"]["samples"] == 1000


def test_a_decoder_without_gradients_gives_samples_and_says_so(given, tmp_path):
    result = asked(given, tmp_path, "--model", f"{given / 'my_model.py'}:rounded", "--latent", "3")
    assert result.exit_code == 0, result.output
    assert "not tested: decoder (no gradients reach its latents" in result.output


def test_an_audit_that_was_interrupted_goes_on_and_ends_as_if_it_had_not_been(given, copycat, tmp_path, monkeypatch):
    more = ["--samples", str(given / "samples.npy"), "--title", "A <b>copycat</b>"]

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(audit_samples, "per_image", stop)
        first = asked(given, tmp_path, *more)
    assert first.exit_code == 130
    assert (
        f"interrupted; 1 step is kept in {tmp_path / 'kept'}, and the same command goes on from there" in first.output
    )
    assert not (tmp_path / "index.html").exists()
    second = asked(given, tmp_path, *more)
    assert second.output.count("kept by an earlier call") == 1
    assert json.loads((tmp_path / "report.json").read_text()) == copycat[2]
    third = asked(given, tmp_path, *more)
    assert third.output.count("kept by an earlier call") == 3
    assert "four tests" not in third.output
    assert (tmp_path / "per_image.csv").read_text() == (copycat[0] / "per_image.csv").read_text()
    other = asked(given, tmp_path, *more, "--max-images", "30")
    assert "kept by an earlier call" not in other.output


def test_what_was_kept_for_one_encoder_is_not_taken_for_another_of_the_same_mean():
    x = torch.rand(4, 1, 2, 2)

    def identity(encode):
        inputs = Inputs("x", x, x, {"encode": encode}, [], {})
        return auditing._identity(inputs, {"max_images": 9})["digests"]

    encoders = [lambda x, std=std: Normal(x.flatten(1), std) for std in (0.1, 0.1, 0.5)]
    one, same, other = map(identity, encoders)
    assert one == same != other
    assert identity(lambda x: x.flatten(1)) not in (one, other)


def test_a_log_p_of_double_precision_is_asked_as_it_was_tried(given, tmp_path):
    more = ["--samples", str(given / "samples.npy"), "--log-p", f"{given / 'my_model.py'}:double_log_p"]
    result = asked(given, tmp_path, *more)
    assert result.exit_code == 0, result.output
    assert "log p" not in result.output.partition("not tested:")[2].partition(".")[0]


def test_latents_and_several_models_are_taken_from_archives(given, tmp_path):
    rng = np.random.default_rng(0)
    codes = {name: rng.standard_normal((60, 3), dtype=np.float32) for name in ("train", "held_out")}
    np.savez(tmp_path / "codes.npz", **codes)
    trained = np.stack([rng.permutation(6) < 3 for _ in range(40)], 1)
    np.savez(tmp_path / "models.npz", log_p=rng.standard_normal((6, 40)) + 3 * trained, trained=trained)
    more = ["--model", f"{given / 'my_model.py'}:rounded", "--latent", "3", "--codes", str(tmp_path / "codes.npz")]
    result = asked(given, tmp_path / "out", *more, "--models", str(tmp_path / "models.npz"))
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    found = {section["access"]: section for section in report["sections"]}
    assert "no distribution of them" in found["encoder"]["notes"][0]
    assert [each["name"] for each in found["several models"]["findings"]] == ["K-fold score", "membership attack"]
    assert "models know what they were trained with" in report["sentences"][0]
    assert "Several models" in (tmp_path / "out" / "index.html").read_text()


REFUSED = {
    "nothing to test": ([], "nothing to test: give --samples, --model, --log-p or --models"),
    "no latent": (["--model", "{}/my_model.py:decoder"], "--latent is missing"),
    "impossible latent": (["--model", "{}/my_model.py:decoder", "--latent", "-3"], "--latent -3 is impossible"),
    "another latent": (["--model", "{}/my_model.py:decoder", "--latent", "4"], "does not take latents"),
    "NaN": (["--model", "{}/my_model.py:broken", "--latent", "3"], "NaN"),
    "another range": (["--model", "{}/my_model.py:decoder", "--latent", "3", "--range", "0,255"], "--range 0,255 was given"),
    "a pickle": (["--model", "{}/weights.pth", "--latent", "3"], "pickle"),
    "an encoder alone": (["--samples", "{}/samples.npy", "--encoder", "{}/my_model.py:encode"], "--encoder needs --model"),
    "an encoder of another size": (
        ["--model", "{}/my_model.py:decoder", "--latent", "3", "--encoder", "{}/my_model.py:log_p"],
        "expected [8, 3], codes",
    ),
    "codes of no model": (["--samples", "{}/samples.npy", "--codes", "{}/samples.npy"], "--codes needs --model"),
    "latents of no model": (["--samples", "{}/samples.npy", "--latent", "3"], "--latent needs --model"),
    "no such device": (["--samples", "{}/samples.npy", "--device", "foo"], "device 'foo' is not available here"),
    "an array for several models": (["--models", "{}/samples.npy"], "accepted: .npz with log_p and trained"),
    "three samples": (["--samples", "{}/three.npy"], "holds 3 images"),
    "no file": (["--samples", "{}/none.npy"], "is not there"),
    "a demo with images": (["--demo", "innocent"], "leave out --train"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_before_anything_is_measured(case, given, tmp_path):
    arguments, message = REFUSED[case]
    result = asked(given, tmp_path / "out", *(each.format(given) for each in arguments))
    assert result.exit_code != 0
    assert message in str(result.exception)
    assert "four tests" not in result.output
    assert not (tmp_path / "out").exists()


def test_a_page_is_a_folder(given):
    result = CliRunner().invoke(main, ["audit", "--demo", "copycat", "--out", str(given / "train.npy")])
    assert result.exit_code == 2
    assert "is a file" in result.output


def test_held_out_images_are_needed(given):
    result = CliRunner().invoke(main, ["audit", "--train", str(given / "train.npy")])
    assert isinstance(result.exception, parameters.Refused)
    assert "--held-out is missing" in str(result.exception)


def test_without_samples_the_page_has_no_pictures_and_says_why(given, tmp_path):
    result = asked(given, tmp_path, "--log-p", f"{given / 'my_model.py'}:log_p")
    assert result.exit_code == 0, result.output
    assert "samples (none were given)" in result.output
    assert not (tmp_path / "per_image.csv").exists()
    assert "<img" not in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize("name", ["copycat", "innocent"])
def test_the_answers_of_the_demonstrations_are_known(name, monkeypatch):
    monkeypatch.setattr(audit_demos, "COUNT", 150)
    demo = audit_demos.demo(name, "cpu")
    found = audit(demo.train, demo.held_out, **demo.access)
    p = [each.p for each in found.sections["samples"].findings[:4]]
    if name == "copycat":
        assert p == [0.005] * 4
        assert found.per_image.named() > 50
    else:
        assert found.sections["samples"].joint > 0.01
        assert found.per_image.named() <= 3
    assert not found.exchangeable.differ


def test_a_demonstration_goes_to_its_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(auditing, "AUDITS", tmp_path)
    train, held_out, samples = torch.rand(3, 30, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    monkeypatch.setitem(
        audit_demos.DEMOS, "innocent", lambda device, seed: Demo("Noise", train, held_out, {"samples": samples})
    )
    result = CliRunner().invoke(main, ["audit", "--demo", "innocent"])
    assert result.exit_code == 0, result.output
    assert "<title>Noise</title>" in (tmp_path / "innocent" / "index.html").read_text()


def test_sides_that_differ_are_said_first():
    images = torch.rand(90, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = audit(images[:30] * 0.7, images[30:60], samples=images[60:])
    assert found.exchangeable.differ
    said = audit_words.sentences(found)[0]
    assert said.startswith(audit_words.DIFFER)
    assert re.search(r"(more than|nothing beyond) real images", said)
    assert re.search(r"where real training images have [\d.]+ %", said)
    section = found.sections["samples"]
    assert all(each.real is not None and each.added is not None for each in section.findings[:4])


def test_a_strip_keeps_everything_inside():
    value = Estimate(2.0, 1.0, 3.0, 9)._asdict()
    drawn = audit_drawings.strip("a & b", value, (-1.0, 1.5))
    places = [float(x) for x in re.findall(r'(?:x|x1|x2|cx)="([\d.]+)"', drawn)]
    assert min(places) >= 0
    assert max(places) <= audit_drawings.WIDTH
    assert 'aria-label="a &amp; b: 2, interval 1 to 3, chance −1 to 1.5"' in drawn
    flat = audit_drawings.strip("a", Estimate(0.0, 0.0, 0.0, 9)._asdict(), None)
    assert "nan" not in flat
