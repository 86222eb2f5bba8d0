"""The README and the pages use the field's words, one for each thing."""

from pathlib import Path

import pytest

from tests.docs.pages import DOCS, GENERATED, PAGES, name_of
from tests.old_words import find_old_words

WRITTEN = tuple(page for page in PAGES if page not in {DOCS / name for name in GENERATED})
"""Pages written by hand; the words of the others are those of the code."""


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_no_old_word_is_left(page: Path) -> None:
    assert find_old_words(page.read_text(encoding="utf-8")) == []
