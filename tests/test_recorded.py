import base64
import hashlib
import io
import json
import random
import re
import shutil
import subprocess

import nbformat
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lib import recording
from lib.measures.intervals import Estimate
from lib.study import claims, items, keys, pages, parameters, recorded, runs, verification

pytestmark = pytest.mark.usefixtures("single_precision")

SECTION = "change_of_variables"
LONG = {"neighbours_fast", "neighbours_slow", "reliability_fast", "reliability_slow"}
"""rank correlations of 60,000 images, resampled: 40 s each"""


@pytest.fixture(scope="module")
def original(smoke_run, tmp_path_factory):
    """A folder with two recorded sections: a fast one without fits, and one with fits and intervals."""
    folder = tmp_path_factory.mktemp("recorded")
    for job, record in smoke_run(SECTION, "doses"):
        recorded.write(job, record, folder)
    return folder


@pytest.fixture
def kept(original, tmp_path):
    """A copy of it to do damage to."""
    return shutil.copytree(original, tmp_path / "recorded")


def changed(path, old, new):
    """One text in a file replaced by another."""
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def bad(lines):
    return [str(line) for line in lines if not line.good]


def edited(monkeypatch, tmp_path, name, edit):
    """The book with one changed notebook."""
    notebook = nbformat.read(parameters.find(name), as_version=4)
    edit(notebook)
    path = tmp_path / f"{name}.ipynb"
    nbformat.write(notebook, path)
    real = parameters.find
    monkeypatch.setattr(parameters, "find", lambda asked: path if asked == name else real(asked))
    return path


def test_a_recorded_section_has_its_numbers_and_where_they_come_from(kept):
    section = recorded.read("doses", kept)
    assert section.changed == []
    assert claims.estimates(section.record)
    assert {"date", "processor", "cores", "commit", "code", "verdicts"} <= set(section.record["recorded"])
    assert {"torch", "seconds", "commit"} & set(section.record["versions"] | section.record) == {
        "torch", "seconds", "commit",
    }  # fmt: skip
    assert re.fullmatch(
        r"(`\w+` .+[,;] )+20\d\d-\d\d-\d\d, \d+ (minutes|seconds) on .+ cores of .+, torch .+, commit `.+`",
        str(section),
    )
    assert str(recorded.ROOT) not in section.job.output.read_text()


def test_a_recording_says_what_accelerator_it_ran_on_and_where_fits_were_made_that_were_not_made_there(kept):
    section = recorded.read("doses", kept)
    assert "elsewhere" not in str(section)
    there = {"device": "cuda", "machine": {"threads": 4}, "libraries": {"torch": "2.11.0"}}
    fits = [{**fit, **there} for fit in section.record["fits"]]
    far = section._replace(record={**section.record, "device": "NVIDIA H200", "fits": fits})
    assert re.search(r"on NVIDIA H200 and \d+ cores of .+; fits made elsewhere, on cuda with torch 2\.11\.0$", str(far))


def test_what_tells_code_from_code_is_no_part_of_a_recording(kept):
    """Every recording of before has a digest of the module that makes digests, which has changed since."""
    section = recorded.read("doses", kept)
    assert not set(section.record["recorded"]["code"]) & keys.APART
    record = runs.read(section.job)
    for name in ("sha256", "notebook_sha256", "items_sha256"):
        record.pop(name, None)
    record["recorded"]["code"]["lib/models/closure.py"] = "0123456789abcdef"
    runs.write(section.job, record, section.job.output.read_bytes(), section.job.items.read_bytes())
    assert recorded.read("doses", kept).changed == []


def test_sections_are_listed_in_the_books_order_and_what_is_not_there_is_none(kept):
    assert list(recorded.sections(kept)) == [SECTION, "doses"]
    assert recorded.read("decay", kept) is None


def test_figures_are_kept_smaller_and_look_the_same(shared, kept):
    def figure(path):
        cells = nbformat.read(path, as_version=4).cells
        outputs = [
            output for cell in cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
        ]
        return base64.b64decode(outputs[0].data["image/png"])

    before, after = (figure(folder / f"{SECTION}.ipynb") for folder in (shared / "runs", kept / "sections"))
    assert len(after) < 0.6 * len(before)
    one, two = (on_page(Image.open(io.BytesIO(content))) for content in (before, after))
    assert one.shape == two.shape
    assert np.abs(one - two).mean() < 2  # of 255


