"""The README, the pages and the changelog use the field's words, one for each thing."""

from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, name_of
from tests.old_words import find_old_words


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=name_of)
def test_no_old_word_is_left(page: Path) -> None:
    assert find_old_words(page.read_text(encoding="utf-8")) == []
