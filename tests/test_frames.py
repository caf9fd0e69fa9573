"""A path to be walked by hand: the page's images and numbers are those of torch, and the keyboard is enough."""

import json
import shutil

import pytest
import torch
from conftest import torus

from lib.models.data import ROOT
from lib.protocols import dips
from lib.study import frames

STEPS = 9
ENDS = torch.tensor([[[0.3, -0.4]], [[1.2, 2.0]]], dtype=torch.float64)


def image(z):
    """A torus as an image of two rows, within 0 and 1."""
    return (torus(z).repeat(1, 4).view(-1, 1, 3, 4) + 3) / 6


def walks():
    decoders = {"memorised": image, "well trained": lambda z: image(z / 2)}
    return {name: dips.walk(decoder, *ENDS, n=STEPS, rank=2, shown=STEPS) for name, decoder in decoders.items()}


def part():
    found = walks()
    images = {name: walk.images for name, walk in found.items()}
    return frames.fragment(images, {name: walk.curve for name, walk in found.items()}).data


def written(folder):
    shutil.copytree(ROOT / "book" / "_static", folder / "_static", ignore=lambda *_: ["mathjax"])
    (folder / "notebooks").mkdir()
    page = folder / "notebooks" / "page.html"
    style = '<link rel="stylesheet" href="../_static/frames.css">'
    page.write_text(f'<!doctype html><html lang="en"><meta charset="utf-8"><title>x</title>{style}{part()}')
    return page


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    torch.manual_seed(0)
    return written(tmp_path_factory.mktemp("page"))


@pytest.fixture
def page(chromium, path):
    opened, trouble = chromium.new_page(viewport={"width": 390, "height": 844}), []
    opened.on("request", lambda one: None if one.url.startswith("file://") else trouble.append(one.url))
    opened.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    opened.goto(path.as_uri())
    opened.wait_for_selector(".frames.live")
    yield opened
    opened.close()
    assert trouble == []


SEEN = """() => [...document.querySelectorAll(".frames canvas")].map((canvas) => {
  const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return [...all].filter((_, i) => i % 4 === 0);
})"""


def test_every_step_shows_the_images_and_the_densities_of_torch(page):
    page.locator(".frames input").focus()
    for step in range(STEPS):
        drawn = torch.tensor(page.evaluate(SEEN), dtype=torch.float64)
        wanted = torch.stack([255 * walk.images[step].flatten() for walk in walks().values()])
        assert (drawn - wanted).abs().max() <= 0.5 + 1e-9
        said = page.locator(".frames input").get_attribute("aria-valuetext")
        values = page.locator(".frames output").all_inner_texts()
        for value, walk in zip(values, walks().values(), strict=True):
            assert float(value.removesuffix(" nats").replace("−", "-")) == pytest.approx(
                float(walk.curve.log_p[0, step]), rel=6e-3, abs=6e-3
            )
            assert value in said
        assert said.startswith(f"step {step} of {STEPS - 1}: memorised ")
        page.keyboard.press("ArrowRight")


def test_the_numbers_that_a_page_holds_are_those_of_torch():
    held = json.loads(part().partition('json">')[2].partition("</script>")[0])
    for model, walk in zip(held["models"], walks().values(), strict=True):
        assert torch.allclose(torch.tensor(model["x"]), walk.curve.s[0], rtol=1e-3)
        assert torch.allclose(torch.tensor(model["y"]), walk.curve.log_p[0], rtol=1e-3, atol=1e-6)


def test_a_marker_stands_on_each_curve(page):
    page.locator(".frames input").focus()
    page.keyboard.press("End")
    ends = page.evaluate("""() => ["curve", "mark"].map((name) => [...document.querySelectorAll(`.frames .${name}`)].map(
      (path) => path.getPointAtLength(path.getTotalLength()).y))""")
    assert ends[0] == pytest.approx(ends[1])
    page.keyboard.press("Home")
    assert page.locator(".frames input").input_value() == "0"


def test_a_phone_holds_it_and_without_scripts_it_is_a_sentence(chromium, page, path):
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    plain = chromium.new_context(java_script_enabled=False).new_page()
    plain.goto(path.as_uri())
    assert plain.locator(".frames").inner_text() == frames.WITHOUT
    plain.context.close()
