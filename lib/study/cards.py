"""What a term, a symbol or an equation means, and a claim says, for the cards that a page shows at pointer and focus.

They are those of glossary, notation, sections and scorecard; ``book/_static/cards.js`` shows them.
"""

import html
import json
import re
from collections.abc import Iterable

import nbformat

from lib.study import claims
from lib.study.quizzes import inline
from lib.study.scorecard import Row

TERM = re.compile(r"^(\w.*(?:\n\w.*)*)\n  (.+)$", re.MULTILINE)
EQUATION = re.compile(r"^\$\$\n(.*?)^\$\$ \((eq-[\w-]+)\)$", re.MULTILINE | re.DOTALL)
SYMBOL = re.compile(r"\$([^$]+)\$")
WHOLE = re.compile(
    r"(^(?:#|:::|\|)[^\n]*|<form.*?</form>|```.*?```|\$\$.*?\$\$|\$[^$]+\$|\{[\w:]+\}`[^`]*`|`[^`]*`|<[\w/!][^>]*>|"
    r"\[[^]]*\]\([^)]*\))",
    re.MULTILINE | re.DOTALL,
)
"""what is not a sentence"""
ELSEWHERE = {"bar", "code", "codes", "copied", "decay", "dimension", "dose", "evidence", "fold", "gap", "identity"}
ELSEWHERE |= {"influential", "metric", "null", "prior", "rank"}
"""terms that are ordinary words, or have another meaning somewhere"""
ROLE = re.compile(r"\{(?:term|doc|ref)\}`(?:\.\./notebooks/)?([^`<]+?)(?: <\w+>)?`")


def script(glossary: str, notation: str, sections: Iterable[str], decided: Iterable[Row]) -> str:
    """The script that holds all cards: by the anchors of terms, equations and claims, and by the formula of a symbol.

    Args:
        glossary: the page of terms.
        notation: the page with a table of symbols.
        sections: texts with equations.
        decided: the lines of the scorecard.
    """
    cards = {f"term-{_anchor(name)}": meaning for name, meaning in terms(glossary)}
    cards |= {f"\\({name}\\)": meaning for name, meaning in symbols(notation)}
    for text in sections:
        cards |= {f"equation-{label}": html.escape(f"\\[{formula}\\]") for formula, label in EQUATION.findall(text)}
    cards |= {row.id: claim(row) for row in decided}
    return f"window.cards = {json.dumps(cards, ensure_ascii=False)};\n"


def claim(row: Row) -> str:
    """A claim as HTML: its sentence, what was published, the range that decides, and what this edition finds."""
    one = row.claim
    lines = [f"{one.claim} ({one.where})", f"published: {one.published}; accepted {claims.accepted(one)}"]
    found = [("this build" if row.here else "recorded", row.ours, row.verdict)]
    found += [("recorded", row.recorded, row.recorded_verdict)] if row.recorded else []
    for run, ours, verdict in found:
        number = f"{run}: {claims.written(ours)} {one.unit}, " if ours else ""
        lines.append(f"{number}{claims.VERDICTS[verdict]}")
    return "<br>".join(map(html.escape, lines))


def terms(glossary: str) -> Iterable[tuple[str, str]]:
    r"""The terms of a glossary, each with its meaning as HTML.

    Example:
        >>> list(terms("```{glossary}\ncode\ncodes\n  A {term}`latent`, see {doc}`../notebooks/decay`.\n```"))
        [('code', 'A latent, see decay.'), ('codes', 'A latent, see decay.')]
    """
    for names, meaning in TERM.findall(glossary.partition("```{glossary}\n")[2]):
        said = inline(ROLE.sub(lambda role: role[1].replace("_", " "), meaning))
        yield from ((name, said) for name in names.splitlines())


def symbols(notation: str) -> Iterable[tuple[str, str]]:
    r"""The symbols of a table with columns for symbol, code, meaning and unit, each with its row's meaning as HTML.

    Example:
        >>> list(symbols("| symbol | in code | meaning | unit |\n|---|---|---|---|\n| $m$ | `m` | sizes | – |"))
        [('m', '<span class="math notranslate nohighlight">\\(m\\)</span>: sizes')]
    """
    rows = (line[2:-2].split(" | ") for line in notation.splitlines() if line.startswith("| "))
    for names, _, meaning, unit in (row for row in rows if len(row) == 4):
        said = inline(f"{names}: {meaning}" if unit == "–" else f"{names}: {meaning}; {unit}")
        yield from ((html.unescape(name), said) for name in SYMBOL.findall(names))


def linked(notebook: nbformat.NotebookNode, names: Iterable[str]) -> None:
    """Link each term to the glossary where a page has it first, but for words that mean something else elsewhere.

    Left alone are headings, formulas, code, links, and terms that are linked already.

    Args:
        notebook: the page, whose Markdown is changed.
        names: terms.
    """
    there = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    wanted = {name for name in names if f"{{term}}`{name}`" not in there} - ELSEWHERE
    for cell in (cell for cell in notebook.cells if cell.cell_type == "markdown"):
        parts = WHOLE.split(cell.source)
        for place in range(0, len(parts), 2):  # what is between what is to be left alone
            for name in sorted(wanted, key=len, reverse=True):
                parts[place], found = re.subn(
                    rf"(?<![\w`-]){re.escape(name)}(?![\w`-])", f"{{term}}`{name}`", parts[place], count=1
                )
                wanted -= {name} if found else set()
        cell.source = "".join(parts)


def _anchor(term: str) -> str:
    return re.sub(r"\W+", "-", term)
