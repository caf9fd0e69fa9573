import math

import numpy as np
import pytest

from lib.measures.intervals import Estimate
from lib.study import tables


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12345, "12,345"),
        (-3, "−3"),
        (np.int64(7), "7"),
        (True, "yes"),
        (None, "–"),
        (math.nan, "–"),
        (-0.04567, "−0.0457"),
        (np.float64(2.0), "2"),
        (Estimate(1.0, -0.5, 2.0, 9), "1 [−0.5, 2]"),
        ("as it is", "as it is"),
    ],
)
def test_a_cell_is_written_by_its_kind(value, text):
    assert tables.cell(value) == text


def test_a_table_is_markdown_with_numbers_to_the_right():
    frame = tables.rows(("model", "gap"), [("GLO", 0.25), ("DCGAN", -0.125)])
    header, rule, *rows = tables.markdown(frame).splitlines()
    assert [part.strip() for part in header.strip("|").split("|")] == ["model", "gap"]
    left, right = (part.strip() for part in rule.strip("|").split("|"))
    assert left.startswith(":")
    assert right.endswith(":")
    assert [part.strip() for part in rows[1].strip("|").split("|")] == ["DCGAN", "−0.125"]


def test_an_empty_table_keeps_its_header():
    assert "model" in tables.markdown(tables.rows(("model", "gap"), []))


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="zip"):
        tables.rows(("model", "gap"), [("GLO",)])


def test_shares_are_percentages_with_their_interval():
    assert tables.percent(Estimate(0.25, 0.1, 0.4, 9)) == "25% [10%, 40%]"
    assert tables.percent(-0.5) == "−50%"