def on_page(image):
    """What a reader sees on a white page: colour times opacity, and the page's through the rest."""
    *colours, opacity = np.moveaxis(np.asarray(image.convert("RGBA"), float), 2, 0)
    return 255 + (np.stack(colours, 2) - 255) * opacity[..., None] / 255


def test_the_data_of_the_recordings_are_read_today_as_they_were_then():
    """Code that reads files is no part of what a recording was made with: the digests of what it read are."""
    fits = [fit for section in recorded.sections().values() for fit in section.record["fits"]]
    read = {json.dumps(fit["again"]): fit["data"] for fit in fits}
    here = ("mnist", "faces")
    wanted = [recipe for recipe in read for name in here if f'"{name}"' in recipe and "lib.protocols" not in recipe]
    assert {name for name in here for recipe in wanted if f'"{name}"' in recipe} == set(here)
    for recipe in wanted:
        assert items.called(json.loads(recipe)).digest == read[recipe], recipe


def test_a_translucent_band_is_kept_as_it_looks_and_not_as_the_colour_it_is_made_of():
    band = Image.new("RGBA", (4, 4), (178, 24, 43, 38))
    seen = np.asarray(recorded.on_white(band))
    assert np.abs(seen - on_page(band)).max() <= 1
    assert seen.min() > 220  # where the colour itself has 24


def test_the_list_of_digests_is_one_that_sha256sum_can_check(kept):
    done = subprocess.run(["sha256sum", "--check", recorded.SUMS], cwd=kept, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": OK") == 6


def test_nothing_is_wrong_with_what_was_just_recorded(kept):
    assert bad(verification.files(kept)) == []
    for section in recorded.sections(kept).values():
        assert verification.code(section).good
        assert bad(verification.numbers(section)) == []


@pytest.mark.parametrize("suffix", [".ipynb", ".items.npz", ".json"])
def test_a_flipped_byte_is_named(kept, suffix):
    path = kept / "sections" / f"doses{suffix}"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (line,) = bad(verification.files(kept))
    assert line.startswith(f"doses: files: sections/doses{suffix} is not what SHA256SUMS has")
    with pytest.warns(UserWarning, match="damaged"):
        assert recorded.read("doses", kept) is None


def test_a_missing_and_an_extra_file_are_named(kept):
    (kept / "sections" / "doses.json").unlink()
    (kept / "sections" / "decay.json").write_text("{}")
    assert bad(verification.files(kept)) == [
        "decay: files: sections/decay.json is extra", "doses: files: sections/doses.json is missing",
    ]  # fmt: skip


def test_a_changed_item_is_named_though_all_digests_were_made_again(kept):
    section = recorded.read("doses", kept)
    with np.load(section.job.items) as file:
        arrays = dict(file)
    name = max((name for name in arrays if name != "recipes"), key=lambda name: arrays[name].size)
    arrays[name] = arrays[name] + 1e-3
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    runs.write(section.job, section.record, section.job.output.read_bytes(), content.getvalue())
    recorded.write_sums(kept)
    assert bad(verification.files(kept)) == []
    found = bad(verification.numbers(recorded.read("doses", kept)))
    assert found
    assert all(re.match(r"doses: numbers: \w+ is .+ from its items, recorded is .+", line) for line in found)


def test_a_verdict_that_no_longer_follows_is_named(kept, monkeypatch):
    section = recorded.read("doses", kept)
    (name, first), *_ = claims.by_id("doses").items()
    real = claims.claims
    monkeypatch.setattr(
        claims,
        "claims",
        lambda notebook: [c._replace(low=1e9, high=2e9) if c.value == first.value else c for c in real(notebook)],
    )
    assert any(line.startswith(f"doses: numbers: {name}: ") for line in bad(verification.numbers(section)))


