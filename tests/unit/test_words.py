"""No message of the program, and no handout, uses a private word of earlier versions."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.old_words import find_old_words

ROOT = Path(__file__).resolve().parents[2]
HANDOUTS = (
    *ROOT.glob("assignments/*/*.md"),
    *ROOT.glob("assignments/*/*.toml"),
    *ROOT.glob("assignments/*/starter.*"),
)
ORDINARY = ("held:", "behind a:")
"""What handouts say in the ordinary sense: a block is held, a ring lies behind a few tokens."""

NAMES = re.compile(r"\s*(?:\w+\s+){20,}\w*")
"""A long list of names, such as torch's operators, of which one is called `squeeze`."""


def sentences(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of every string with a space in it that is no docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        if id(node) not in prose and " " in node.value and not NAMES.fullmatch(node.value):
            yield node.lineno, node.value


def test_messages_use_the_usual_words():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {word}"
        for path in sorted(ROOT.glob("grader/**/*.py"))
        for line, text in sentences(path)
        for word in find_old_words(text)
    ]
    assert not found


def test_handouts_use_the_usual_words():
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in HANDOUTS
        for word in find_old_words(path.read_text(encoding="utf-8"))
        if not word.startswith(ORDINARY)
    ]
    assert len(HANDOUTS) > 15
    assert not found
