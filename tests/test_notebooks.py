import contextlib
import dataclasses
import shutil
from concurrent.futures import ThreadPoolExecutor

import nbformat
import pytest
import yaml
from test_data import write_celeba, write_cifar

from lib.models.data import ROOT
from lib.study import claims, parameters, runs

PATHS = parameters.notebooks()
NAMES = [path.stem for path in PATHS]
SHARED = ("examples", "latent", "width", "steps", "batch", "seed")


def cells(path):
    return nbformat.read(path, as_version=4).cells


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_sources_carry_no_outputs(path):
    code = [cell for cell in cells(path) if cell.cell_type == "code"]
    assert [cell for cell in code if cell.outputs or cell.execution_count] == []


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_a_section_opens_with_its_claim_and_ends_with_its_numbers(path):
    found = cells(path)
    assert found[0].source.startswith("# ")
    assert "claim under test" in found[0].source
    for part in ("What would refute it", "**You need:**", "**You get:**", "**Minutes:**"):
        assert part in found[0].source, part
    assert [i for i, cell in enumerate(found) if "parameters" in cell.metadata.get("tags", [])] == [2]
    text = "\n".join(cell.source for cell in found)
    assert "ANSWER" not in text
    for part in (
        "Exercise\n:class",
        "Solution\n:class: dropdown",
        "Change this and predict",
        "Answer\n:class: dropdown",
    ):
        assert part in text, part
    tagged = [cell.source for cell in found if "claims" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert f'claims.conclude(results, "{path.stem}", values,' in tagged[0]


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_every_parameter_has_help_and_every_notebook_the_common_ones(path):
    found = parameters.declared(path)
    assert [name for name, parameter in found.items() if not parameter.help] == []
    assert list(found)[:4] == ["dataset", "device", "seed", "results"]


PARTS = [
    [entry["file"].removeprefix("notebooks/") for entry in part["chapters"]]
    for part in yaml.safe_load(parameters.CONTENTS.read_text())["parts"]
    if part["chapters"][0]["file"].startswith("notebooks/")
]


OWN = {
    *("dips_along_paths", "known_copiers"),
    *(
        "canaries",
        "growing_and_cycles",
        "growing_faces",
        "larger_flows",
        "near_duplicates",
        "network_features",
        "faces_without_identity",
        "means_and_walks",
    ),
}
"""sections with the fits of another part, see below, or without fits; and with fits of their own"""
RECORDED_APART = {"published_code", "latent_search", "clustering", "decay", "noise_to_image"}
"""sections that are recorded with other numbers of models, or images, than the rest of their part"""


@pytest.mark.parametrize("name", parameters.presets())
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part[0])
def test_sections_of_a_part_share_what_they_are_run_with(part, name):
    """So that they share their fits, too."""
    known = {}
    for stem in set(part) - OWN - (RECORDED_APART if name == "edition" else set()):
        with contextlib.suppress(parameters.NoData):
            for key, value in parameters.for_run(parameters.find(stem), name, {}).items():
                if (part[0], key) in {("change_of_variables", "points"), ("known_copiers", "models")}:
                    continue  # a mean spectrum takes more points than a decay, and influence more models than a curve
                assert known.setdefault(key, value) == value, (stem, key)


@pytest.mark.parametrize("name", parameters.presets())
def test_dips_along_shortest_paths_are_of_the_very_fits_of_the_straight_ones(name):
    straight, shortest = (
        parameters.for_run(parameters.find(stem), name, {}) for stem in ("line_densities", "dips_along_paths")
    )
    shared = (*SHARED, "rank")
    assert [straight[each] for each in shared] == [shortest[each] for each in shared]


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_a_notebook_is_what_nbformat_writes(path):
    """So that a changed word is a changed line."""
    assert path.read_text() == nbformat.writes(nbformat.read(path, as_version=4)) + "\n"


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_a_figure_is_shown_with_the_text_that_stands_for_it(path):
    drawn = [cell.source for cell in cells(path) if "figure" in cell.metadata.get("mystnb", {})]
    assert [source for source in drawn if "figures.show(" not in source] == []


def test_figures_have_names_of_their_own():
    every = [cell.metadata.get("mystnb", {}).get("figure", {}) for path in PATHS for cell in cells(path)]
    names = [figure["name"] for figure in every if figure]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("name", parameters.presets())
def test_presets_name_every_notebook_and_only_known_parameters(name):
    preset = parameters.preset(name)
    assert list(preset["notebooks"]) == NAMES
    for path in PATHS:
        with contextlib.suppress(parameters.NoData):
            parameters.for_run(path, name, {})


