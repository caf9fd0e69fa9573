import json
import subprocess
import sys
from pathlib import Path

import pytest

from lib import __main__ as command
from lib.study import runs, sweeps


@pytest.fixture
def call(monkeypatch, capsys):
    """Call the command line in this process: exit code and what it printed."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["lib", *arguments])
        code = 0
        try:
            command.cli()
        except SystemExit as exit_:
            code = exit_.code or 0
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


def test_list_shows_chapters_parameters_ranges_and_minutes(call):
    code, text = call("list")
    assert code == 0
    for expected in ("line_densities", "rank: int = 14", "[1 ≤ rank ≤ latent]", "quick about", "paper not measured"):
        assert expected in text


@pytest.mark.parametrize("name", ["list", "book", "run", "sweep", "data"])
def test_every_command_has_help_with_an_example(call, name):
    code, text = call(name, "--help")
    assert code == 0
    assert f"Example: python -m lib {name}" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nothing"], "unknown notebook 'nothing'; accepted: change_of_variables"),
        (["run", "decay", "-p", "rnak", "3"], "has no parameter 'rnak'; accepted: dataset"),
        (["run", "decay", "-p", "rank", "ten"], "rank must be of type int, got 'ten'"),
        (["run", "decay", "-p", "rank", "101"], "rank=101 is impossible; accepted: 1 ≤ rank ≤ latent, with latent=100"),
        (["run", "decay", "-p", "radii", "-1,1"], "radii=[-1.0, 1.0] is impossible; accepted: min(radii) > 0"),
        (["run", "decay", "-p", "rank", "5", "-p", "rank", "6"], "given twice: rank, rank"),
        (
            ["run", "decay", "-p", "device", "cuda:77"],
            "device 'cuda:77' is not available here, or has no float64; accepted: auto, cpu",
        ),
        (["sweep", "decay"], "a sweep needs at least one -p NAME A,B,C"),
        (["sweep", "decay", "-p", "rank", "5,x"], "rank must be of type int, got 'x'"),
        (["book", "--preset", "huge"], "unknown preset 'huge'; accepted: paper, quick, smoke"),
        (["book", "--jobs", "0"], "0 is not in the range"),
        (["data", "cifar"], "unknown dataset 'cifar'; accepted: 'mnist'"),
        (["bok"], "No such command 'bok'"),
    ],
)
def test_a_bad_call_is_refused_before_anything_runs(call, arguments, message, monkeypatch):
    monkeypatch.setattr(runs, "execute", lambda *_, **__: pytest.fail("something ran"))
    code, text = call(*arguments)
    assert code == 2
    assert message in text
    assert "Traceback" not in text


def test_data_says_what_is_there(call):
    code, text = call("data")
    assert code == 0
    assert "mnist: 60000 training and 10000 test images of [1, 28, 28] in 10 classes" in text


def test_a_failed_notebook_gives_its_traceback_and_exit_code_one(tmp_path):
    script = (
        "import sys\nfrom lib import __main__ as command\nfrom lib.study import runs\n"
        "def fail(job, **_): raise runs.Failed('ValueError: broken\\n01 failed; the notebook with its error: here.failed.ipynb')\n"
        "runs.execute = fail\nsys.argv = ['lib', 'book', '--preset', 'smoke']\ncommand.cli()\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 1
    assert "ValueError: broken" in run.stderr
    assert "here.failed.ipynb" in run.stderr
    assert "the book:" not in run.stdout


def test_a_sweep_makes_one_table_and_one_figure(tmp_path):
    number = {"value": 1.0, "low": 0.5, "high": 1.5, "n": 9, "missing": 0}
    made = []
    for rank in (5, 10):
        for seed in (0, 1):
            job = runs.Job(tmp_path / "03_x.ipynb", {"rank": rank, "seed": seed}, tmp_path, 1)
            made.append((job, {"values": {"dip": number | {"value": rank / 8}}}))
    table, figure = sweeps.summarise(made, ["rank", "seed"], tmp_path)
    lines = table.read_text().splitlines()
    assert lines[0] == "rank,seed,value,estimate,low,high,n,missing,notebook"
    assert len(lines) == 5
    assert lines[1].startswith("5,0,dip,0.625,0.5,1.5,9,0,")
    assert figure.read_bytes()[:4] == b"\x89PNG"


def test_run_and_sweep_end_to_end(tmp_path):
    arguments = ["-p", "samples", "1000", "-p", "bench_points", "2", "--preset", "smoke"]
    run = subprocess.run(
        [sys.executable, "-m", "lib", "run", "change_of_variables", *arguments], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    paths = {
        line.split(":")[0]: line.split(":", 1)[1].strip()
        for line in run.stdout.splitlines()
        if line.startswith(("notebook", "numbers", "page"))
    }
    assert json.loads(Path(paths["numbers"]).read_text())["parameters"]["samples"] == 1000
    assert "Change of variables" in Path(paths["page"]).read_text()
