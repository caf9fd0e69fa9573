"""The data of the scorecard; ``test_book`` looks at the page in a browser."""

import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy.stats import norm

from lib.measures.intervals import Estimate
from lib.models.data import ROOT
from lib.study import claims, parameters, scorecard
from lib.study.claims import Claim
from lib.study.scorecard import Row, mark, positions, published

TEMPLATE = (ROOT / "book" / "scorecard.md").read_text()


def claim(low=0.0, high=math.inf, **changed):
    return Claim("x", "value", "It holds", "size", "section 1", "1.07", "nats", low, high, "the sign")._replace(
        **changed
    )


def row(
    claim, ours=None, part="The first part", verdict="undecided", id="", recorded=None, recorded_verdict="", here=True
):
    return Row(part, id or f"claim-{claim.value}", claim, ours, verdict, recorded, recorded_verdict or verdict, here)


@pytest.mark.parametrize(("value", "expected"), [(2, 0), (3, 0.25), (6, 1), (0, -0.5), (10, 2)])
def test_a_position_in_a_range_of_two_ends_is_in_units_of_its_width(value, expected):
    assert positions(claim(2, 6), Estimate(value, value, value, 9))[0]["value"] == expected


@pytest.mark.parametrize("ours", [(5, 4, 7), (-5, -7, -4), (1, -7, 2), (-6.5, -7, 3)])
def test_a_range_of_one_end_has_its_border_at_0_or_1_and_our_farthest_number_one_unit_away(ours):
    above, below = (positions(claim(*ends), Estimate(*ours, 9))[0] for ends in ((3, math.inf), (-math.inf, 3)))
    unit = max(abs(number - 3) for number in ours)
    for name, number in zip(("value", "low", "high"), ours, strict=True):
        assert above[name] == pytest.approx((number - 3) / unit)
        assert below[name] == pytest.approx(1 + (number - 3) / unit)
        assert (above[name] >= 0) == (number >= 3)
        assert (below[name] <= 1) == (number <= 3)
    assert all(-1 <= above[name] <= 1 for name in ("value", "low", "high"))


def test_on_the_border_itself_there_is_no_length_to_measure_by():
    exact = Estimate(14, 14, 14, 0)
    assert positions(claim(-math.inf, 14, published="14"), exact)[0] == {
        "value": 1,
        "low": 1,
        "high": 1,
        "published": 1,
    }
    assert positions(claim(14, math.inf), exact)[0]["value"] == 0


@pytest.mark.parametrize("ends", [(-1, 2), (0.5, math.inf), (-math.inf, 0.5)])
@pytest.mark.parametrize("low", [-3, -0.5, 0.6, 1.9, 3])
def test_an_interval_is_drawn_inside_where_the_claim_is_reproduced(ends, low):
    ours = Estimate(low + 0.1, low, low + 0.2, 9)
    (at,) = positions(claim(*ends), ours)
    reproduced = claims.verdict(claim(*ends), {"value": ours}) == "reproduced"
    assert reproduced == (at["low"] >= -1e-12 and at["high"] <= 1 + 1e-12)


@pytest.mark.parametrize(
    ("position", "x", "beyond"), [(-1.0, 5, 0), (0.0, 35, 0), (1.0, 65, 0), (2.0, 95, 0), (-1.01, 5, -1), (2.01, 95, 1), (1e9, 95, 1)]
)  # fmt: skip
def test_what_lies_beyond_the_window_is_drawn_at_its_end_and_said_to_be_beyond(position, x, beyond):
    assert mark(position) == (pytest.approx(x), beyond)


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("−0.242", "nats", -0.242),
        ("about 200", "nats", 200),
        ("gap .970", "gap, fewest digits", 0.97),
        ("4.4 times", "times", 4.4),
        ("1.07", "times the published", 1),
        ("4.4", "of the published median", None),
        (".678 to .006", "difference of the gaps", None),
        ("gap −.091 (printed .089)", "gap", None),
        ("6.89e-3 / 2.75e-2 = .25", "ratio", None),
        ("1 %", "share", None),
        ("exact", "nats", None),
        ("–", "nats", None),
    ],
)
def test_a_published_number_is_one_that_the_text_leaves_no_doubt_of(text, unit, expected):
    assert published(claim(published=text, unit=unit)) == expected


def test_every_claim_has_an_address_of_its_own():
    rows = scorecard.rows({}, {})
    ids = [row.id for row in rows]
    assert len(set(ids)) == len(ids) == sum(len(claims.claims(path.stem)) for path in parameters.notebooks())
    assert [name for name in ids if not re.fullmatch(r"[\w-]+", name)] == []
    assert "claim-line_densities-dip_memorised" in ids


