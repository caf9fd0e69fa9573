"""Numbers to take away: what a figure draws, what a table says, and what an interval is made of."""

import csv
import io

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup

from lib.measures.intervals import Estimate, estimate
from lib.study import downloads, drawn, figures, grids, items, pages, recorded


@pytest.fixture
def axis():
    figure, axis = plt.subplots()
    yield axis
    plt.close(figure)


def rows(axis):
    """What is read from the figure of an axis, without names: kind, and the numbers that are there."""
    read = csv.reader(io.StringIO(drawn.numbers(axis.figure)))
    assert tuple(next(read)) == drawn.COLUMNS
    return [(kind, *(float(x) if x else None for x in numbers)) for _, kind, _, *numbers in read]


def test_estimates_keep_their_intervals(axis):
    values = [Estimate(2.0, 1.0, 5.0, 9), Estimate(-3.0, -4.0, -2.5, 9)]
    figures.estimates(axis, [10.0, 20.0], values, color="k", label="a, b")
    assert rows(axis) == [("estimate", 10, 2, 1, 5), ("estimate", 20, -3, -4, -2.5)]
    assert '"a, b"' in drawn.numbers(axis.figure)


def test_estimates_along_x_do_so_too(axis):
    grids.marks(axis, ["first", "second"], {"a": [Estimate(2.0, 1.0, 5.0, 9), Estimate(0.0, -1.0, 1.0, 9)]})
    marks = [row for row in rows(axis) if row[0] == "estimate on x"]
    assert [(row[1], *row[3:]) for row in marks] == [(2, 1, 5), (0, -1, 1)]


def test_an_estimate_of_no_width_is_not_turned(axis):
    axis.errorbar([1, 2], [3, 4], yerr=[0, 0])
    assert rows(axis) == [("estimate", 1, 3, 3, 3), ("estimate", 2, 4, 4, 4)]


def test_bars_stand_on_what_is_below_them(axis):
    axis.bar([0, 1], [2, 3], bottom=[1, 0])
    axis.barh([5], [7])
    assert rows(axis) == [("bar", 0, 3, 1, 3), ("bar", 1, 3, 0, 3), ("bar on x", 7, 5, 0, 7)]


def test_points_bands_and_lines_across(axis):
    axis.scatter([1, 2], [3, 4])
    axis.fill_between([0, 1], [0, 0], [1, 2])
    axis.axvline(6)
    found = rows(axis)
    assert [row for row in found if row[0] == "point"] == [("point", 1, 3, None, None), ("point", 2, 4, None, None)]
    assert {row[1:3] for row in found if row[0] == "band"} == {(0, 0), (0, 1), (1, 0), (1, 2)}
    assert [row for row in found if row[0] == "line"] == [("line", 6, None, None, None)]


def test_a_grid_is_numbers_and_a_picture_is_none(axis):
    grids.percentages(axis, np.array([[0.25, 0.5]]), ["a", "b"])
    assert rows(axis) == [("grid", 0, 0.25, None, None), ("grid", 1, 0.5, None, None)]
    axis.clear()
    axis.imshow(np.zeros((60, 60)))
    axis.imshow(np.zeros((4, 4, 3)))
    assert rows(axis) == []


def test_of_many_points_some_are_written_from_the_first_to_the_last(axis):
    axis.plot(np.arange(60_000), np.arange(60_000) / 2)
    axis.scatter(np.arange(drawn.MANY), np.zeros(drawn.MANY))
    line, cloud = ([row[1:3] for row in rows(axis) if row[0] == kind] for kind in ("line", "point"))
    assert len(line) == drawn.MANY
    assert line[0] == (0, 0)
    assert line[-1] == (59_999, 29_999.5)
    steps = np.diff([x for x, _ in line])
    assert steps.min() >= 29
    assert steps.max() <= 31
    assert len(cloud) == drawn.MANY


def test_a_strip_of_images_is_no_panel(axis):
    figures.image_strip(axis, np.zeros((3, 4, 4)))
    assert rows(axis) == []


def test_a_table_is_what_it_shows():
    text = "| claim \\| kind | ours |\n|:--|--:|\n| a, b | −1,000 |\n| $c$ | – |"
    assert list(csv.reader(io.StringIO(downloads.from_markdown(text)))) == [
        ["claim | kind", "ours"], ["a, b", "-1,000"], ["$c$", "–"],
    ]  # fmt: skip


def test_items_are_the_numbers_that_went_in():
    values = torch.tensor([1.5, 2.25, 3.0])
    lines = list(downloads.listed(items.pack({"a": estimate(values), "b": Estimate(1.0, 1.0, 1.0, 0)})))
    assert lines == ["estimate,array,index,number", "a,0,0,1.5", "a,0,1,2.25", "a,0,2,3"]


def test_a_page_links_what_it_writes(tmp_path):
    figure = nbformat.v4.new_output(
        "display_data", {"image/png": ""}, metadata={"image/png": {"numbers": "panel\n1\n"}}
    )
    cell = nbformat.v4.new_code_cell("", id="f", outputs=[figure], metadata={"mystnb": {"figure": {"caption": "C."}}})
    table = nbformat.v4.new_output("display_data", {"text/markdown": "before\n\n| a |\n|--:|\n| 1 |\n\nafter"})
    claims = nbformat.v4.new_code_cell("", id="t", outputs=[table], metadata={"tags": ["claims"]})
    made = nbformat.v4.new_notebook(cells=[cell, claims])
    downloads.with_files(made, "n", items.pack({"a": estimate(torch.arange(4.0))}), tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "n-f-0.csv": "panel\n1\n",
        "n-t-0.csv": "a\n1\n",
        "n-items.csv": "estimate,array,index,number\na,0,0,0\na,0,1,1\na,0,2,2\na,0,3,3",
    }
    assert cell.metadata.mystnb.figure.caption == "C. {download}`The numbers of this figure (CSV) <n-f-0.csv>`"
    text = table.data["text/markdown"]
    assert text.index("| 1 |") < text.index("n-t-0.csv") < text.index("after") < text.index("n-items.csv")


def test_every_table_of_a_recorded_page_can_be_taken_away(tmp_path):
    section = recorded.read("decay")
    page = pages.render_one((section.job, section.record), tmp_path / "html")
    soup = BeautifulSoup(page.read_text(), "html.parser")
    tables = soup.select(".cell_output table")
    found = [link for link in soup.select(".cell_output a.download") if not link.find_parent("figcaption")]
    links = [page.parent / link["href"] for link in found]
    assert len(tables) > 3
    assert len(links) == len(tables) + 1
    for table, path in zip(tables, links, strict=False):
        written = list(csv.reader(io.StringIO(path.read_text())))
        assert len(written) == len(table.select("tr"))
        assert {len(row) for row in written} == {len(table.select("thead th"))}
    estimates = {row["estimate"] for row in csv.DictReader(io.StringIO(links[-1].read_text()))}
    assert estimates == {name for name, value in section.record["values"].items() if value["n"]}
