"""The README and the pages use the field's words, one for each thing."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, GENERATED, PAGES, name_of

OLD_WORDS = (
    *(r"walls?(?![- ]clock)", r"jail(ed|s)?", r"warm process(es)?", r"specimens?", r"pupils?"),
    *(r"take in", r"taken in", r"squeezed?", r"ballast", r"undenied", r"lending", r"lent"),
    *(r"held points", r"points held", r"unlucky", r"fair seed", r"empty calls?"),
    *(r"the box", r"a box", r"boxes", r"silent wire", r"wire", r"mend(ed|s)?", r"figures?"),
)
"""Words of an earlier version, as regular expressions that stand for whole words."""

WRITTEN = tuple(page for page in PAGES if page not in {DOCS / name for name in GENERATED})
"""Pages written by hand; the words of the others are those of the code."""


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_no_old_word_is_left(page: Path) -> None:
    found = [
        f"line {number}: {match[0]!r}"
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1)
        for word in OLD_WORDS
        for match in re.finditer(rf"\b(?:{word})\b", line, re.IGNORECASE)
    ]
    assert found == []