def test_an_address_stays_when_claims_are_added_after_it(monkeypatch):
    listed = [claim(value="a"), claim(value="b"), claim(value="a", kind="direction")]
    monkeypatch.setattr(claims, "claims", lambda notebook: listed)
    before = list(claims.by_id("x"))
    assert before == ["claim-x-a", "claim-x-b", "claim-x-a-direction"]
    listed.append(claim(value="b", kind="ours"))
    assert list(claims.by_id("x"))[:3] == before


def test_kinds_are_counted_apart():
    decided = [("size", "reproduced"), ("size", "undecided"), ("ours", "holds"), ("size", "reproduced")]
    found = scorecard.counts([row(claim(kind=kind), verdict=verdict) for kind, verdict in decided])
    assert found == {"direction": {}, "size": {"reproduced": 2, "undecided": 1}, "identity": {}, "ours": {"holds": 1}}


def test_the_file_has_a_line_for_every_claim_with_its_numbers_in_full():
    rows = scorecard.rows({}, {})
    table = scorecard.table(rows)
    assert len(table) == len(rows)
    assert set(table["verdict"]) == {"not run"}
    assert list(dict.fromkeys(table["part"])) == list(parameters.parts())
    decided = row(claim(value="v", bar="good"), Estimate(1 / 3, 0.25, 0.5, 97, 3), verdict="reproduced")
    header, line, _ = scorecard.table([decided]).to_csv(index=False).split("\n")
    assert header == (
        "part,section,claim,kind,where,published,ours,low,high,n,unit,accepted_low,accepted_high,bar,verdict,reason,holm,"
        "recorded,recorded_low,recorded_high,recorded_n,recorded_verdict"
    )
    assert line == (
        "The first part,x,It holds,size,section 1,1.07,0.3333333333333333,0.25,0.5,97,nats,0.0,,good,reproduced,,True,"
        ",,,,reproduced"
    )


@pytest.mark.parametrize("range", [(1.0, math.inf), (-math.inf, 1.0), (1.0, 5.0), (-3.0, 1.0)])
@pytest.mark.parametrize("value", [0.5, 1.5])
def test_a_sample_as_large_as_is_said_decides_and_a_smaller_one_does_not(range, value):
    tested, reach = claim(*range), 3.0
    said = scorecard.reason(tested, "undecided", Estimate(value, value - reach, value + reach, 50))
    needed = float(re.search(r"stayed, ([\d.]+) times", said)[1])
    for times, decides in ((1.02 * needed, True), (0.98 * needed, False)):
        half = reach / math.sqrt(times)
        verdict = claims.verdict(tested, {"value": Estimate(value, value - half, value + half, 50)})
        assert (verdict != "undecided") == decides


def test_every_open_verdict_has_its_reason_and_no_other_has_one():
    at_the_border = Estimate(1.01, 0.0, 2.0, 50)
    assert "no feasible sample would decide" in scorecard.reason(claim(1.0), "undecided", at_the_border)
    assert "below its bar (good)" in scorecard.reason(claim(bar="good"), "not testable", at_the_border)
    assert scorecard.reason(claim(), "not run", None)
    assert not any(scorecard.reason(claim(), name, at_the_border) for pair in claims.KINDS.values() for name in pair)


class Texts(HTMLParser):
    """The texts and the tags of a page."""

    def __init__(self, page):
        super().__init__()
        self.texts, self.tags = [], []
        self.feed(page)

    def handle_data(self, data):
        self.texts.append(data)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)


def test_what_comes_from_claims_is_text_and_not_html():
    text = 'a < b & "c" <script>alert(1)</script>'
    hostile = claim(claim=text, where=text, published=text, unit=text, why=text)
    page = scorecard.page(TEMPLATE, [row(hostile, Estimate(1.0, 0.5, 1.5, 9), part=text)])
    plain = scorecard.page(TEMPLATE, [row(claim(), Estimate(1.0, 0.5, 1.5, 9))])
    found = Texts(page)
    assert found.tags.count("script") == Texts(plain).tags.count("script") == 1  # the filter
    assert sum(text in piece for piece in found.texts) >= 4


def test_claims_are_plain_text():
    """The page shows them as they are written, so that markup would be shown, too."""
    texts = [
        text
        for row in scorecard.rows({}, {})
        for text in (row.claim.claim, row.claim.published, row.claim.unit, row.claim.why)
    ]
    assert [text for text in texts if re.search(r"[$`*\\]|\{\w|\]\(", text)] == []


