"""A model from elsewhere: the same numbers from every kind of file, and what each of many bad calls says."""

import importlib.util
import math
import pickle
import re
import sys
import warnings

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal
from torch.func import grad, vmap

from lib.measures.jacobian import jacobian
from lib.measures.likelihood import log_evidence
from lib.measures.recovery import recover
from lib.models import foreign
from lib.models.foreign import ForeignError
from lib.models.foreign_checks import check, check_function
from tests.forged import Touch, rewritten

LATENT = 4


class Net(nn.Module):
    """Four latents to eight by eight pixels."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(LATENT, 32)
        self.up = nn.ConvTranspose2d(2, 1, 4, 2, 1)

    def forward(self, z):
        return torch.sigmoid(3 * self.up(torch.relu(self.linear(z)).view(-1, 2, 4, 4)))


CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 32)
        self.up = nn.ConvTranspose2d(2, 1, 4, 2, 1)

    def forward(self, z):
        return torch.sigmoid(3 * self.up(torch.relu(self.linear(z)).view(-1, 2, 4, 4)))

model = Net()
model.load_state_dict(torch.load({weights!r}, weights_only=True))
model = model.float().eval()
"""

HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnx2torch", "onnxscript"))


def exported(model, path, fixed=False):
    dynamic = None if fixed else ({0: torch.export.Dim("n", min=1)},)
    torch.export.save(torch.export.export(model, (torch.randn(3, LATENT),), dynamic_shapes=dynamic), path)


