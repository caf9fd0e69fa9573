import json
import math
import re
from unittest.mock import ANY

import pytest
import torch

from lib.measures.intervals import Estimate, mean_of_few
from lib.models.data import ROOT
from lib.study import claims, items
from lib.study.claims import Claim
from lib.study.parameters import notebooks


def claim(low=0.0, high=math.inf, kind="direction", bar=""):
    return Claim("x", "value", "It holds", kind, "section 1", "1.07", "nats", low, high, "the sign", bar)


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
    values = {} if interval is None else {"value": Estimate(sum(interval) / 2, *interval, 9)}
    assert claims.verdict(claim(), values) == claims.verdict(claim(kind="size"), values) == expected
    other = {"reproduced": "holds", "did not reproduce": "does not hold"}.get(expected, expected)
    assert claims.verdict(claim(kind="ours"), values) == claims.verdict(claim(kind="identity"), values) == other


def test_a_value_inside_does_not_save_an_interval_that_straddles():
    assert claims.verdict(claim(-1, 1), {"value": Estimate(0.0, -2.0, 0.5, 9)}) == "undecided"


@pytest.mark.parametrize(
    ("bar", "expected"),
    [((0.5, 1.0), "reproduced"), ((0.5, 1.01), "not testable"), ((2.0, 3.0), "not testable"), (None, "not run")],
)
def test_a_model_below_its_bar_shows_nothing_by_what_is_not_seen(bar, expected):
    values = {"value": Estimate(1.0, 0.5, 1.5, 9)}
    if bar:
        values["good"] = Estimate(bar[0], *bar, 9)
    assert claims.verdict(claim(bar="good"), values) == expected
    assert claims.verdict(claim(bar="good"), {name: values[name] for name in values if name == "good"}) == "not run"


@pytest.mark.parametrize(("low", "high", "expected"), [(-2.0, -0.1, "did not reproduce"), (-0.1, 2.0, "not testable")])
def test_what_is_seen_against_a_claim_counts_whatever_the_bar(low, high, expected):
    values = {"value": Estimate((low + high) / 2, low, high, 9), "good": Estimate(3.0, 2.0, 4.0, 9)}
    assert claims.verdict(claim(bar="good"), values) == expected


def test_no_range_was_changed_without_saying_so():
    """Whoever changes a range gives it a line with the day of the change here, and says why in the changelog."""
    lines = (ROOT / "book" / "claims" / "ranges.lock").read_text().splitlines()
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d  [0-9a-f]{16}  .+", line) for line in lines)
    frozen = {line.split("  ", 1)[1] for line in lines}
    now = {line for path in notebooks() for line in claims.frozen(path.stem)}
    assert sorted(now ^ frozen) == []


def test_the_digest_of_a_range_is_of_what_decides_and_not_of_words(monkeypatch):
    def digest(**changed):
        monkeypatch.setattr(claims, "claims", lambda notebook: [claim()._replace(**changed)])
        return claims.frozen("x")[0].split()[0]

    assert digest() == digest(claim="Other words", why="another reason", published="2")
    assert (
        len({digest(), digest(low=0.1), digest(high=9.0), digest(kind="ours"), digest(bar="good"), digest(value="v")})
        == 6
    )


def test_a_row_shows_ours_beside_the_published_and_counts_what_is_missing(monkeypatch):
    monkeypatch.setattr(claims, "claims", lambda notebook: [claim()])
    (row,) = claims.frame("x", {"value": Estimate(9.87, 9.01, 10.8, 97, 3)}).to_dict("records")
    assert list(row.values()) == [
        "It holds (section 1)", "direction", "1.07", "9.87 nats (n = 97, 3 without a value)", "[9.01, 10.8]", "≥ 0: the sign",
        "✔ reproduced",
    ]  # fmt: skip
    assert claims.frame("x", {})["verdict"].tolist() == ["– not run"]


def test_every_notebook_has_claims_and_they_are_complete():
    listed = {path.stem: claims.claims(path.stem) for path in notebooks()}
    assert [name for name, own in listed.items() if not own] == []
    assert {path.stem for path in (ROOT / "book" / "claims").glob("*.yml")} == set(listed)
    assert all(c.low < c.high and c.claim and c.where and c.published and c.why for own in listed.values() for c in own)


def test_no_value_decides_in_two_notebooks():
    values = [(path.stem, value) for path in notebooks() for value in {c.value for c in claims.claims(path.stem)}]
    assert len({value for _, value in values}) == len(values)


WHOLE = "where: x, value: v, claim: c, published: p, unit: u, why: w"


@pytest.mark.parametrize(
    "entry",
    [
        "{range: [0, 1]}",
        f"{{{WHOLE}, kind: size, range: [1, 0]}}",
        f"{{{WHOLE}, kind: sizes, range: [0, 1]}}",
        f"{{{WHOLE}, kind: size, range: [0, 1], more: m}}",
    ],
)
def test_an_incomplete_claim_is_refused(tmp_path, monkeypatch, entry):
    monkeypatch.setattr(claims, "CLAIMS", tmp_path)
    (tmp_path / "x.yml").write_text(f"- {entry}")
    with pytest.raises(ValueError, match="needs exactly value, claim"):
        claims.claims("x")


def test_a_notebook_without_a_file_has_no_claims():
    assert claims.claims("x") == []


def test_values_are_written_with_what_only_the_run_knows(tmp_path):
    values = {"a": mean_of_few(torch.tensor([1.0, 2.0, 3.0])), "b": 3.0}
    path = claims.write_values(str(tmp_path), "x", values, None, torch.device("cpu"))
    content = json.loads(path.read_text())
    assert content["values"]["a"] == {"value": 2.0, "low": ANY, "high": ANY, "n": 3, "missing": 0}
    again = items.again((tmp_path / "x.items.npz").read_bytes(), claims.estimates(content))
    assert (again.made, again.given) == ({"a": values["a"]}, ["b"])
    assert content["values"]["b"]["n"] == 0
    assert content["peak_memory_bytes"] > 1e7


def test_a_number_that_is_not_finite_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="x: not a finite number: b"):
        claims.write_values(str(tmp_path), "x", {"a": 1.0, "b": math.nan}, None, torch.device("cpu"))
    assert not list(tmp_path.iterdir())