def test_a_claim_can_be_read_alone():
    assert [row.id for row in scorecard.rows({}, {}) if row.claim.claim.startswith(("...", "…"))] == []


def test_a_claim_shows_its_number_its_place_and_why():
    ours = Estimate(9.87, 9.01, 10.8, 97, 3)
    page = scorecard.page(TEMPLATE, [row(claim(0.316, 3.162, where="table 1"), ours, verdict="did not reproduce")])
    text = re.sub(r"\s+", " ", "".join(Texts(page[page.index('<li class="claim"') :]).texts))
    for part in (
        "It holds",
        "9.87 [9.01, 10.8]",
        "published 1.07",
        "✘ did not reproduce",
        "size",
        "n = 97, 3 without a value",
    ):
        assert part in text
    assert "table 1 · nats" in text
    assert "accepted 0.316 to 3.16: the sign" in text
    assert (
        page.count("<circle") == TEMPLATE.count('{{ plot("') - 2
    )  # of the key, but for that of recorded runs; this claim has an arrow
    assert '#beyond1" x="95.0%"' in page


def test_a_recorded_run_stands_beside_this_builds_in_the_same_units():
    ours, long = Estimate(2.0, 0.0, 8.0, 9), Estimate(3.0, 2.5, 3.5, 900)
    both = row(claim(2, 4), ours, recorded=long, recorded_verdict="reproduced")
    assert positions(both.claim, ours, long)[1] == {"value": 0.5, "low": 0.25, "high": 0.75}
    page = scorecard.page(TEMPLATE, [both])
    text = re.sub(r"\s+", " ", "".join(Texts(page[page.index('<li class="claim"') :]).texts))
    assert "ours 2 [0, 8]" in text
    assert "recorded 3 [2.5, 3.5]" in text
    assert "? undecided recorded ✔ reproduced" in text
    assert '<rect class="recorded" x="50.0%"' in page
    assert page.count('<ul class="totals">') == 2
    unit = positions(claim(0.0, math.inf), Estimate(1.0, 0.5, 1.5, 9), Estimate(3.0, 2.0, 4.0, 9))
    assert (unit[0]["high"], unit[1]["high"]) == (0.375, 1.0)  # one unit for both, that of the farthest number


def test_a_number_that_only_the_recorded_run_has_is_no_error_and_a_verdict_that_moved():
    """Such as the highest score of all images: the default sizes have no such number."""
    long = Estimate(3.0, 2.5, 3.5, 900)
    page = scorecard.page(
        TEMPLATE, [row(claim(2, 4), None, verdict="not run", recorded=long, recorded_verdict="reproduced")]
    )
    text = re.sub(r"\s+", " ", "".join(Texts(page[page.index('<details class="moved"') :]).texts))
    assert "x`: the same sizes It holds: – not run, recorded ✔ reproduced with 3 [2.5, 3.5]; a run of this size" in text


def around(value, sigma):
    """A normal estimate with its 95 % interval."""
    half = sigma * norm.ppf(0.975)
    return Estimate(value, value - half, value + half, 9)


def test_numbers_of_one_mean_differ_by_more_than_chance_in_five_of_a_hundred_pairs_of_runs():
    few, many = np.random.default_rng(0).normal(size=(2, 4000)) * [[0.5], [0.2]]
    said = [
        scorecard.change(row(claim(), around(a, 0.5), recorded=around(b, 0.2))) for a, b in zip(few, many, strict=True)
    ]
    assert np.mean(["more than chance" in words for words in said]) == pytest.approx(0.05, abs=0.01)
    assert all("agree" in words and "is 2.5 times as wide" in words for words in said if "chance" not in words)


@pytest.mark.parametrize(("at", "said"), [(2.5, "the numbers agree"), (-0.5, "the numbers differ")])
def test_what_a_change_is_for_depends_on_what_the_intervals_reach_towards_each_other(at, said):
    skewed, exact = Estimate(1.0, 0.9, 3.0, 9), Estimate(at, at, at, 0)
    assert scorecard.change(row(claim(), skewed, recorded=exact)).startswith(said)
    assert scorecard.change(row(claim(), exact, recorded=skewed)).startswith(said)


