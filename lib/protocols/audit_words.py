"""An audit in three sentences, and as plain data for files."""

from collections.abc import Iterator

from lib.measures.intervals import Estimate, number
from lib.protocols.audit_decoder import UNDECIDED
from lib.protocols.audit_results import LEVEL, Audit, Control, Finding, Section
from lib.protocols.audit_samples import PAIRED

FORMAT = 2
"""of the plain data; a change of its fields is another"""
FEW = 0.1
"""A detection limit above this share says that there were too few images or samples to see much."""
DIFFER = (
    "Training and held-out images differ without any model, so that a difference below may be theirs and not the "
    "generator's: of samples, what they add to real training images in their place counts"
)
LEADS = {
    "nearer to training": "{} of the samples are nearer to a training image than to any held-out one",
    "near copies": "{} of the samples are near copies of a training image",
    "C_T": "in {} of pairs a sample is nearer to the training images than a held-out image is",
    "authenticity": "{} of the samples are farther from a training image than it is from its own neighbour",
    "recovery gap": "the median recovery error of training images is {} below that of held-out images",
    "decay": "the density falls by {} more about training images",
    "log volume": "the decoder's volume about training images is smaller by {}",
    "local dimension": "the decoder has {} fewer about training images",
    "reconstruction gap": "the median reconstruction error of training images is {} below that of held-out images",
    "K-fold score": "models know what they were trained with: it has a score of {}",
    "membership attack": "models know what they were trained with: they tell it from other images at {}",
    "log probability": "training images are more probable than held-out images by {}",
}
"""what a finding is in words"""


def sentences(audit: Audit) -> tuple[str, str, str]:
    """What was found; what was tested and what was not; how sure that is."""
    return _found(audit), _tested(audit), _sure(audit)


def p_text(p: float | None) -> str:
    """A p value as words say it.

    Example:
        >>> p_text(0.001), p_text(0.3)
        ('p = 0.001', 'p = 0.3')
    """
    return "no test" if p is None else f"p = {number(p)}"


def _found(audit: Audit) -> str:
    differ = audit.exchangeable.differ
    parts = [_said(section, differ) for section in audit.sections.values() if section.findings and not section.skipped]
    if audit.per_image is not None:
        of = f"{audit.per_image.named():,} of {audit.counts.compared:,} training images"
        parts.append(f"{of} are named at a false discovery rate of 5 %")
    if differ:
        parts.insert(0, DIFFER)
    return "; ".join(parts) + "." if parts else "Nothing was measured."


def _said(section: Section, differ: bool) -> str:
    """What all tests of a section say, and the number most beyond chance; of sides that differ, what is added."""
    tested = [each for each in section.findings if each.p is not None]
    if not tested:
        return f"{_capital(section.access)}: no test"
    most, joint, counted = min(tested, key=lambda each: each.p), section.joint, "all tests together"
    verdicts = "nothing beyond chance", "more than chance explains"
    if differ and section.added is not None:
        paired = [each for each in tested if each.name in PAIRED]
        most, joint, counted = max(paired, key=lambda each: each.added.low), section.added, "tests of the nearer side"
        verdicts = "nothing beyond real images", "more than real images would show"
    verdict = verdicts[joint is not None and joint <= LEVEL]
    return f"{_capital(section.access)}: {verdict} ({counted} {p_text(joint)}); {_lead(most, differ)}"