def test_the_table_of_contents_has_every_notebook():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    files = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    assert [file.removeprefix("notebooks/") for file in files if file.startswith("notebooks/")] == NAMES
    prose = {f"book/{path.stem}" for path in (ROOT / "book").glob("*.md")}
    assert prose == {file for file in [toc["root"], *files] if file.startswith("book/")}


def test_the_pipeline_runs_at_smoke(smoke_runs):
    assert [job.notebook.stem for job, _ in smoke_runs] == [n for n in NAMES if n not in runs.waiting("smoke")]
    for job, record in smoke_runs:
        has_neither_errors_nor_warnings(job.output)
        a_figure_is_all_that_its_cell_shows(job.output)
        assert record["seconds"] < 120


def a_figure_is_all_that_its_cell_shows(executed):
    """Two outputs would both be given the figure's label, which the book then has twice."""
    figures = [cell for cell in cells(executed) if "figure" in cell.metadata.get("mystnb", {})]
    assert [cell.metadata.mystnb.figure.name for cell in figures if len(cell.outputs) != 1] == []


def has_neither_errors_nor_warnings(executed):
    for cell in cells(executed):
        kinds = [(output.output_type, output.get("name")) for output in cell.get("outputs", [])]
        assert ("error", None) not in kinds
        assert ("stream", "stderr") not in kinds, cell.source


def test_colour_images_in_the_formats_of_their_authors_go_through_the_same_section(tmp_path):
    write_cifar(tmp_path, train=60, test=12)
    write_celeba(tmp_path, count=190)
    path = parameters.find("kfold_colour")
    given = [{"dataset": name, "data_dir": str(tmp_path)} for name in ("cifar10", "celeba")]
    todo = [dataclasses.replace(runs.job(path, "smoke", one), folder=tmp_path / one["dataset"]) for one in given]
    with ThreadPoolExecutor(2) as executor:
        found = {record["dataset"]["name"]: record for _, record in runs.execute_all(todo, executor)}
    for job in todo:
        has_neither_errors_nor_warnings(job.output)
    for name, record in found.items():
        wanted = [c for c in claims.claims(path.stem) if c.value.startswith(name)]
        assert wanted
        assert [c.value for c in wanted if c.value not in record["values"]] == []
    verdicts = claims.frame(path.stem, claims.estimates(found["celeba"]))["verdict"]
    others = [claim for claim in claims.claims(path.stem) if not claim.value.startswith("celeba")]
    assert (verdicts == "– not run").sum() == len(others) > 0


def test_recovery_of_colour_images_decides_the_claims_of_its_own_data_set(tmp_path):
    write_cifar(tmp_path, train=60, test=20)
    path = parameters.find("recovery_in_colour")
    job = dataclasses.replace(runs.job(path, "smoke", {"data_dir": str(tmp_path)}), folder=tmp_path)
    record = runs.execute(job)
    has_neither_errors_nor_warnings(job.output)
    assert {"cifar10_trend", "cifar10_gap_dcgan", "cifar10_bar_dcgan"} <= record["values"].keys()


def test_a_section_whose_data_are_not_there_is_left_out_and_named(monkeypatch, tmp_path):
    monkeypatch.setattr(parameters, "ROOT", tmp_path)
    for name in ("data", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / name)
    assert list(runs.waiting("smoke")) == ["kfold_colour", "recovery_in_colour"]
    write_celeba(tmp_path / "data")
    assert list(runs.waiting("smoke")) == ["recovery_in_colour"]
    with pytest.raises(parameters.NoData, match=r"dataset 'cifar10' is not in .*give the folder that holds"):
        runs.job(parameters.find("kfold_colour"), "smoke", {"dataset": "cifar10"})


def test_every_claim_finds_its_value(smoke_runs):
    values = {job.notebook.stem: record["values"] for job, record in smoke_runs}
    missing = [c.value for name, own in values.items() for c in claims.claims(name) if c.value not in own]
    assert sorted(set(missing)) == [  # decided only at the sizes for which something was published
        *("alarms_2000", "duplicates_excess", "duplicates_largest", "gap_aegan_16384", "gap_glo_1024", "gap_glo_16384"),
        *("highest_fast", "highest_slow", "trend_published"),
    ]
    for found in values.values():
        for name, number in found.items():
            assert number["low"] <= number["high"], name


def test_the_same_parameters_give_the_same_numbers(smoke_runs, tmp_path):
    job, first = next(run for run in smoke_runs if run[0].notebook.stem == "decay")
    again = runs.execute(dataclasses.replace(job, folder=tmp_path))
    assert again["values"] == first["values"]