def test_a_change_from_what_one_of_the_runs_cannot_tell_has_the_reason_of_that_run():
    found, barred = around(1.0, 0.1), claim(bar="good")
    assert "no such number" in scorecard.change(row(barred, None, verdict="not run", recorded=found))
    said = scorecard.change(row(barred, found, recorded=found, verdict="holds", recorded_verdict="not testable"))
    assert said == scorecard.reason(barred, "not testable", found)


def test_a_change_has_the_sizes_that_the_runs_have_not_alike():
    value = {"dip_memorised": {"value": 1.0, "low": 1.0, "high": 1.0, "n": 3, "missing": 0}}
    here, long = (
        {"line_densities": {"values": value, "parameters": sizes}}
        for sizes in ({"models": 4, "rank": 14, "results": "a"}, {"models": 10, "rank": 14, "results": "b"})
    )
    assert {found.sizes for found in scorecard.rows(here, long) if found.claim.notebook == "line_densities"} == {
        "`models` 4 and 10"
    }
    assert {found.sizes for runs in ((here, {}), ({}, long)) for found in scorecard.rows(*runs)} == {""}


def test_a_section_that_was_only_recorded_says_so_and_counts_once():
    alone = row(claim(2, 4), Estimate(3.0, 2.5, 3.5, 900), verdict="reproduced", here=False)
    page = scorecard.page(TEMPLATE, [alone])
    assert "<dt>recorded</dt>" in page
    assert page.count('<ul class="totals">') == 1
    assert "In this build" not in page


def test_rows_take_this_builds_numbers_and_else_the_recorded_ones():
    def record(value):
        return {"values": {"dip_memorised": {"value": value, "low": value, "high": value, "n": 3, "missing": 0}}}

    def found(*runs):
        return next(row for row in scorecard.rows(*runs) if row.claim.value == "dip_memorised")

    both, long = (
        found({"line_densities": record(1.0)}, {"line_densities": record(-1.0)}),
        {"line_densities": record(-1.0)},
    )
    assert (both.ours.value, both.recorded.value, both.here) == (1.0, -1.0, True)
    assert both.verdict != both.recorded_verdict
    alone = found({}, long)
    assert (alone.ours.value, alone.recorded, alone.here) == (-1.0, None, False)
    assert alone.verdict == alone.recorded_verdict == both.recorded_verdict


def test_a_verdict_whose_interval_touches_the_border_has_five_per_cent():
    inside, outside = Estimate(1.0, 0.0, 9.0, 9), Estimate(-1.0, -9.0, 0.0, 9)
    assert scorecard.p_value(claim(0.0, math.inf), inside) == pytest.approx(0.05)
    assert scorecard.p_value(claim(0.0, math.inf), outside) == pytest.approx(0.05)
    assert scorecard.p_value(claim(0.0, math.inf), inside._replace(low=0.5)) == pytest.approx(2 * norm.sf(1.959964 * 2))
    assert scorecard.p_value(claim(-9.0, 3.0), Estimate(2.0, 0.0, 3.0, 9)) == pytest.approx(0.05)  # the nearer border
    assert scorecard.p_value(claim(0.0, 1.0), Estimate(0.0, -1.0, 1.0, 9)) == 1


def test_holm_stops_at_the_first_that_is_not_small_enough():
    assert scorecard.holm([0.01, 0.02, 0.03]) == [True, True, True]
    assert scorecard.holm([0.04, 0.01, 0.03]) == [False, True, False]
    assert scorecard.holm([]) == []


def test_holm_rejects_a_true_hypothesis_in_no_more_than_five_per_cent():
    p = np.random.default_rng(0).random((4000, 20))
    assert np.mean([any(scorecard.holm(each)) for each in p.tolist()]) == pytest.approx(0.05, abs=0.01)


def test_what_has_no_interval_or_is_not_testable_is_not_among_those_tested():
    sure, exact = Estimate(1.0, 0.9, 1.1, 9), Estimate(1.0, 1.0, 1.0, 0)
    listed = [
        row(claim(0.0, math.inf), sure, id="a"),
        row(claim(0.0, math.inf), exact, id="b"),
        row(claim(0.0, math.inf), sure, id="c", verdict="not testable"),
        row(claim(0.0, math.inf), None, id="d", verdict="not run"),
        row(claim(0.0, math.inf), Estimate(1.0, 0.01, 2.0, 9), id="e"),
    ]
    assert scorecard.corrected(listed) == {"a": True, "e": True}
    many = [*listed, *(row(claim(0.0, math.inf), Estimate(0.1, -1.0, 1.2, 9), id=f"{k}") for k in range(9))]
    assert scorecard.corrected(many)["a"]
    assert not scorecard.corrected(many)["e"]
