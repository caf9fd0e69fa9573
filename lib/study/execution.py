"""The page on execution: what each section took, on what, and from which commit."""

from collections.abc import Mapping, Sequence

from lib.models.data import ROOT
from lib.study import parameters, tables
from lib.study.recorded import Section
from lib.study.runs import Job


def page(runs: Sequence[tuple[Job, dict]], recorded: Mapping[str, Section]) -> str:
    """What each notebook took, on what, from which commit, in this build and when it was recorded, as Markdown."""
    order = [path.stem for path in parameters.notebooks()]
    done = {job.notebook.stem: record for job, record in runs}
    long = {name: section.record for name, section in recorded.items()}
    parts = [(ROOT / "book" / "execution.md").read_text()]
    for heading, records in (("This build", done), ("Recorded", long)):
        if records:
            took = [_took(name, records[name]) for name in order if name in records]
            versions = list(next(iter(records.values()))["versions"].items())
            parts += [f"## {heading}", tables.markdown(tables.rows(TOOK, took))]
            parts += [tables.markdown(tables.rows(("software", "version"), versions))]
    return "\n\n".join([*parts, ""])


TOOK = ("section", "seconds", "peak memory", "device", "commit", "data")


def _took(name: str, record: Mapping) -> list[str]:
    data = record["dataset"]
    digest = f"{data['name'].split('/')[-1]} `{data['sha256'][:12]}`" if data else "–"
    memory = f"{record['peak_memory_bytes'] / 2**30:.2f} GiB"
    device = record["device"] + (
        f", {made['processor']}, {made['date'][:10]}" if (made := record.get("recorded")) else ""
    )
    page = f"{{doc}}`../notebooks/{name}`"
    return [page, f"{record['seconds']:,.0f}", memory, device, f"`{record['commit']}`", digest]
