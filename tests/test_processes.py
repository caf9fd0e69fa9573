import os
import subprocess
import sys

from lib.study import processes


def test_a_folder_is_gone_at_the_end(tmp_path):
    with processes.scratch(tmp_path / "new") as folder:
        assert folder.parent == tmp_path / "new"
        (folder / "x").touch()
    assert list((tmp_path / "new").iterdir()) == []


def test_what_a_killed_process_left_is_deleted_and_what_lives_is_not(tmp_path):
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom lib.study import processes\n"
        "with processes.scratch(Path(sys.argv[1])): os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    (left,) = tmp_path.iterdir()
    (tmp_path / f"{processes.PREFIX}{os.getpid()}-mine").mkdir()
    (tmp_path / f"{processes.PREFIX}x-other").mkdir()
    with processes.scratch(tmp_path):
        assert not left.exists()
        assert len(list(tmp_path.iterdir())) == 3
