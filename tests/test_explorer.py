"""The latent explorer: what a page computes with, and what it computes, beside torch."""

import pytest
import torch
from chromium import static_page, watch

from lib.measures import geodesic
from lib.measures.curves import curve_length, straight
from lib.models import rounded
from lib.models.stochastic import Stochastic
from lib.protocols import embeddings
from lib.study import explorer

METRICS = ("euclidean", "mean", "expected")
CODES = torch.linspace(-2, 2, 49, dtype=torch.float64)
EXTENT = [-2.5, 2.5, -2.25, 2.25]
START = [[-1.0, 0.5], [1.5, -0.5]]


def lively(shape=(1, 28, 28)):
    """A model that nobody has trained, with weights so large that its metric bends paths."""
    model = Stochastic("rbf", seed=1, centres=16, width=32).build(shape, 0).double()
    z = torch.stack([CODES, (2 * CODES).sin()], 1)
    with torch.no_grad():
        for layer in (model.mean[0][0], model.mean[0][2], model.mean[0][4]):
            layer.weight.mul_(2.5)
    squared = torch.rand(len(z), model.variance.log_weights.shape[1], dtype=torch.float64) * 0.1
    model.variance.place(z, squared, 2.0, 0)
    return model.eval().requires_grad_(False), z


def test_packed_numbers_are_right_to_half_a_level():
    numbers = torch.randn(7, 5)
    scale = float(numbers.abs().max()) / rounded.LEVELS
    assert (rounded.unpack(rounded.pack(numbers)) - numbers.flatten()).abs().max() <= 0.501 * scale
    assert rounded.unpack(rounded.pack(torch.zeros(3))).tolist() == [0, 0, 0]


def test_the_rounded_model_is_another_that_measures_the_same():
    model, z = lively()
    other = rounded.rounded(model)
    before, after = (geodesic.log_measure(embeddings.expected(each), z) for each in (model, other))
    assert 0 < (after - before).abs().max() < 1e-3
    assert not torch.equal(other.variance.log_weights, model.variance.log_weights)


def test_another_variance_and_more_latents_are_refused():
    for spec in (Stochastic("network"), Stochastic("rbf", latent=3)):
        with pytest.raises(ValueError, match="two latents and an RBF precision"):
            rounded.described(spec.build((1, 8, 8), 0))