def _lead(most: Finding, differ: bool) -> str:
    """A finding in words."""
    shown = _rate(most.value) if most.unit == "share" else f"{most.value} {most.unit}"
    chance = ""
    if differ and most.real is not None:
        chance = f", where real training images have {_rate(most.real)}"
    elif most.null is not None:
        low, high = (_percent(end) if most.unit == "share" else number(end) for end in most.null)
        chance = f", where chance gives {low} to {high}"
    name = most.name.removesuffix(UNDECIDED)
    undecided = ", undecided because the search is what is measured" if name != most.name else ""
    return LEADS.get(name, f"{name} is {{}}").format(shown) + chance + undecided


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _tested(audit: Audit) -> str:
    counts = audit.counts
    done = [name for name, section in audit.sections.items() if not section.skipped]
    reasons = [each.skipped.rstrip(".") for each in audit.sections.values() if each.skipped]
    skipped = [
        f"{_and([name for name, each in audit.sections.items() if each.skipped.rstrip('.') == reason])} ({reason})"
        for reason in dict.fromkeys(reasons)
    ]
    tested = f"Tested: {', '.join(done) or 'nothing'}, on {counts.compared:,} training and as many held-out images"
    if counts.compared_samples:
        tested += f" and {counts.compared_samples:,} samples"
    beyond = ["copies of a part of an image, or of what it shows"]
    if counts.train > counts.compared:
        beyond.insert(0, f"the other {counts.train - counts.compared:,} training images")
    return f"{tested}; not tested: {', '.join([*skipped, *beyond])}."


def _sure(audit: Audit) -> str:
    planted = audit.told("decoder").limit
    if planted is None:
        return _sure_of_samples(audit)
    told = "Training images planted in this decoder would not have been seen in 95 % of trials, not even all."
    if planted.share is not None:
        share = _percent(planted.share)
        told = f"Training images planted in this decoder would have been seen as often if they were {share} of all."
    return f"{_sure_of_samples(audit)} {told}"


def _sure_of_samples(audit: Audit) -> str:
    section = audit.told("samples")
    alarms = section.false_alarms
    if not audit.limits or alarms is None:
        return "How little would have been seen is not known, since there were no samples to plant copies in."
    seen = [f"{_percent(each.share)} of the samples ({each.kind})" for each in audit.limits if each.share is not None]
    unseen = [each.kind for each in audit.limits if each.share is None]
    few = [each.kind for each in audit.limits if each.share is None or each.share > FEW]
    parts = [
        f"Copies planted among these samples would have been seen in 95 % of trials if they were {_and(seen, 'or')}"
    ]
    parts += [f"not even samples that are all {_and(unseen, 'or')} copies would have been seen so often"] * bool(unseen)
    flagged = f"{_rate(alarms)} of {alarms.n} shams, where 5 % are due"
    parts.append(f"held-out images tested against themselves were flagged in {flagged}")
    parts += [f"too few images or samples to see a small share of {_and(few, 'or')} copies"] * bool(few)
    told = "; ".join(parts[not seen :])
    return f"{_capital(told)}."


def _and(parts: list[str], word: str = "and") -> str:
    return f"{', '.join(parts[:-1])} {word} {parts[-1]}" if len(parts) > 1 else "".join(parts)


def _percent(share: float) -> str:
    return f"{number(100 * share)} %"


def _rate(value: Estimate) -> str:
    return f"{number(100 * value.value)} % [{number(100 * value.low)}, {number(100 * value.high)}]"


def plain(audit: Audit) -> dict:
    """The audit as dictionaries, lists, texts and numbers; the images themselves are in :func:`rows`."""
    return {
        "format": FORMAT,
        "sentences": list(sentences(audit)),
        "notes": list(audit.notes),
        "counts": _plain(audit.counts),
        "seed": audit.seed,
        "sides": {name: _plain(getattr(audit.exchangeable, name)) for name in ("auc", "p", "noticed", "differ")},
        "sections": _plain(list(audit.sections.values())),
        "limits": _plain(audit.limits),
        "named": None if audit.per_image is None else audit.per_image.named(),
    }


def _plain(value: object) -> object:
    """Named tuples as dictionaries, other tuples as lists; controls say where they are blind."""
    if isinstance(value, Control):
        return {"blind": value.blind} | {name: _plain(part) for name, part in value._asdict().items()}
    if hasattr(value, "_asdict"):
        return {name: _plain(part) for name, part in value._asdict().items() if name != "recipe"}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def rows(audit: Audit) -> Iterator[tuple]:
    """A line of names, then one of each training image: place, ratio, p, q, nearest sample and held-out image."""
    found = audit.per_image
    if found is not None:
        yield found._fields
        yield from zip(*(column.tolist() for column in found), strict=True)
