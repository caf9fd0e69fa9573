"""A path to be walked by hand: the page's images and numbers are those of torch, and the keyboard is enough."""

import json
import re

import pytest
import torch
from chromium import static_page, watch
from conftest import torus

from lib.measures.flows import mixture_velocity
from lib.protocols import dips, flow_ways
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


SIZES, NOISES = ("8", "2,000"), ("first", "second", "third")


def ways():
    """Three noises through two flows of each of two sizes, whose images have 2 x 3 pixels, within and beyond 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(len(NOISES), 6, generator=generator, dtype=torch.float64)
    found = {}
    for name in ("half A", "half B"):
        sets = [torch.randn(size, 6, generator=generator, dtype=torch.float64) / 2 for size in (4, 5)]
        each = [flow_ways.way(mixture_velocity([1] * len(x), x, [0.1] * len(x)), z, x, STEPS - 1) for x in sets]
        found[name] = flow_ways.Way(each[0].times, *(torch.cat(parts) for parts in list(zip(*each, strict=True))[1:]))
    return found


def scenes():
    found = ways()
    images = {name: way.points.view(-1, STEPS, 1, 2, 3) / 2 + 0.5 for name, way in found.items()}
    curves = {name: (way.times.expand_as(way.distance), way.distance) for name, way in found.items()}
    choices = {"Size": SIZES, "Noise": NOISES}
    return frames.fragment(images, curves, "output units", slider="Time", end="units of time", choices=choices).data


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    torch.manual_seed(0)
    return static_page(tmp_path_factory.mktemp("page"), part(), "frames.css")


@pytest.fixture
def page(chromium, path):
    yield from visited(chromium, path)


@pytest.fixture
def flow_page(chromium, tmp_path):
    yield from visited(chromium, static_page(tmp_path, scenes(), "frames.css"))


def visited(chromium, path):
    """A page on a phone; nothing may be fetched and nothing may go wrong."""
    opened, trouble = chromium.new_page(viewport={"width": 390, "height": 844}), []
    watch(opened, trouble, "file://")
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


def test_every_scene_and_time_shows_the_ways_of_torch(flow_page):
    """Chosen and moved by the keyboard alone, from control to control by Tab; pixels within 2/255, numbers to three digits."""
    found = ways()
    for scene in range(len(SIZES) * len(NOISES)):
        flow_page.locator("select").first.focus()
        flow_page.keyboard.type(SIZES[scene // len(NOISES)])
        flow_page.keyboard.press("Tab")
        flow_page.keyboard.type(NOISES[scene % len(NOISES)])
        flow_page.keyboard.press("Tab")
        for step, key in ((0, "Home"), (1, "ArrowRight"), (STEPS - 1, "End")):
            flow_page.keyboard.press(key)
            drawn = torch.tensor(flow_page.evaluate(SEEN), dtype=torch.float64)
            wanted = torch.stack([(way.points[scene, step] / 2 + 0.5).clamp(0, 1) for way in found.values()])
            assert (drawn / 255 - wanted).abs().max() <= 2 / 255
            said = flow_page.locator("input").get_attribute("aria-valuetext")
            numbers = [float(value) for value in re.findall(r"half . ([\d.]+) output units", said)]
            distances = [float(way.distance[scene, step]) for way in found.values()]
            assert numbers == pytest.approx(distances, rel=6e-3, abs=6e-3)
    assert flow_page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_curve_is_that_of_the_chosen_scene(flow_page):
    curve = flow_page.locator(".curve").first
    before = curve.get_attribute("d")
    flow_page.get_by_label("Noise").select_option("second")
    assert curve.get_attribute("d") != before
    assert curve.get_attribute("d").count("L") == STEPS - 1
    assert flow_page.locator(".frames.others").count() == 1


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


def test_a_phone_holds_it_paper_has_the_figure_instead_and_without_scripts_it_is_a_sentence(chromium, page, path):
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.emulate_media(media="print")
    assert not page.locator(".frames").is_visible()
    plain = chromium.new_context(java_script_enabled=False).new_page()
    plain.goto(path.as_uri())
    assert plain.locator(".frames").inner_text() == frames.WITHOUT
    plain.context.close()