@pytest.fixture(scope="module")
def opened(chromium, tmp_path_factory):
    """A page from a file, with the model in it; nothing may be fetched and nothing may go wrong."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    model, z = lively()
    maps = {name: torch.zeros(6, 6) for name in METRICS[1:]}
    part = explorer.fragment(model, z, torch.tensor(START), maps, EXTENT).data
    path = static_page(tmp_path_factory.mktemp("page"), part, "explorer.css")
    page, trouble = chromium.new_page(viewport={"width": 800, "height": 900}, reduced_motion="reduce"), []
    watch(page, trouble, "file://")
    page.on("console", lambda message: trouble.append(message.text))  # a warning is trouble, too
    page.goto(path.as_uri())
    settled(page)
    yield page, model
    page.close()
    assert trouble == []


def settled(page):
    page.wait_for_selector(".explorer.live[aria-busy=false]", timeout=60_000)


def decoders(model):
    return {"euclidean": lambda z: z, "mean": model.generate, "expected": embeddings.expected(model)}


def move(page, name, *keys):
    page.get_by_role("slider", name=f"Handle {name}").focus()
    for key in keys:
        page.keyboard.press(key)
    settled(page)


WAYS = [
    ("expected", (), ()),
    ("expected", ("ArrowUp", "Shift+ArrowUp", "ArrowLeft"), ("ArrowDown",)),
    ("mean", ("Shift+ArrowRight", "ArrowRight"), ("Shift+ArrowUp", "Shift+ArrowUp", "Shift+ArrowUp")),
    ("euclidean", ("ArrowDown",), ("ArrowLeft", "ArrowLeft")),
    ("mean", ("Shift+ArrowLeft",) * 9, ("Home",)),
]


def test_the_numbers_of_the_page_are_those_of_torch(opened):
    """Positions through the keyboard. Lengths and measures to 1e-3; the path is the one that torch finds, or a shorter."""
    page, model = opened
    worst = {}
    for metric, *keys in WAYS:
        page.get_by_label(
            {"euclidean": "Euclidean", "mean": "of the mean", "expected": "expected"}[metric], exact=True
        ).check()
        for name, pressed in zip("AB", keys, strict=True):
            move(page, name, *pressed)
        found = page.evaluate("latentExplorer.read()")
        assert found["metric"] == metric
        ends, curve = torch.tensor(found["handles"]), torch.tensor(found["path"])[None]
        assert torch.allclose(curve[0, [0, -1]], ends)
        line = straight(*ends[:, None], curve.shape[1])
        for name, decoder in decoders(model).items():
            for way, points in (("straight", line), ("shortest", curve)):
                error = abs(found["lengths"][way][name] / float(curve_length(decoder, points)) - 1)
                worst["length"] = max(worst.get("length", 0), error)
        measure = geodesic.log_measure(decoders(model)[metric], ends).exp()
        error = float((torch.tensor(found["measure"]) / measure - 1).abs().max())
        worst["measure"] = max(worst.get("measure", 0), error)
        own = found["lengths"]["shortest"][metric]
        for start in (None, curve):
            torch_found = float(geodesic.shortest_path(decoders(model)[metric], *ends[:, None], start=start).length)
            name = f"path from {'the line' if start is None else 'itself'}"
            worst[name] = max(worst.get(name, -1), own / torch_found - 1)
            assert own < torch_found * (1 + 1e-3)
    print({name: f"{error:.1e}" for name, error in worst.items()})
    assert max(worst["length"], worst["measure"]) < 1e-3


PIXELS = """selector => {
  const canvas = document.querySelector(selector);
  const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return [canvas.height, canvas.width, [...all].filter((_, i) => i % 4 === 0)];
}"""


def test_the_images_of_the_page_are_those_of_torch(opened):
    page, model = opened
    page.evaluate("latentExplorer.choose('expected'); latentExplorer.set(0, [-1.7, 1.1]); latentExplorer.settle()")
    found = page.evaluate("latentExplorer.read()")
    ways = {
        "shortest": torch.tensor(found["path"]),
        "straight": straight(*torch.tensor(found["handles"])[:, None], 33)[0],
    }
    for way, curve in ways.items():
        height, width, values = page.evaluate(PIXELS, f".strips .{way} canvas")
        drawn = torch.tensor(values, dtype=torch.float64).view(height, width)
        wanted = 255 * torch.cat([*model.generate(curve[::4])[:, 0]], 1)
        assert wanted.std() > 20
        assert (drawn - wanted).abs().max() <= 2


def test_the_search_finds_its_way_around_a_hill(opened):
    """A bad start ends in a longer path; the page takes the shorter of its starts."""
    page, _ = opened
    ways = page.evaluate("""() => {
      const explorer = window.latentExplorer, { Path, coefficients } = window.latents;
      explorer.choose("mean");
      explorer.settle();
      const relaxed = (c) => { const path = new Path(explorer.decoder, "mean", explorer.ends, c); while (!path.converged) path.step(); return path.energy; };
      return [explorer.path.energy, relaxed(undefined), relaxed(coefficients(explorer.ends, explorer.grid.way("mean", explorer.ends)))];
    }""")
    assert ways[0] == pytest.approx(min(ways[1:]), rel=1e-4)


def test_the_grid_has_dijkstras_ways(opened):
    """Beside scipy's, over the same edges."""
    page, model = opened
    side = page.evaluate("window.latentExplorer.grid.side")
    x, y = (torch.linspace(*EXTENT[i : i + 2], side) for i in (0, 2))
    nodes = torch.stack([x.repeat(side), y.repeat_interleave(side)], 1)
    outputs = embeddings.expected(model)(nodes)
    grid = page.evaluate("[...latentExplorer.grid.lengths.expected].map((x) => Number.isFinite(x) ? x : -1)")
    lengths = torch.tensor(grid, dtype=torch.float64).view(side * side, 4)
    for k, offset in enumerate((1, side + 1, side, side - 1)):
        there = (lengths[:, k] >= 0).nonzero()[:, 0]
        assert len(there) == (side - 1) * (side if k % 2 == 0 else side - 1)
        chord = (outputs[there] - outputs[there - offset]).norm(dim=1)
        assert (lengths[there, k] / chord - 1).abs().max() < 1e-3


def test_handles_say_where_they_are_and_stay_on_the_map(opened):
    page, _ = opened
    page.evaluate("latentExplorer.choose('expected')")
    move(page, "B", "Home")
    handle = page.get_by_role("slider", name="Handle B")
    measure = page.evaluate("latentExplorer.read().measure[1]")
    assert handle.get_attribute("aria-valuetext") == (
        f"first latent 1.50, second latent −0.50, square root of det M {measure:#.3g}"
    )
    move(page, "B", *["Shift+ArrowRight"] * 4, "ArrowUp")
    assert page.evaluate("latentExplorer.read().handles[1]") == pytest.approx([2.5, -0.4])
    assert handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax") == "2.50"
    assert page.get_by_role("status").inner_text().startswith("By the expected metric, the shortest path is ")


def test_a_handle_follows_the_pointer(opened):
    page, _ = opened
    page.evaluate("scrollTo(0, 0)")
    move(page, "A", "Home")
    box = page.locator(".handle .knob").first.bounding_box()
    scale = page.locator(".explorer .map > svg").bounding_box()["width"] / (EXTENT[1] - EXTENT[0])
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + scale, y - scale / 2, steps=3)
    page.mouse.up()
    settled(page)
    assert page.evaluate("latentExplorer.read().handles[0]") == pytest.approx([0.0, 1.0], abs=0.02)


def test_an_unknown_metric_is_refused(opened):
    page, _ = opened
    assert "unknown metric x" in page.evaluate(
        "() => { try { latentExplorer.choose('x'); } catch (error) { return error.message; } }"
    )


def test_the_focus_is_seen(opened):
    page, _ = opened
    page.locator(".metrics input").first.focus()
    page.keyboard.press("Tab")
    while page.evaluate("document.activeElement.getAttribute('aria-label')") != "Handle B":
        page.keyboard.press("Tab")
    stroke = "selector => getComputedStyle(document.querySelector(selector)).strokeWidth"
    assert page.evaluate(stroke, ".handle:focus .reach") == "3px"
    assert page.evaluate(stroke, ".handle:not(:focus) .reach") == "1px"
