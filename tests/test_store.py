import functools
import hashlib
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from lib.models import store

SPEC = {"model": "line", "seed": 1}


def line(spec, checkpoint):
    return {"w": torch.arange(3.0) * spec["seed"]}


def fetch(specs, build, **options):
    """Fetch what ``build`` makes of these descriptions."""
    return store.fetch([store.Work(spec, functools.partial(build, spec)) for spec in specs], **options)


def count_builds(calls):
    def build(spec, checkpoint):
        calls.append(dict(spec))
        return line(spec, checkpoint)

    return build


def test_a_fit_is_built_once(tmp_path):
    calls = []
    for _ in range(2):
        (fit,) = fetch([SPEC], count_builds(calls), folder=tmp_path)
        torch.testing.assert_close(fit["w"], torch.arange(3.0))
    assert calls == [SPEC]


def test_another_specification_is_another_fit(tmp_path):
    first, second = fetch([SPEC, SPEC | {"seed": 2}], count_builds([]), folder=tmp_path)
    torch.testing.assert_close(second["w"], 2 * first["w"])


def test_the_key_is_that_of_the_description_in_any_order():
    assert store.key({"a": 1, "b": [2]}) == store.key({"b": [2], "a": 1})
    assert len({store.key({"a": value}) for value in (1, 1.0, "1", [1], None)}) == 5


@pytest.mark.parametrize("damage", [lambda c: c[:-3], lambda c: c[:-1] + b"x", lambda c: b""])
def test_a_damaged_fit_is_reported_and_built_again(tmp_path, damage):
    calls = []
    fetch([SPEC], count_builds(calls), folder=tmp_path)
    path = tmp_path / f"{store.key(SPEC)}.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(
        UserWarning, match=rf"{path.name} is damaged \(expected SHA-256 \w+, found \w+\): it is computed again"
    ):
        (fit,) = fetch([SPEC], count_builds(calls), folder=tmp_path)
    torch.testing.assert_close(fit["w"], torch.arange(3.0))
    assert len(calls) == 2


def test_a_fit_under_the_name_of_another_is_refused(tmp_path):
    calls = []
    fetch([SPEC, SPEC | {"seed": 2}], count_builds(calls), folder=tmp_path)
    first, second = (tmp_path / f"{store.key(spec)}.safetensors" for spec in (SPEC, SPEC | {"seed": 2}))
    first.write_bytes(second.read_bytes())
    digest = second.with_name(f"{second.name}.sha256").read_text()
    first.with_name(f"{first.name}.sha256").write_text(digest.replace(second.name, first.name))
    with pytest.warns(UserWarning, match=rf"{first.name} is damaged \(it holds something else than its name says\)"):
        (fit,) = fetch([SPEC], count_builds(calls), folder=tmp_path)
    torch.testing.assert_close(fit["w"], torch.arange(3.0))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"\xff\xfe\x00"),
        lambda path: path.write_text(""),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), os.mkfifo(path)),
    ],
    ids=["bytes", "empty", "directory", "pipe"],
)
@pytest.mark.parametrize("suffix", ["", ".sha256"])
def test_what_is_no_fit_is_reported_once_and_built_again(tmp_path, damage, suffix):
    calls = []
    fetch([SPEC], count_builds(calls), folder=tmp_path)
    damage(tmp_path / f"{store.key(SPEC)}.safetensors{suffix}")
    with pytest.warns(UserWarning, match="is damaged"):
        fetch([SPEC], count_builds(calls), folder=tmp_path)
    fetch([SPEC], count_builds(calls), folder=tmp_path)  # warnings are errors here
    assert len(calls) == 2


def test_a_full_disk_leaves_no_temporary_file_and_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "x"
    store.write_atomically(path, b"old")
    (tmp_path / f".x.{2**22 + 7}").touch()  # of a process that was killed

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.write_atomically(path, b"new")
    assert [file.name for file in tmp_path.iterdir()] == ["x"]
    assert path.read_bytes() == b"old"


def test_an_unfinished_fit_does_not_count(tmp_path):
    calls = []
    fetch([SPEC], count_builds(calls), folder=tmp_path)
    (tmp_path / f"{store.key(SPEC)}.safetensors.sha256").unlink()  # as if killed between the two files
    fetch([SPEC], count_builds(calls), folder=tmp_path)
    assert len(calls) == 2


def test_the_digest_is_in_the_format_of_sha256sum(tmp_path):
    store.write(tmp_path / "x.safetensors", {"w": torch.ones(2)})
    digest, name = (tmp_path / "x.safetensors.sha256").read_text().split()
    assert digest == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


def test_two_at_the_same_time_share_the_work(tmp_path):
    calls = []

    def slow(spec, checkpoint):
        calls.append(spec["seed"])
        time.sleep(0.3)
        return {"w": torch.ones(1) * spec["seed"]}

    specs = [SPEC | {"seed": seed} for seed in (1, 2)]
    threads = [threading.Thread(target=fetch, args=(specs, slow), kwargs={"folder": tmp_path}) for _ in range(2)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(calls) == [1, 2]
    assert time.monotonic() - started < 0.58  # one after the other would take 0.6


def test_a_kill_while_writing_leaves_nothing_that_is_trusted(tmp_path):
    script = (
        "import sys, torch\nfrom pathlib import Path\nfrom lib.models import store\n"
        "store.os.fsync = lambda file: (print('writing', flush=True), __import__('time').sleep(60))\n"
        "store.fetch([store.Work({'model': 'line', 'seed': 1}, lambda c: {'w': torch.ones(9)})], folder=Path(sys.argv[1]))\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "writing\n"
        process.kill()
    assert not list(tmp_path.glob("*.safetensors"))
    calls = []
    fetch([SPEC], count_builds(calls), folder=tmp_path)  # the lock went with the process
    assert len(calls) == 1


def test_an_executor_builds_what_is_missing_and_keeps_it_if_another_build_fails(tmp_path):
    places = []

    def build(spec, checkpoint):
        places.append(threading.current_thread().name[:4])
        if spec["seed"] == 2:
            raise ArithmeticError
        return {"w": torch.ones(1) * spec["seed"]}

    specs = [SPEC | {"seed": seed} for seed in (1, 2, 3)]
    with ThreadPoolExecutor(1, thread_name_prefix="mine") as pool, pytest.raises(ArithmeticError):
        fetch(specs, build, folder=tmp_path, executor=pool)
    assert places == ["mine"] * 3
    with ThreadPoolExecutor(1) as pool:
        first, third = fetch([specs[0], specs[2]], build, folder=tmp_path, executor=pool)
    assert (first["w"].item(), third["w"].item()) == (1, 3)
    assert len(places) == 3
