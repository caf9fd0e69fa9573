import math

import pandas as pd
import pytest
import torch

from lib.measures.intervals import Estimate, estimate, mean_of_few
from lib.models.data import ROOT
from lib.study import claims, runs, stability
from lib.study.claims import Claim


def record(**values):
    return {"values": {name: value._asdict() for name, value in values.items()}, "commit": "abc"}


def test_two_equal_intervals_that_touch_at_root_two_are_on_the_border():
    first, second = Estimate(0.0, -1.0, 1.0, 9), Estimate(math.sqrt(2), math.sqrt(2) - 1, 9.0, 9)
    assert stability.disagreement(first, second) == pytest.approx(1)
    assert stability.disagreement(second, first) == pytest.approx(1)


def test_only_the_sides_that_face_each_other_count():
    assert stability.disagreement(Estimate(0.0, -99.0, 3.0, 9), Estimate(5.0, 1.0, 99.0, 9)) == 1


def test_two_that_have_no_room_towards_each_other_disagree_unless_they_are_equal():
    first, second = Estimate(15.0, 14.0, 15.0, 9), Estimate(17.0, 17.0, 18.0, 9)
    assert stability.disagreement(first, second) == math.inf
    assert stability.disagreement(first, first) == 0


@pytest.mark.parametrize(("unit", "low", "high"), [("models", 0.03, 0.08), ("points", 0.6, 1.0)])
def test_an_interval_over_the_wrong_unit_disagrees_with_other_seeds(unit, low, high):
    """Models that differ by one standard deviation, with points that differ little: which seeds agree by the unit."""
    rng, apart = torch.Generator().manual_seed(0), []
    for _ in range(400):
        points = torch.randn(2, 30, 1, generator=rng) + 0.1 * torch.randn(2, 30, 25, generator=rng)
        if unit == "models":
            first, second = (mean_of_few(models.mean(1)) for models in points)
        else:
            first, second = (mean_of_few(models[0]) for models in points)
        apart.append(stability.disagreement(first, second) > 1)
    assert low < sum(apart) / len(apart) < high


def test_disagreements_are_counted_by_pair_of_seeds():
    values = {0: (0.0, -1.0, 1.0), 1: (0.5, -0.5, 1.5), 2: (9.0, 8.0, 10.0)}
    records = {
        seed: {"x": record(a=Estimate(*three, 9), exact=Estimate(1.0, 1.0, 1.0, 0))} for seed, three in values.items()
    }
    (row,) = stability.compare(records).to_dict("records")
    assert (row["section"], row["value"], row["pairs"], row["beyond"], row["disjoint"]) == ("x", "a", 3, 2, 2)
    assert row["worst"] == pytest.approx(9 / math.sqrt(2))
    assert row["seed 2"] == "9 [8, 10]"


def test_a_verdict_flips_from_yes_to_no_and_only_changes_to_undecided(monkeypatch):
    listed = [
        Claim("x", name, name, "direction", "section 1", "1", "nats", 0.0, math.inf, "the sign")
        for name in ("flips", "changes", "stays")
    ]
    monkeypatch.setattr(claims, "claims", lambda notebook: listed)
    yes, no, both = Estimate(1.0, 0.5, 1.5, 9), Estimate(-1.0, -1.5, -0.5, 9), Estimate(0.0, -1.0, 1.0, 9)
    records = {0: {"x": record(flips=yes, changes=yes, stays=yes)}, 1: {"x": record(flips=no, changes=both, stays=yes)}}
    found = stability.verdicts(records)
    assert found["changed"].tolist() == [True, True, False]
    assert found["flipped"].tolist() == [True, False, False]
    (section, total) = stability.summary(stability.compare(records), found).to_dict("records")
    assert section == {
        "section": "x",
        "estimates": 3,
        "pairs": 3,
        "beyond": 1,
        "share": "33%",
        "disjoint": 1,
        "verdicts": 3,
        "changed": 2,
        "flipped": 1,
    }
    assert total == section | {"section": "all"}


def test_the_runs_of_the_book_are_used_for_its_own_seed():
    todo = stability.jobs("smoke", ["decay"], [0, 1])
    assert [job.folder for job in todo[0]] == [runs.RUNS / "smoke"]
    assert [job.folder for job in todo[1]] == [runs.RUNS / "smoke" / "decay+seed=1"]
    assert [job.parameters["seed"] for job in todo[1]] == [1]
    assert len(stability.jobs("smoke", [], [0, 1])[1]) == len(runs.jobs("smoke", {}))


def test_a_section_that_the_book_shows_as_recorded_is_run_if_it_is_named():
    (job,) = stability.jobs("quick", ["canaries"], [1])[1]
    assert job.notebook.stem == "canaries"
    assert job.parameters["seed"] == 1


def test_what_has_no_interval_has_verdicts_all_the_same(tmp_path):
    exact = {claim.value: Estimate(0.0, 0.0, 0.0, 0) for claim in claims.claims("change_of_variables")}
    some = {"dip_memorised": estimate(torch.arange(9.0))}
    both = {"change_of_variables": record(**exact), "line_densities": record(**some)}
    for sections in (["change_of_variables"], list(both)):
        _, estimates, verdicts = stability.write({seed: {x: both[x] for x in sections} for seed in (0, 1)}, tmp_path)
        said = stability.summary(pd.read_csv(estimates), pd.read_csv(verdicts)).set_index("section")
        assert said.loc["change_of_variables", ["estimates", "share"]].tolist() == [0, "–"]
        counts = [len(claims.claims(section)) for section in sections]
        assert said["verdicts"].tolist() == [*counts, sum(counts)]


def test_tables_are_written_and_summed_up(tmp_path):
    values = {"dip_memorised": estimate(torch.arange(9.0)), "dip_well_trained": estimate(-torch.arange(9.0))}
    records = {seed: {"line_densities": record(**values)} for seed in (0, 1)}
    text, estimates, verdicts = stability.write(records, tmp_path)
    assert "line_densities" in text
    assert estimates.read_text().count("\n") == 3
    assert verdicts.read_text().count("\n") == 1 + len(claims.claims("line_densities"))
    assert ROOT not in estimates.parents


def test_a_recorded_table_stands_in_its_place(tmp_path):
    values = {"dip_memorised": estimate(torch.arange(9.0)), "dip_well_trained": estimate(-torch.arange(9.0))}
    text, *_ = stability.write({seed: {"line_densities": record(**values)} for seed in (0, 1)}, tmp_path / "one")
    page = stability.with_tables("before\n\n<!-- stability one -->\n\nafter", tmp_path)
    assert stability.with_tables("<!-- stability two -->", tmp_path) == "Not recorded."
    assert page == f"before\n\nRecorded at `abc`, seeds 0, 1:\n\n{text}\n\nafter"
