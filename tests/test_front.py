import base64

import nbformat

from lib.study import front

PNG = b"\x89PNG the picture"
NUMBER = {"value": 1.0, "low": 0.5, "high": 1.5, "n": 9, "missing": 0}


def notebook():
    output = nbformat.v4.new_output(
        "display_data",
        {"image/png": base64.b64encode(PNG).decode(), "text/plain": ""},
        metadata={"image/png": {"alt": "Two lines."}},
    )
    meta = {"mystnb": {"figure": {"name": "fig-a", "caption": "there"}}}
    cells = [nbformat.v4.new_code_cell("x"), nbformat.v4.new_code_cell("y", metadata=meta, outputs=[output])]
    return nbformat.v4.new_notebook(cells=cells)


TEXT = "before\n\n<!-- picture section fig-a -->\nits caption\n\nafter [[dip]] and [[other]]"


def test_numbers_are_those_of_the_runs():
    found = front.numbers(TEXT, {"section": {"values": {"dip": NUMBER}}, "more": {}})
    assert found.endswith("after 1 [0.5, 1.5] and not run")
    claimed = front.numbers("[[decay_memorised]]", {"decay": {"values": {"decay_memorised": NUMBER}}})
    assert claimed == '<a href="../book/scorecard.html#claim-decay-decay_memorised">1 [0.5, 1.5]</a>'


def test_the_picture_is_that_of_the_run_with_its_text_and_the_caption_of_the_page():
    text, content = front.with_picture(TEXT, {"section": notebook()})
    assert content == PNG
    assert ":alt: Two lines." in text
    assert "its caption\n```\n\nafter" in text
    assert text.startswith("before\n\n```{figure} front.png")


def test_without_the_section_there_is_neither_picture_nor_caption():
    text, content = front.with_picture(TEXT, {})
    assert content is None
    assert text == "before\n\nafter [[dip]] and [[other]]"
    changed = notebook()
    changed.cells[1].outputs = []
    assert front.with_picture(TEXT, {"section": changed}) == (text, None)
    assert front.with_picture("no picture", {}) == ("no picture", None)
