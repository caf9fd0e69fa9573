"""The page of what is not here counts its own rows, leads to sections that exist, and quotes their sizes."""

import re
from pathlib import Path

from lib.study import parameters

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "book/not_here.md").read_text()
OPENING, *WORKS = re.split(r"^## ", PAGE, flags=re.MULTILINE)
STATUSES = ("done", "analogue", "not here")
LINK = re.compile(r"\{doc\}`([^`]+)`")


def rows(text, first):
    """The rows of the table whose first column has that title, as cells."""
    table = text.partition(f"\n| {first} |")[2].partition("\n\n")[0]
    return [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]


def status(row):
    return row[2].partition(":")[0]


def counts(work):
    found = [status(row) for row in rows(work, "place in the work")]
    return tuple(found.count(name) for name in STATUSES)


def test_every_row_has_one_of_three_statuses_and_a_section_if_something_is_run():
    for row in (row for work in WORKS for row in rows(work, "place in the work")):
        assert len(row) == 4, row
        assert status(row) in STATUSES, row
        assert bool(LINK.search(row[2])) == (status(row) != "not here"), row
        assert all(cell.strip() for cell in row), row


def test_no_place_is_listed_twice_with_the_same_words():
    for work in WORKS:
        places = [tuple(row[:2]) for row in rows(work, "place in the work")]
        assert sorted(set(places)) == sorted(places)


def test_the_opening_counts_the_rows():
    by_work = [counts(work) for work in WORKS]
    assert len(by_work) == 4
    opening = OPENING.strip().splitlines()[2]
    assert [tuple(map(int, three)) for three in re.findall(r"(\d+) / (\d+) / (\d+)", opening)] == by_work
    totals = [sum(column) for column in zip(*by_work, strict=True)]
    assert [int(number) for number in re.findall(r"\*\*(\d+) ", opening)] == totals
    assert f"hold {sum(totals)} items" in opening


def test_every_link_leads_to_a_page():
    for target in LINK.findall(PAGE):
        path = (ROOT / "book" / target).resolve()
        assert path.with_suffix(".ipynb").exists() or path.with_suffix(".md").exists(), target


def test_sizes_are_the_defaults_of_the_sections():
    sizes = [row for work in WORKS for row in rows(work, "size")]
    assert len(sizes) > 30
    for row in sizes:
        name, notebook = re.fullmatch(r"`(\w+)`, \{doc\}`\.\./notebooks/(\w+)`", row[1]).groups()
        default = parameters.declared(parameters.find(notebook))[name].default
        quoted = [float(number) for number in re.findall(r"\d+\.?\d*", re.sub(r"(\d),(\d{3})", r"\1\2", row[2]))]
        assert quoted == [float(value) for value in (default if isinstance(default, list) else [default])], row


def test_passes_over_the_images_are_those_of_the_defaults():
    known = parameters.declared(parameters.find("intrinsic_dimension"))
    seen = known["steps"].default * known["batch"].default
    few, many = seen / known["examples"].default, seen / 60_000
    words = f"60,000 images {many:.1f} times on average, the memorised one each of its 100 images {few:.0f} times"
    assert words in PAGE
