"""Questions to check oneself on a page: native radio buttons, each answer with what to think of it.

Which answer was right is in the page, as it has to be where there is no server. Without scripts the words appear all
the same, by the style alone; the script counts, and tells screen readers.
"""

import hashlib
import html
import re
from collections.abc import Sequence

from lib.study.lessons import Choice, Question


def form(name: str, quiz: Sequence[Question]) -> str:
    """The questions of a section as HTML without an empty line, as Markdown passes it on.

    Args:
        name: the section, which the buttons are named after.
        quiz: its questions.
    """
    sets = [_question(f"{name}-{number}", question) for number, question in enumerate(quiz, 1)]
    said = '<output class="quiz-score" role="status"></output><span class="quiz-said" aria-live="polite"></span>'
    script = '<script defer src="../_static/quiz.js"></script>'
    return "\n".join([f'<form class="quiz" data-questions="{len(quiz)}">', *sets, said, "</form>", script])


def _question(name: str, question: Question) -> str:
    shuffled = sorted(question.choices, key=lambda choice: hashlib.sha256((name + choice.text).encode()).digest())
    choices = [_choice(name, f"{name}-{index}", choice) for index, choice in enumerate(shuffled)]
    return "\n".join([f"<fieldset><legend>{inline(question.question)}</legend>", *choices, "</fieldset>"])


def _choice(group: str, name: str, choice: Choice) -> str:
    verdict, mark = ("right", "✔") if choice.right else ("wrong", "✘")
    return (
        f'<div class="choice"><input type="radio" name="{group}" id="{name}"><label for="{name}">'
        f'{inline(choice.text)}</label><p class="feedback {verdict}">{mark} {inline(choice.feedback)}</p></div>'
    )


def inline(text: str) -> str:
    r"""A line of Markdown with formulas and code as HTML.

    Example:
        >>> inline("half of $a<b$, or `x`")
        'half of <span class="math notranslate nohighlight">\\(a&lt;b\\)</span>, or <code>x</code>'
    """
    escaped = html.escape(text, quote=False)
    formulas = re.sub(r"\$([^$]+)\$", r'<span class="math notranslate nohighlight">\\(\1\\)</span>', escaped)
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", formulas)