def test_a_changed_cell_is_named_and_shows_nothing(kept, monkeypatch, tmp_path):
    def edit(notebook):
        cell = next(cell for cell in notebook.cells if "figures.show" in cell.source)
        cell.source += "\nchanged = 1"
        edit.id = cell.id

    edited(monkeypatch, tmp_path, SECTION, edit)
    section = recorded.read(SECTION, kept)
    assert section.changed == [f"cell {edit.id}"]
    assert str(verification.code(section)) == f"{SECTION}: code: cell {edit.id}: not as recorded"
    page = pages.page_of(section)
    shown = {cell.id: cell for cell in page.cells if cell.cell_type == "code"}
    assert shown[edit.id].outputs[0].data["text/markdown"] == pages.CHANGED_CELL
    assert sum("image/png" in output.get("data", {}) for cell in shown.values() for output in cell.outputs) > 0
    assert f"with other code than today's: `cell {edit.id}`" in page.cells[1].source


def test_words_may_change(kept, monkeypatch, tmp_path):
    def edit(notebook):
        notebook.cells[0].source = "# Another title"
        next(cell for cell in notebook.cells if "figures.show" in cell.source).source += "\n# a comment"

    edited(monkeypatch, tmp_path, SECTION, edit)
    section = recorded.read(SECTION, kept)
    assert section.changed == []
    page = pages.page_of(section)
    assert page.cells[0].source == "# Another title"
    assert "Recorded" in page.cells[1].source


def test_a_page_with_both_runs_has_a_column_for_each(kept, smoke_run):
    section = recorded.read("doses", kept)
    ((job, record),) = smoke_run("doses")
    page = pages.page(job, record, section)
    (table,) = [cell for cell in page.cells if "claims" in cell.metadata.get("tags", [])]
    text = table.outputs[0].data["text/markdown"]
    assert re.search(r"\| this build +\| recorded +\|", text)
    assert text.rstrip().endswith("`.")


def test_parts_made_again_are_the_same_here(kept, tmp_path):
    section = recorded.read("doses", kept)
    (line,) = verification.parts(section, 1, tmp_path, random.Random(0))
    assert line.good
    assert line.said.startswith("same: Convolutional")


def test_a_part_of_cross_validation_is_one_fold_of_a_repeat(tmp_path, smoke_run):
    (run,) = smoke_run("memorisation_score")
    section = recorded.write(*run, tmp_path / "recorded")
    (line,) = verification.parts(section, 1, tmp_path / "scratch", random.Random(0))
    assert re.match(r"(same|consistent): fold \d of a KFold \(network bernoulli, ", line.said)


def test_a_part_that_ends_elsewhere_differs(kept, tmp_path):
    section = recorded.read("doses", kept)
    for used in section.record["fits"]:
        used["ended"] = [2 * end for end in used["ended"]]
    (line,) = verification.parts(section, 1, tmp_path, random.Random(0))
    assert not line.good
    assert line.said.startswith("differs: ")


def test_other_data_are_no_part(kept, tmp_path):
    section = recorded.read("doses", kept)
    for used in section.record["fits"]:
        used["data"] = "0" * 64
    (line,) = verification.parts(section, 1, tmp_path, random.Random(0))
    assert line.said.startswith("mnist is not the same data here")


def test_the_interval_of_a_part_is_that_of_the_next_model():
    rng = np.random.default_rng(0)
    consistent = [
        verification.placed(draws[0].tolist(), [9.0], draws[1:].tolist()) == "consistent"
        for draws in rng.normal(size=(2000, 6, 1))
    ]
    assert np.mean(consistent) == pytest.approx(0.99, abs=0.01)


def test_an_unknown_family_is_refused():
    with pytest.raises(ValueError, match="no family fits Nothing"):
        verification.specification({"family": "Nothing", "spec": {}})


def call(*arguments):
    return CliRunner().invoke(recording.verify if arguments[0] == "verify" else recording.record, arguments[1:])


def test_verify_says_what_it_found_and_fails_where_something_differs(kept):
    good = call("verify", "--folder", str(kept))
    assert good.exit_code == 0, good.output
    assert "✔ doses: numbers: " in good.output
    changed(kept / "sections" / "doses.json", b'"seconds"', b'"secondz"')
    with pytest.warns(UserWarning, match="damaged"):
        found = call("verify", "doses", "--folder", str(kept), "--keep")
    assert found.exit_code == 1
    assert "✘ doses: files: sections/doses.json" in found.output
    assert json.loads((kept / "verification.json").read_text())["lines"]


