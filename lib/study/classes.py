"""An edition for a class: pages and notebooks of one and the same run, for students or for those who teach them."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import nbformat

from lib.models import store
from lib.study import audiences, pages, parameters
from lib.study.pages import Sections
from lib.study.runs import Job

STAMP = "class.json"
"""a file of the folder, which says that it may be replaced"""


def make(runs: Sequence[tuple[Job, dict]], recorded: Sections, audience: str, folder: Path) -> Path:
    """Write ``pages`` and ``notebooks`` into a folder, and return the first page.

    Args:
        runs: what was run; of other sections, both have what was recorded.
        recorded: the recorded sections.
        audience: ``students`` or ``instructors``.
        folder: new, empty, or an edition to replace.

    Raises:
        Refused: a folder that has something else.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / STAMP).exists():
        raise parameters.Refused(f"{folder} is not empty, and not an edition for a class; name a folder of its own")
    for old in ("pages", "notebooks"):  # before anything else: nothing of an instructors' edition stays in a students'
        shutil.rmtree(folder / old, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    store.write_atomically(folder / STAMP, json.dumps({"for": audience}).encode())
    index = pages.render(runs, recorded, folder / "pages", audience)
    records = {job.notebook.stem: record for job, record in runs}
    kept = {name: section.record for name, section in recorded.items()}
    for name, content in pages.contents(runs, recorded).items():
        made = audiences.for_class(content, name, audience, records, kept)
        store.write_atomically(folder / "notebooks" / f"{name}.ipynb", nbformat.writes(made).encode())
    return index
