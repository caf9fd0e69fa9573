"""Results of long runs, kept in the repository: the executed notebook, its record, and the items of its intervals.

A recorded section is a run like any other (see :mod:`lib.study.runs`) in a folder of its own. With it is kept of what
code it was made, cell by cell and file by file; so a page can say what has changed since, and shows no output of a cell
that has. ``SHA256SUMS`` has a digest of each file, in the format of ``sha256sum``.
"""

import base64
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import nbformat
from PIL import Image

from lib.models import store
from lib.models.data import ROOT
from lib.study import claims, keys, parameters, provenance, runs
from lib.study.runs import Job

FOLDER = ROOT / "recorded"
SUMS = "SHA256SUMS"
COLOURS = 128
"""of a kept figure, which has half its bytes then"""


class Section(NamedTuple):
    """A recorded section."""

    job: Job
    record: dict
    changed: list[str]
    """code that is not what it was made with: ``cell 7``, or a file"""

    @property
    def sizes(self) -> dict[str, object]:
        """The parameters that are not the defaults."""
        defaults = self.record["recorded"]["defaults"]
        return {name: value for name, value in self.record["parameters"].items() if defaults.get(name) != value}

    def __str__(self) -> str:
        """How large, when and on what it was made."""
        made, record = self.record["recorded"], self.record
        sizes = ", ".join(f"`{name}` {value}" for name, value in self.sizes.items()) or "its default sizes"
        accelerator = "" if record["device"] == "cpu" else f"{record['device']} and "
        return (
            f"{sizes}; {made['date'][:10]}, {_duration(record['seconds'])} on {accelerator}{made['cores']} cores of "
            f"{made['processor']}, threads of a fit: {record['machine']['threads']}, "
            f"torch {record['versions']['torch']}, commit `{record['commit']}`{self._elsewhere}"
        )

    @property
    def _elsewhere(self) -> str:
        """What the fits were made on, if the section was not."""
        others = [fit for fit in self.record["fits"] if fit["machine"] != self.record["machine"]]
        made = sorted({f"{fit['device']} with torch {fit['libraries']['torch']}" for fit in others})
        return f"; fits made elsewhere, on {', '.join(made)}" if made else ""


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:,.0f} minutes"


def job(name: str, folder: Path = FOLDER) -> Job:
    """Where a section is kept."""
    return Job(parameters.find(name), {}, folder / "sections", 0)


def read(name: str, folder: Path = FOLDER) -> Section | None:
    """A section as it was recorded; None if it was not, or is damaged (which is warned of)."""
    kept = job(name, folder)
    record = runs.read(kept)
    if record is None or "recorded" not in record:
        return None
    now, then = keys.made_with(kept.notebook), record["recorded"]["code"]
    changed = [part for part in then if now.get(part) != then[part] and part not in keys.APART]
    return Section(kept, record, [*changed, *(now.keys() - then)])


def sections(folder: Path = FOLDER) -> dict[str, Section]:
    """All recorded sections by their notebooks' names, in the book's order."""
    found = {path.stem: read(path.stem, folder) for path in parameters.notebooks()}
    return {name: section for name, section in found.items() if section}


def write(run: Job, record: Mapping[str, object], folder: Path = FOLDER) -> Section:
    """Keep a finished run. What was recorded of the section before is replaced.

    Args:
        run: the run, whose key is that of today's code.
        record: its record.
        folder: where to keep it.
    """
    name, decided = run.notebook.stem, claims.estimates(record)
    made = {
        **provenance.here(),
        "defaults": {name: each.default for name, each in parameters.declared(run.notebook).items()},
        "code": keys.made_with(run.notebook),
        "verdicts": {claim: claims.verdict(one, decided) for claim, one in claims.by_id(name).items()},
    }
    own = {key: value for key, value in record.items() if key != "reused"}
    own |= {"parameters": plain(run.parameters), "recorded": made}
    notebook = _without_place(_compressed(store.read_regular(run.output).decode()))
    runs.write(job(name, folder), own, notebook.encode(), store.read_regular(run.items))
    write_sums(folder)
    return read(name, folder)


def plain(values: Mapping[str, object]) -> dict[str, object]:
    """Parameters without the place of the repository on this machine."""
    return {name: _without_place(value) if isinstance(value, str) else value for name, value in values.items()}


def sums(folder: Path = FOLDER) -> dict[str, str]:
    """The digest of every recorded file, by its path in the folder, from the files themselves."""
    kept = (path for path in sorted((folder / "sections").glob("*")) if path.suffix in (".ipynb", ".json", ".npz"))
    return digests({path.relative_to(folder).as_posix(): path.read_bytes() for path in kept})


def digests(contents: Mapping[str, bytes]) -> dict[str, str]:
    """The SHA-256 of files by their names."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def lines(digests: Mapping[str, str]) -> bytes:
    """Digests as ``sha256sum --check`` reads them."""
    return "".join(f"{digest}  {name}\n" for name, digest in digests.items()).encode()


def write_sums(folder: Path = FOLDER) -> None:
    """Write the list of digests."""
    store.write_atomically(folder / SUMS, lines(sums(folder)))


def on_white(figure: Image.Image) -> Image.Image:
    """A figure as it looks on a white page: a colour of a palette is opaque, and figures have translucent parts."""
    figure = figure.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", figure.size, "white"), figure).convert("RGB")


def _without_place(text: str) -> str:
    return text.replace(f"{ROOT}/", "")


def _compressed(notebook: str) -> str:
    """A notebook whose figures have a palette, and a white background."""
    content = nbformat.reads(notebook, as_version=4)
    for cell in content.cells:
        for output in cell.get("outputs", []):
            if "image/png" in (data := output.get("data", {})):
                smaller = io.BytesIO()
                figure = on_white(Image.open(io.BytesIO(base64.b64decode(data["image/png"]))))
                figure.quantize(COLOURS, dither=Image.Dither.NONE).save(smaller, "PNG", optimize=True)
                data["image/png"] = base64.b64encode(smaller.getvalue()).decode()
    return nbformat.writes(content)
