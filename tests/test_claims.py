import json
import math

import pytest
import torch

from lib.measures.intervals import Estimate
from lib.study import claims
from lib.study.claims import Claim


def claim(low=0.0, high=math.inf):
    return Claim("01_x", "value", "It holds", "section 1", "1.07", "nats", low, high, "the sign")


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((0.1, 2.0), "reproduced"),
        ((0.0, 2.0), "reproduced"),
        ((-0.1, 2.0), "undecided"),
        ((-2.0, -0.1), "did not reproduce"),
        (None, "not run"),
    ],
)
def test_the_verdict_follows_from_the_interval(interval, expected):
    ours = None if interval is None else Estimate(sum(interval) / 2, *interval, 9)
    assert claims.verdict(claim(), ours) == expected


def test_a_value_inside_does_not_save_an_interval_that_straddles():
    assert claims.verdict(claim(-1, 1), Estimate(0.0, -2.0, 0.5, 9)) == "undecided"


def test_a_row_shows_ours_beside_the_published_and_counts_what_is_missing():
    row = claims.row(claim(), {"value": Estimate(9.87, 9.01, 10.8, 97, 3)})
    assert row == (
        "| It holds (section 1) | 1.07 | 9.87 nats (n = 97, 3 without a value) | [9.01, 10.8] | ≥ 0: the sign | ✔ reproduced |"
    )
    assert "– not run" in claims.row(claim(), {})


def test_the_claims_on_file_are_complete():
    found = claims.claims()
    assert len(found) >= 20
    assert all(c.low < c.high and c.claim and c.where and c.published and c.why for c in found)


@pytest.mark.parametrize("entry", ["{range: [0, 1]}", "{chapter: x, range: [1, 0], value: v, claim: c}"])
def test_an_incomplete_claim_is_refused(tmp_path, entry):
    (tmp_path / "claims.yml").write_text(f"- {entry}")
    with pytest.raises(ValueError, match="needs exactly chapter, value, claim"):
        claims.claims(tmp_path / "claims.yml")


def test_values_are_written_with_what_only_the_run_knows(tmp_path):
    values = {"a": Estimate(1.0, 0.5, 1.5, 10), "b": 3.0}
    path = claims.write_values(str(tmp_path), "01_x", values, None, torch.device("cpu"))
    content = json.loads(path.read_text())
    assert content["values"]["a"] == {"value": 1.0, "low": 0.5, "high": 1.5, "n": 10, "missing": 0}
    assert content["values"]["b"]["n"] == 0
    assert content["peak_memory_bytes"] > 1e7


def test_a_number_that_is_not_finite_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="01_x: not a finite number: b"):
        claims.write_values(str(tmp_path), "01_x", {"a": 1.0, "b": math.nan}, None, torch.device("cpu"))
    assert not list(tmp_path.iterdir())