def scripted(model, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(model, torch.randn(3, LATENT)).save(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One network in every kind of file."""
    folder = tmp_path_factory.mktemp("models")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    model = Net().eval()
    torch.save(model.state_dict(), folder / "net.pth")
    torch.save(model, folder / "whole.pt")
    exported(model, folder / "net.pt2")
    exported(model, folder / "fixed.pt2", fixed=True)
    scripted(model, folder / "net.pt")
    (folder / "net.py").write_text(CODE.format(weights=str(folder / "net.pth")))
    if HAS_ONNX:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            axes = {"z": {0: "n"}, "x": {0: "n"}}
            given, names = (torch.randn(3, LATENT),), {"input_names": ["z"], "output_names": ["x"]}
            torch.onnx.export(model, given, folder / "traced.onnx", dynamo=False, dynamic_axes=axes, **names)
            dynamic = ({0: torch.export.Dim("n", min=1)},)
            torch.onnx.export(
                model, given, folder / "exported.onnx", dynamo=True, dynamic_shapes=dynamic, verbose=False
            )
    torch.set_default_dtype(before)
    return folder, model


@pytest.fixture
def code(tmp_path):
    """Writes a file of code, and returns its address with a name in it."""

    def write(text, name="decoder"):
        (tmp_path / "mine.py").write_text("import torch\nfrom torch import nn\n" + text)
        return f"{tmp_path / 'mine.py'}:{name}"

    return write


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


IMAGES = torch.zeros(3, 1, 8, 8)
NEEDS_ONNX = pytest.mark.skipif(not HAS_ONNX, reason="onnx2torch, onnx and onnxscript are not installed")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("net.py:model", "python"),
        ("net.pt2", "torch.export"),
        ("net.pt", "TorchScript"),
        pytest.param("traced.onnx", "ONNX", marks=NEEDS_ONNX),
        pytest.param("exported.onnx", "ONNX", marks=NEEDS_ONNX),
    ],
)
def test_every_kind_of_file_gives_the_same_images_jacobians_and_recoveries(files, name, kind):
    folder, model = files
    found = foreign.decoder(f"{folder}/{name}", LATENT)
    assert found.kind == kind
    checked = check(found, LATENT, IMAGES, rng=rng())
    assert checked == (True, True, ())
    z = torch.randn((20, LATENT), generator=rng(1), dtype=torch.float32)
    torch.testing.assert_close(found.call(z), model(z).detach(), atol=1e-4, rtol=0)
    torch.testing.assert_close(jacobian(found.call, z), jacobian(model, z), atol=1e-4, rtol=0)
    y = model(torch.randn((10, LATENT), generator=rng(2), dtype=torch.float32)).detach()
    mine, theirs = (recover(call, y, latent=LATENT, restarts=2, rng=rng(3)) for call in (found.call, model))
    torch.testing.assert_close(mine.error, theirs.error, atol=1e-6, rtol=0)
    torch.testing.assert_close(mine.z, theirs.z.detach(), atol=1e-3, rtol=0)


def test_precision_is_that_of_the_latents_and_no_graph_is_kept(files):
    folder, _ = files
    for name in ("net.py:model", "net.pt2", "net.pt"):
        call = foreign.decoder(f"{folder}/{name}", LATENT).call
        for dtype in (torch.float32, torch.float64):
            assert call(torch.randn(2, LATENT, dtype=dtype)).dtype == dtype
        assert call(torch.randn(2, LATENT)).numpy().shape == (2, 1, 8, 8)  # "Can't call numpy()" otherwise
        z = torch.randn(2, LATENT, requires_grad=True)
        assert call(z).requires_grad
        by_function = vmap(grad(lambda point, call=call: call(point[None]).sum()))(z.detach())
        torch.testing.assert_close(by_function, torch.autograd.grad(call(z).sum(), z)[0], atol=1e-5, rtol=1e-4)


def test_a_module_on_the_path_is_found_by_its_name(files, monkeypatch):
    monkeypatch.syspath_prepend(files[0])
    found = foreign.decoder("net:model", LATENT)
    assert found.notes == ("runs the code of the module net",)
    sys.modules.pop("net")


def test_code_is_run_and_that_is_said(code):
    assert foreign.decoder(code("decoder = lambda z: z.view(-1, 1, 2, 2)"), 4).notes[0].startswith("runs the code of ")


def test_a_file_runs_once_for_all_of_its_functions_until_it_changes(code, tmp_path):
    count = f"with open({str(tmp_path / 'runs')!r}, 'a') as runs:\n    runs.write('x')\n"
    text = count + "decoder = encode = lambda z: z\n"
    address = code(text)
    for name in ("decoder", "encode"):
        foreign.function(address.replace(":decoder", f":{name}"))
    assert (tmp_path / "runs").read_text() == "x"
    foreign.function(code(text + "# changed\n"))
    assert (tmp_path / "runs").read_text() == "xx"


def test_a_file_finds_its_neighbours(code, tmp_path):
    (tmp_path / "near_by.py").write_text("side = 2")
    text = "import near_by\ndef decoder(z):\n    import near_by as later\n    return z.view(-1, 1, later.side, 2)"
    assert foreign.decoder(code(text), 4).call(torch.zeros(5, 4)).shape == (5, 1, 2, 2)


@pytest.mark.parametrize(
    ("body", "latent", "shape", "made", "note"),
    [
        ("z.repeat(1, 16)", 4, None, (1, 8, 8), "flat outputs of 64 numbers are read as 1 x 8 x 8"),
        ("z.repeat(1, 12)", 4, None, (3, 4, 4), "flat outputs of 48 numbers are read as 3 x 4 x 4"),
        ("z.repeat(1, 12)", 4, (1, 6, 8), (1, 6, 8), "flat outputs of 48 numbers are read as 1 x 6 x 8"),
        ("z.view(-1, 2, 2)", 4, None, (1, 2, 2), r"gives images of \[2, 2\]: a channel is added"),
        ("z.view(-1, 2, 2, 1)", 4, None, (1, 2, 2), "channels are moved to the front"),
        ("z.view(-1, 2, 2, 1)", 4, (1, 2, 2), (1, 2, 2), "channels are moved to the front"),
        ("(z.view(-1, 1, 2, 2), z)", 4, None, (1, 2, 2), "gives a tuple, of which the first tensor is taken"),
        ("{'mean': z.view(-1, 1, 2, 2)}", 4, None, (1, 2, 2), "gives a dict, of which the first tensor is taken"),
        (
            "torch.distributions.Normal(z.view(-1, 1, 2, 2), 1.0)",
            4,
            None,
            (1, 2, 2),
            "gives a Normal, of which the mean",
        ),
        (
            "z.view(-1, 1, 2, 2).round().int()",
            4,
            None,
            (1, 2, 2),
            r"gives whole numbers \(int32\), which have no gradients",
        ),
        ("z[:, :, 0, 0].view(-1, 1, 2, 2)", (4, 1, 1), None, (1, 2, 2), "runs the code"),
    ],
)
def test_outputs_of_other_forms_are_put_right_and_it_is_said(code, body, latent, shape, made, note):
    found = foreign.decoder(code(f"decoder = lambda z: {body}"), latent, shape=shape)
    assert found.call(torch.zeros(7, 4)).shape == (7, *made)
    assert [told for told in found.notes if re.search(note, told)]


def test_channels_that_come_last_keep_their_pixels(code):
    call = foreign.decoder(code("decoder = lambda z: z.view(-1, 2, 2, 3)"), 12).call
    z = torch.randn(2, 12)
    assert call(z)[1, 2, 0, 1] == z.view(2, 2, 2, 3)[1, 0, 1, 2]


NETWORK = "model = nn.Sequential(nn.Linear(4, 64), {layer}, nn.Unflatten(1, (1, 8, 8)))\n"
LIMITS = {
    "rounded": ("decoder = lambda z: (z.repeat(1, 16).sigmoid().view(-1, 1, 8, 8) * 255).round() / 255", False, False,
                "no gradients: they are zero, though the outputs change: something is rounded or compared inside; recovery"),
    "straight through": ("def decoder(z):\n    x = z.repeat(1, 16).sigmoid().view(-1, 1, 8, 8)\n"
                         "    return x + ((8 * x).round() / 8 - x).detach()", False, False, "do not agree with differences"),
    "no_grad": ("@torch.no_grad()\ndef decoder(z):\n    return z.repeat(1, 16).view(-1, 1, 8, 8)", False, True,
                r"none reaches the latents \(torch.no_grad"),
    "numpy": ("import numpy as np\nlinear = nn.Linear(4, 64)\ndef decoder(z):\n"
              "    return torch.as_tensor(np.tanh(z.numpy())).repeat(1, 16).view(-1, 1, 8, 8)", False, False,
              r"no gradients: it leaves torch inside \(.numpy\(\)"),
    "value": ("def decoder(z):\n    return (z * (1.0 if z.sum().item() > -1e9 else 2.0)).repeat(1, 16).view(-1, 1, 8, 8)",
              True, False, r"no tangents: it leaves torch inside .*, an if on a value"),
    "fine": ("decoder = lambda z: z.repeat(1, 16).view(-1, 1, 8, 8)", True, True, None),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_what_a_model_cannot_do_limits_what_is_run(code, name):
    text, differentiable, forward, note = LIMITS[name]
    checked = check(foreign.decoder(code(text), LATENT), LATENT, IMAGES, rng=rng())
    assert (checked.differentiable, checked.forward) == (differentiable, forward)
    assert bool(checked.notes) == (note is not None)
    assert note is None or re.search(note, " | ".join(checked.notes))


def test_rounded_outputs_are_named(code):
    text = "decoder = lambda z: (z.repeat(1, 16).sigmoid().view(-1, 1, 8, 8) * 255).round() / 255"
    notes = check(foreign.decoder(code(text), LATENT), LATENT, IMAGES, rng=rng()).notes
    assert "outputs are rounded to 256 levels of 0..1: return them before they are rounded, if that can be had" in notes


def test_a_network_in_training_mode_is_found_through_a_function(code):
    text = (
        NETWORK.format(layer="nn.BatchNorm1d(64)")
        + "def inner(z):\n    return model(z)\ndef decoder(z):\n    return inner(z)"
    )
    with pytest.raises(ForeignError, match=r"the layer 1 \(BatchNorm1d\) is in training mode, .* call .eval\(\)"):
        check(foreign.decoder(code(text), LATENT), LATENT, IMAGES, rng=rng())
    checked = check(foreign.decoder(code(text + "\nmodel.eval()"), LATENT), LATENT, IMAGES, rng=rng())
    assert checked.differentiable


def test_a_forged_script_executes_nothing(files, tmp_path):
    evil = pickle.dumps(Touch(tmp_path / "executed"), protocol=2)
    path = rewritten(files[0] / "net.pt", tmp_path / "x.pt", lambda name, c: evil if name.endswith("/data.pkl") else c)
    with pytest.raises(ForeignError, match="cannot be read by torch"):
        foreign.decoder(str(path), LATENT)
    assert not (tmp_path / "executed").exists()


PASSED = "decoder = lambda z: z.repeat(1, 16).view(-1, 1, 8, 8)"
BAD = {
    "no such file": (None, "nowhere.pt2", "nowhere.pt2 is not there, .*; accepted: FILE.py:NAME or package.module:NAME"),
    "no such code": (None, "nowhere.py:decoder", "nowhere.py is not there; accepted: FILE.py:NAME"),
    "no such module": (None, "no_such_package:f", "no_such_package cannot be imported .*No module named"),
    "nonsense": (None, "my decoder", "'my decoder' is no model; accepted: FILE.py:NAME"),
    "no name": (PASSED, None, r"mine.py is a file of code; give it as .*mine.py:NAME; it defines decoder"),
    "another name": (PASSED, "decode", "has no decode; what can be called there: decoder"),
    "a class": ("class decoder(nn.Module): pass", "decoder",
                r"decoder of .* is a class; give an object of it: add the line 'model = decoder\(...\)' .* 'model.eval\(\)'"),
    "a number": ("decoder = 3", "decoder", "decoder of .* is int, which cannot be called; give a function or module"),
    "code that fails": ("x = 1 / 0", "decoder", "ended with ZeroDivisionError: division by zero in line 3; it must run by"),
    "wrong number of latents": ("decoder = nn.Linear(5, 64)", "decoder",
                                r"does not take latents \[3, 4\] .*; its first linear layer takes 5: is the number of latents"),
    "latents as images": ("decoder = nn.ConvTranspose2d(4, 1, 8)", "decoder",
                          "its first layer is a convolution of 4 channels: try latents 4,1,1"),
    "latents as images, in training mode": (
        "decoder = nn.Sequential(nn.ConvTranspose2d(4, 1, 8), nn.BatchNorm2d(1))", "decoder", "try latents 4,1,1"),
    "methods alone": ("class VAE(nn.Module):\n    def decode(self, z): return z\ndecoder = VAE()", "decoder",
                      "give one of its methods, as NAME.METHOD: decode"),
    "nothing": (None, "", "'' is no model; accepted"),
    "a folder": (None, ".", "'.' is no model; accepted"),
    "nobody": (None, "~no_such_person/x.py:decoder", "~no_such_person/x.py: .*; accepted: FILE.py:NAME"),
    "two arguments": ("def decoder(z, noise): return z", "decoder", "must take one argument, the latents: wrap it"),
    "text": ("decoder = lambda z: 'image'", "decoder", "the model gives str; expected a tensor: torch.as_tensor"),
    "one image for all": ("decoder = lambda z: torch.zeros(1, 8, 8)", "decoder", "gives .* for 3 latents; expected an image"),
    "no square": ("decoder = lambda z: z.repeat(1, 5)", "decoder", r"gives \[20\] for a latent; expected \(channels, height"),
    "other size": ("decoder = lambda z: z.view(-1, 1, 2, 2)", "decoder",
                   r"makes images of \[1, 2, 2\], the images are \[1, 8, 8\] \(channels, height, width\); crop or resize"),
    "NaN": ("decoder = lambda z: (z.repeat(1, 16) - 9).log().view(-1, 1, 8, 8)", "decoder",
            r"8 of 8 outputs hold NaN or infinity; are the weights loaded, are the inputs \[.*\] in the range"),
    "dropout": (NETWORK.format(layer="nn.Dropout(0.5)") + "decoder = model", "decoder",
                r"the layer 1 \(Dropout\) is in training mode, where .* call .eval\(\) on the model before it is used"),
    "batch norm": (NETWORK.format(layer="nn.BatchNorm1d(64)") + "decoder = model", "decoder",
                   r"the layer 1 \(BatchNorm1d\) is in training mode, where .* others in its batch; call .eval\(\)"),
    "noise": ("decoder = lambda z: (z.repeat(1, 16) + torch.randn(len(z), 64)).view(-1, 1, 8, 8)", "decoder",
              "the same latent gives something else the second time .*; return the mean in place of a draw, call .eval"),
    "batch": ("decoder = lambda z: (z.repeat(1, 16) - z.mean()).view(-1, 1, 8, 8)", "decoder",
              "a latent gives something else alone than in a batch .*; batch normalisation in training mode does this"),
    "constant": ("decoder = lambda z: torch.ones(len(z), 1, 8, 8)", "decoder",
                 r"all of 8 latents of N\(0, I\) give the same image; are its weights loaded, does it use its input"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_call_says_what_to_do_in_one_line(code, name):
    text, what, said = BAD[name]
    address = what if text is None else code(text, what) if what else code(text).rpartition(":")[0]
    with pytest.raises(ForeignError, match=said) as refused:
        check(foreign.decoder(address, LATENT), LATENT, IMAGES, rng=rng())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["net.pth", "whole.pt"])
def test_a_pickle_is_refused_with_the_four_lines_that_open_its_weights(files, name):
    with pytest.raises(ForeignError, match="is a pickle, which can run any code, and is not opened; write these four"):
        foreign.decoder(str(files[0] / name), LATENT)


def test_the_four_lines_are_a_model(files, tmp_path, monkeypatch):
    """What the refusal says to write is run as it stands."""
    folder, model = files
    with pytest.raises(ForeignError) as refused:
        foreign.decoder(str(folder / "net.pth"), LATENT)
    lines = str(refused.value).partition("your own network: ")[2].partition("; and give")[0].split("; ")
    assert len(lines) == 4
    (tmp_path / "my_code.py").write_text(CODE.partition("model = ")[0])
    (tmp_path / "my_model.py").write_text("\n".join(lines))
    torch.set_default_dtype(torch.float32)
    found = foreign.decoder(f"{tmp_path / 'my_model.py'}:decoder", LATENT)
    z = torch.randn(5, LATENT)
    torch.testing.assert_close(found.call(z), model(z).detach())
    sys.modules.pop("my_code")


def test_a_pickle_is_not_opened(tmp_path):
    for name in ("x.pkl", "x.pt", "x.ckpt"):
        (tmp_path / name).write_bytes(pickle.dumps(Touch(tmp_path / "executed")))
        with pytest.raises(ForeignError, match="is not opened"):
            foreign.decoder(str(tmp_path / name), LATENT)
    assert not (tmp_path / "executed").exists()


def test_weights_alone_are_refused_with_lines_of_their_own(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"")
    with pytest.raises(
        ForeignError, match=r"weights without a network, and .* model.load_state_dict\(safetensors.torch.load_file"
    ):
        foreign.decoder(str(tmp_path / "x.safetensors"), LATENT)


def test_a_program_of_one_batch_size_says_how_to_export_it(files):
    found = str(files[0] / "fixed.pt2")
    with pytest.raises(ForeignError, match=r"any number of rows: if it was exported, .* dynamic_shapes"):
        check(foreign.decoder(found, LATENT), LATENT, IMAGES, rng=rng())


def test_a_damaged_program_is_refused(files, tmp_path):
    content = (files[0] / "net.pt2").read_bytes()
    (tmp_path / "x.pt2").write_bytes(content[: len(content) // 2])
    with pytest.raises(ForeignError, match=r"x\.pt2 is"):
        foreign.decoder(str(tmp_path / "x.pt2"), LATENT)


@pytest.mark.skipif(HAS_ONNX, reason="onnx2torch is installed")
def test_onnx_without_its_converter_says_what_to_install(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"")
    with pytest.raises(ForeignError, match="which is not installed: pip install onnx2torch"):
        foreign.decoder(str(tmp_path / "x.onnx"), LATENT)


@NEEDS_ONNX
def test_onnx_that_cannot_be_converted_is_for_samples_only(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    with pytest.raises(ForeignError, match=r"cannot be converted by onnx2torch .* give them as samples only"):
        foreign.decoder(str(tmp_path / "x.onnx"), LATENT)


@pytest.mark.parametrize("latent", [0, (), (4, 0)])
def test_there_must_be_latents(code, latent):
    with pytest.raises(ForeignError, match="latent must be at least 1, or a shape such as 100,1,1"):
        foreign.decoder(code(PASSED), latent)


def test_an_encoder_and_log_p_are_functions_too(code):
    x = torch.randn(20, 1, 2, 2)
    pair = foreign.function(code("encode = lambda x: (x.flatten(1), -x.flatten(1))", "encode"))
    assert pair.call(x).equal(x.flatten(1))
    assert check_function(pair, x, latent=4) == ()
    drawn = foreign.function(code("encode = lambda x: torch.distributions.Normal(x.flatten(1), 1.0)", "encode"))
    assert drawn.call(x).equal(x.flatten(1))
    log_p = foreign.function(
        code("log_p = lambda x: torch.distributions.Normal(0, 1).log_prob(x).sum((1, 2, 3))", "log_p")
    )
    torch.testing.assert_close(log_p.call(x), Normal(0, 1).log_prob(x).sum((1, 2, 3)))
    assert check_function(log_p, x) == ()
    assert check_function(foreign.function(code("log_p = lambda x: 0 * x[:, 0, 0, 0]", "log_p")), x) == (
        "the function gives the same for all of 8 images",
    )


@pytest.mark.parametrize(
    ("body", "latent", "said"),
    [
        ("x.flatten(1)", 3, r"gives \[8, 4\] for 8 images; expected \[8, 3\], codes"),
        ("x.flatten(1)", None, r"gives \[8, 4\] for 8 images; expected \[8\], log p, one number an image"),
        ("x.sum()", None, r"gives \[\] for 8 images"),
        ("x.flatten(1) + torch.randn(len(x), 4)", 4, "the same image gives something else the second time"),
        ("x.flatten(1) - x.mean()", 4, "an? image gives something else alone than in a batch"),
        ("x.flatten(1) / 0", 4, "8 of 8 outputs hold NaN or infinity"),
    ],
)
def test_a_function_that_is_no_encoder_is_refused(code, body, latent, said):
    x = torch.randn((20, 1, 2, 2), generator=rng())
    with pytest.raises(ForeignError, match=said):
        check_function(foreign.function(code(f"f = lambda x: {body}", "f")), x, latent=latent)


VAE = """
class VAE(nn.Module):
    def encode(self, x):
        return x.flatten(1) / 2, torch.full((len(x), 4), 0.5).log()

    def decode(self, z):
        return z.view(-1, 1, 2, 2)

    def spread(self, x):
        return torch.distributions.Normal(x.flatten(1) / 2, 0.5**0.5)

    def deviation(self, x):
        return x.flatten(1) / 2, torch.full((len(x), 4), 0.5**0.5)

    def codes(self, x):
        return x.flatten(1) / 2

vae = VAE()
"""


@pytest.mark.parametrize("method", ["encode", "spread"])
def test_the_evidence_through_an_encoder_of_somebody_else_is_exact_where_it_is_known(code, method):
    """For x = z + noise the posterior is N(x / 2, 1 / 2), and with it the estimate is exact."""
    x = torch.randn(12, 1, 2, 2)
    address = code(VAE, f"vae.{method}")
    encoder = foreign.posterior(address, x, 4)
    call = foreign.decoder(address.replace(method, "decode"), 4).call
    found = log_evidence(encoder.call, lambda z: Independent(Normal(call(z), 1.0), 3), x, 3)
    torch.testing.assert_close(found.log_p, Normal(0.0, 2**0.5).log_prob(x).sum((1, 2, 3)), atol=1e-5, rtol=0)
    assert bool(encoder.notes[1:]) == (method == "encode")


@pytest.mark.parametrize(
    ("method", "latent", "said"),
    [
        ("codes", 4, r"gives Tensor; for the evidence it must give a mean and a logarithm of variances, both \[8, 4\]"),
        ("encode", 3, r"gives tuple; .* both \[8, 3\], or torch.distributions.Normal\(mean, std\)"),
        ("deviation", 4, r"is positive everywhere: standard deviations\? return torch.distributions.Normal"),
        ("spread", 3, r"gives a distribution over \[8, 4\]; expected \[8, 3\]"),
        ("decode", 4, r"gives Tensor"),
    ],
)
def test_an_encoder_that_is_no_distribution_says_what_to_return(code, method, latent, said):
    with pytest.raises(ForeignError, match=said):
        foreign.posterior(code(VAE, f"vae.{method}"), torch.randn(12, 1, 2, 2), latent)


def test_the_jacobian_of_a_known_decoder_is_the_known_one(code):
    """A quarter turn of two latents, as an address: its Jacobian is the rotation."""
    text = "decoder = lambda z: torch.stack([-z[:, 1], z[:, 0]], 1).view(-1, 1, 1, 2)"
    found = jacobian(foreign.decoder(code(text), 2).call, torch.randn(5, 2))
    turn = torch.tensor([[0.0, -1.0], [math.sin(math.pi / 2), 0.0]])
    torch.testing.assert_close(found, turn.expand(5, 2, 2))