def test_verify_names_what_is_damaged_also_where_no_section_is_named(kept):
    changed(kept / "sections" / "doses.json", b'"seconds"', b'"secondz"')
    (kept / "sections" / "stranger.json").write_text("{}")
    with pytest.warns(UserWarning, match="damaged"):
        found = call("verify", "--folder", str(kept))
    assert found.exit_code == 1
    assert "✘ doses: files: sections/doses.json is not what" in found.output
    assert "✘ doses: numbers: not recorded, or damaged" in found.output
    assert "✘ stranger: files: sections/stranger.json is extra" in found.output
    assert f"✔ {SECTION}: numbers" in found.output


def test_a_section_that_is_recorded_is_not_run_again(kept, monkeypatch):
    monkeypatch.setattr(runs, "execute", lambda *_: pytest.fail("it ran"))
    result = call("record", "doses", "--preset", "smoke", "--folder", str(kept))
    assert result.exit_code == 0, result.output
    assert "doses: unchanged, recorded" in result.output


def test_what_was_recorded_with_other_code_is_not_replaced_unasked(kept, monkeypatch, tmp_path):
    def edit(notebook):
        notebook.cells.append(nbformat.v4.new_code_cell("more = 1", id="more"))

    edited(monkeypatch, tmp_path, SECTION, edit)
    monkeypatch.setattr(runs, "execute", lambda *_: pytest.fail("it ran"))
    result = call("record", SECTION, "--preset", "smoke", "--folder", str(kept))
    assert isinstance(result.exception, parameters.Refused)
    assert f"{SECTION} was recorded with other code (cell more); --replace" in str(result.exception)


def test_more_models_replace_fewer(kept):
    before = recorded.read("doses", kept)
    result = call("record", "doses", "--preset", "smoke", "-p", "dose_models", "3", "--folder", str(kept))
    assert result.exit_code == 0, result.output
    after = recorded.read("doses", kept)
    assert len(after.record["fits"]) == 9 > len(before.record["fits"]) == 6
    assert bad(verification.files(kept)) == []


def test_a_claim_beside_another_shows_both_verdicts():
    first = next(claim for claim in claims.claims("doses") if claim.low == 0)
    inside, outside = ({first.value: Estimate(value, value, value, 9)} for value in (1.0, -1.0))
    row = next(
        row
        for row in claims.beside("doses", inside, outside).to_dict("records")
        if row["claim"].startswith(first.claim)
    )
    assert row["this build"] != row["recorded"]
    assert [
        claims.KINDS[first.kind][k] in row[c].replace("\N{NO-BREAK SPACE}", " ") for k, c in enumerate(claims.RUNS)
    ] == [True, True]


def test_digests_are_of_the_files_themselves(kept):
    content = (kept / "sections" / "doses.json").read_bytes()
    assert recorded.sums(kept)["sections/doses.json"] == hashlib.sha256(content).hexdigest()


def test_what_is_recorded_has_the_sizes_of_the_recorded_edition():
    """As five sections had not: a recording at other sizes says less than its preset promises, and nobody sees it."""
    for name, section in recorded.sections().items():
        path = parameters.find(name)
        wanted = recorded.plain(parameters.budgeted(name, parameters.declared(path), "edition"))
        have = section.record["parameters"]
        assert {key: have[key] for key in wanted if key in have} == {key: wanted[key] for key in have}, name


def without_long(content, values, again=items.again):
    """Numbers computed again, but for those that take longest."""
    return again(content, {name: value for name, value in values.items() if name not in LONG})


def test_what_the_repository_has_recorded_holds(monkeypatch):
    """Four numbers are left to what was kept of ``verify``, which must have found them good, of these very files."""
    monkeypatch.setattr(items, "again", without_long)
    sections = recorded.sections()
    assert sections
    assert bad(verification.files()) == []
    assert [line for section in sections.values() for line in bad(verification.numbers(section))] == []
    checked = json.loads((recorded.FOLDER / "verification.json").read_text())
    assert checked["files"] == recorded.sums()
    good = {line["section"] for line in checked["lines"] if line["level"] == "numbers" and line["good"]}
    assert good == sections.keys()
    size = sum(path.stat().st_size for path in recorded.FOLDER.rglob("*") if path.is_file())
    assert size < 25e6
