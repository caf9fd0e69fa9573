import json
import subprocess
import sys
from pathlib import Path

import pytest

from lib import __main__ as command
from lib.study import recorded, runs, sweeps


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


@pytest.mark.parametrize(
    "name", ["list", "book", "run", "sweep", "stability", "data", "edition", "site", "class", "pdf"]
)
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
        (["stability", "--seeds", "0"], "seeds=0 is impossible; accepted: at least two whole numbers such as 0,1,2"),
        (["stability", "--seeds", "0,0"], "seeds=0,0 is impossible"),
        (["stability", "--seeds", "0,x"], "seeds=0,x is impossible"),
        (["stability", "dekay"], "unknown notebook 'dekay'"),
        (["stability", "decay", "--seeds", f"0,{2**64}"], f"seed={2**64} is impossible"),
        (["sweep", "decay"], "a sweep needs at least one -p NAME A,B,C"),
        (["sweep", "decay", "-p", "rank", "5,x"], "rank must be of type int, got 'x'"),
        (["book", "--preset", "huge"], "unknown preset 'huge'; accepted: edition, paper, quick, smoke"),
        (["run", "decay", "-p", "seed", str(2**64)], f"seed={2**64} is impossible; accepted: 0 ≤ seed < 2**32"),
        (["run", "decay", "-p", "dataset", ""], "dataset '' is unknown or not there; accepted: 'mnist'"),
        (["run", "decay", "-p", "dataset", "folder:"], "dataset 'folder:' is unknown or not there"),
        (["run", "decay", "-p", "dataset", "folder:~nobody-here/x"], "is unknown or not there; accepted: 'mnist'"),
        (["run", "decay", "-p", "dataset", "folder:/" + "x" * 5000], "... (5,008 characters)' is unknown or not there"),
        (["run", "decay", "-p", "device", "cpu:7"], "device 'cpu:7' is not available here"),
        (["run", "decay", "-p", "device", "hpu"], "device 'hpu' is not available here"),
        (["run", "decay", "-p", "device", "privateuseone"], "device 'privateuseone' is not available here"),
        (["run", "decay", "-p", "width", "99999"], "width=99999 is impossible; accepted: 1 ≤ width ≤ 4096"),
        (["run", "decay", "-p", "radii", "[0.5,1.0"], "radii must be of type list[float], got '[0.5,1.0'"),
        (["run", "decay", "-p", "rank", "1_0"], "rank must be of type int, got '1_0'"),
        (["run", "decay", "-p", "rank", "１４"], "rank must be of type int, got '１４'"),
        (["run", "memorisation_score", "-p", "folds", "700"], "folds=700 is impossible"),
        (["run", "memorisation_score", "-p", "scheduler", "tls://a:1"], "accepted: tcp://HOST:PORT"),
        (["book", "--scheduler", "ucx://a:1"], "scheduler 'ucx://a:1' is no address; accepted: tcp://HOST:PORT"),
        (["run", "completion", "-p", "stride", "3"], "stride=3 is impossible"),
        (["run", "metric_and_maps", "-p", "pair", "0,1,2"], "pair=0,1,2 is impossible"),
        (["run", "clustering", "-p", "groups", "0,1 2"], "groups=0,1 2 is impossible"),
        (["run", "random_walks", "-p", "horizons", "15,100"], "horizons=[15, 100] is impossible"),
        (["data", "folder:~nobody-here/x"], "folder:~nobody-here/x: "),
        (["data", "folder:/\x1b[2Jx"], r"/\x1b[2Jx is not a folder"),
        (["run", "decay", "-p", "rank"], "Option '-p' requires 2 arguments"),
        (["run"], "Missing argument 'NOTEBOOK'. see: "),
        (["book", "--jbs", "2"], "accepted: --preset, --jobs, --scheduler, --device"),
        (["book", "--jobs", "0"], "0 is not in the range"),
        (["edition"], "Missing argument 'VERSION'. see: "),
        (["edition", ""], "version '' is impossible; accepted: YEAR.NUMBER such as 2026.1"),
        (["edition", "v1"], "version 'v1' is impossible; accepted: YEAR.NUMBER such as 2026.1"),
        (["data", "cifar"], "unknown dataset 'cifar'; accepted: 'mnist'"),
        (["bok"], "No such command 'bok'. Did you mean 'book'? accepted: list, book, run"),
    ],
)
def test_a_bad_call_is_refused_before_anything_runs(call, arguments, message, monkeypatch):
    monkeypatch.setattr(runs, "execute", lambda *_, **__: pytest.fail("something ran"))
    code, text = call(*arguments)
    assert code == 2
    assert message in text
    assert text.startswith("error: ")
    assert text.count("\n") == 1


def test_data_says_what_is_there(call):
    code, text = call("data")
    assert code == 0
    assert "mnist: 60000 training and 10000 test images of [1, 28, 28] in 10 classes" in text


@pytest.mark.parametrize("error", [OSError(28, "No space left on device", "here"), MemoryError("much")])
def test_a_full_disk_or_memory_is_one_line_and_exit_code_one(call, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(runs, "execute", fail)
    monkeypatch.setattr(command, "_stop", sys.exit)
    code, text = call("run", "decay")
    assert code == 1
    assert text.count("\n") == 1
    assert str(error) in text
    assert "what is finished is kept" in text


def test_a_failed_notebook_gives_its_error_and_exit_code_one(tmp_path):
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
    assert lines[1] == f"5,0,dip,0.625,0.5,1.5,9,0,{tmp_path / '03_x.ipynb'}"
    assert figure.read_bytes()[:4] == b"\x89PNG"


def test_run_end_to_end(tmp_path):
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


def test_a_check_that_finds_something_ends_with_one(call, monkeypatch):
    monkeypatch.setattr(recorded, "read", lambda *_: None)
    code, text = call("verify", "decay")
    assert code == 1
    assert "decay: numbers: not recorded, or damaged" in text
