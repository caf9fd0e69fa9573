import re
import subprocess

from lib.study import provenance


def test_a_commit_is_named_by_so_many_digits_and_marked_where_files_differ(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    (tmp_path / "file").write_text("1")
    for command in ("init -q", "add file", "-c user.name=a -c user.email=a@b commit -q -m first"):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    whole = provenance.commit(digits=40)
    assert (len(whole), provenance.commit()) == (40, whole[:12])
    (tmp_path / "file").write_text("2")
    assert provenance.commit(digits=40) == f"{whole}+"


def test_a_machine_has_a_name_a_day_and_versions():
    here = provenance.here()
    assert here["processor"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", here["date"])
    assert {"python", "torch", "jupyter-book"} <= set(provenance.versions())
