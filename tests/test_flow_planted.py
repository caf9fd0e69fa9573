"""Flows in the protocol of planted copies and in the audit of a reader's own generator, as any other family."""

import functools
import json
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from lib.__main__ import main
from lib.measures.flows import sampler
from lib.models.closure import ROOT
from lib.models.data import Dataset
from lib.models.fit import fit
from lib.models.flows import Flow
from lib.protocols import audit, audit_search, dose_response, flow_planted
from lib.protocols.planting import Plan

pytestmark = pytest.mark.usefixtures("single_precision")


def digits(count, seed):
    """Random images of 5 x 5 pixels, nearly black or white."""
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, 5, 5, generator=rng).round() * 0.8 + 0.1


def test_planted_copies_are_found_in_a_flow_and_not_in_its_sham(tmp_path, monkeypatch):
    monkeypatch.setattr(dose_response, "fit_all", functools.partial(fit, folder=tmp_path))
    x = digits(120, 0)
    plan = Plan(Dataset("small", x, torch.arange(120), x[:9], torch.arange(9), "digest"), [1, 8], 8, 20, 0)
    how = flow_planted.How(steps=12, generated=200, time=0.8, seed=0)
    with ThreadPoolExecutor(1) as executor:
        fits = dose_response.fit(plan, Flow(0, 1500, 32, width=32), 2, "cpu", executor)
        ask = functools.partial(flow_planted.of_flow, how=how)
        pairs = dose_response.measure(plan, fits, ask, ["log p(x)"], executor)
    for measure in ("log p(x)", "low dimension", "log p(x), less the sham's"):
        assert dose_response.curve(pairs, measure)[8].value > 0.9
        assert 0.2 < dose_response.curve(pairs, measure, sham=True)[8].value < 0.8
    values = pairs[0].model.values
    torch.testing.assert_close(values["log p(x)"], values["short code"] + values["small volume"])


def test_the_audit_takes_a_flow_as_the_book_says(tmp_path, monkeypatch, fewer_repetitions):
    text = (ROOT / "book" / "using.md").read_text()
    program = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "VelocityNetwork" in block)
    x = digits(48, 1)
    fitted = fit([Flow(0, 2000, 32, width=32)], Dataset("s", x[:24], torch.arange(24), x[24:], torch.arange(24), "d"),
                 "cpu", folder=tmp_path / "fits")[0]  # fmt: skip
    save_file(dict(fitted.model.state_dict()), tmp_path / "flow.safetensors")
    program = program.replace("SIDE, WIDTH = 14, 256", "SIDE, WIDTH = 5, 32").replace(", 16)", ", 3)")  # steps
    monkeypatch.setattr(audit, "FEWEST", 4)
    monkeypatch.setattr(audit, "SEARCHED", 4)
    monkeypatch.setattr(audit_search, "STEPS", (20,))
    (tmp_path / "my_flow.py").write_text(program)
    for name, part in (("X", x[:24]), ("Y", x[24:])):
        np.save(tmp_path / f"{name}.npy", part.numpy()[:, 0])
    monkeypatch.chdir(tmp_path)
    command = re.search(r"python -m lib (audit .*my_flow.py:decoder.*)", text)[1].replace("196", "25").split()
    result = CliRunner().invoke(main, [*command, "--out", str(tmp_path / "page")])
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "page" / "report.json").read_text())
    skipped = {section["access"]: section["skipped"] for section in report["sections"]}
    assert not skipped["decoder"]
    assert not skipped["log p"]
    found = next(section for section in report["sections"] if section["access"] == "log p")
    assert found["joint"] < 0.05
    z = torch.randn(2, 25)
    scope: dict = {}
    exec(compile(program, "my_flow.py", "exec"), scope)
    torch.testing.assert_close(scope["decoder"](z)[:, 0].flatten(1), sampler(fitted.model, 3)(z))
