"""Private words of earlier versions that no text for people may use any more.

The tests of reports, of help texts and of the documentation import `find_old_words`.
"""

import re

OLD_WORDS = {
    # "wall clock" and "wall time" are usual terms, and `wall` is the name of a clock.
    "wall": r"walls?\b(?![- ](?:clock|time)s?\b)(?![`\"])",
    "behind a": r"behind an?\b",
    "box": r"box(?:es)?\b",
    "jail": r"jail(?:s|ed)?\b",
    "warm process": r"warm process(?:es)?\b",
    "specimen": r"specimens?\b",
    "proof": r"proofs?\b",
    "prove": r"prov(?:e|es|ed|en|ing)\b",
    "pace": r"paces?\b",
    "figure": r"figures?\b(?! out\b)",
    "held": r"held\b(?![- ]out\b)",  # "held-out" data is a usual term
    "lent": r"(?:lent|lending)\b",
    "pupil": r"pupils?\b",
    "undenied": r"undenied\b",
    "squeeze": r"squeez(?:e|es|ed|ing)\b",
    "ballast": r"ballast\b",
    "unlucky": r"unlucky\b",
    "mend": r"mend(?:s|ed|ing)?\b",
    "empty call": r"empty calls?\b",
    "oddest": r"oddest\b",
    "fair seed": r"fair[ _-]seeds?\b",
}
"""Each word with the regular expression of its forms; a form starts a word."""

_PATTERNS = {word: re.compile(rf"(?<![\w-]){form}", re.I) for word, form in OLD_WORDS.items()}
_CONTEXT_CHARS = 30


def find_old_words(text: str) -> list[str]:
    """Return every old word in `text` with the text around it, in the order of `OLD_WORDS`."""
    line = " ".join(text.split())
    return [
        f"{word}: …{line[max(0, at.start() - _CONTEXT_CHARS) : at.end() + _CONTEXT_CHARS]}…"
        for word, pattern in _PATTERNS.items()
        for at in pattern.finditer(line)
    ]
