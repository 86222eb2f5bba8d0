"""Where in an author's TOML file a mistake lies: TOML readers do not say.

Takes: a file's text, a key or a cattrs error. Gives: `Locator`, whose messages begin with
`file:line`. Does not cover: which values are mistakes (see `plan.assignment`).
"""

import re
from dataclasses import fields
from pathlib import Path

import cattrs
from cattrs.errors import ForbiddenExtraKeysError

from grader.errors import AuthorError


class Locator:
    """Finds the line of a key, so that an author can jump to it."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = text.splitlines()

    def fail(self, key: str, expected: str, found: object) -> None:
        """Raise an `AuthorError` for `key`.

        Raises:
            AuthorError: always.
        """
        raise AuthorError(self.complain(key, expected, found))

    def complain(self, key: str, expected: str, found: object) -> str:
        """Return a complaint about `key` as `file:line: key: expected, found`."""
        line = self._line_of([key.split(".")[0]], found)
        return f"{self._path}:{line}: {key}: expected {expected}, found {found!r}"

    def explain(self, error: cattrs.BaseValidationError) -> str:
        """Return the first leaf of a cattrs error as `file:line: key: what`."""
        leaf, keys = _first_leaf(error, [])
        if isinstance(leaf, ForbiddenExtraKeysError):
            extra = sorted(leaf.extra_fields)[0]
            allowed = ", ".join(sorted(field.name for field in fields(leaf.cl)))
            line = self._line_of([*keys, extra], None)
            return f"{self._path}:{line}: unknown key {extra!r}; allowed here: {allowed}"
        if isinstance(leaf, KeyError):
            keys = keys[:-1] if keys[-1:] == [leaf.args[0]] else keys
            line = self._line_of(keys, None)
            place = ".".join(keys) or "the file"
            return f"{self._path}:{line}: missing key {leaf.args[0]!r} in {place}"
        line = self._line_of(keys, None)
        return f"{self._path}:{line}: {'.'.join(keys)}: {leaf}"

    def _line_of(self, keys: list[str], found: object) -> int:
        """Return the line of a key path such as `problem.1.check.0.points`, else the nearest."""
        line = 0
        for key in keys:
            if key.isdigit():
                continue
            occurrence = _index_after(keys, key)
            line = self._find(key, line, occurrence) or line
        if found is not None:
            text = f"{found:g}" if isinstance(found, float) else str(found)  # 2 was read as 2.0
            quote = "[\"']" if isinstance(found, str) else ""
            value = f"{quote}{re.escape(text)}{quote}"
            wanted = re.compile(rf"^\s*{re.escape(keys[0])}\s*=.*{value}")
            line = next((n for n, t in enumerate(self._lines, 1) if wanted.search(t)), line)
        return max(line, 1)

    def _find(self, key: str, start: int, occurrence: int) -> int:
        pattern = re.compile(rf"^\s*(\[\[?(\w+\.)*{re.escape(key)}\]\]?|{re.escape(key)}\s*=)")
        hits = [n for n, text in enumerate(self._lines, 1) if n > start and pattern.search(text)]
        return hits[occurrence] if occurrence < len(hits) else 0


def _index_after(keys: list[str], key: str) -> int:
    """Return the list index that follows `key` in a key path, 0 if none does."""
    place = keys.index(key) + 1
    return int(keys[place]) if place < len(keys) and keys[place].isdigit() else 0


def _first_leaf(error: BaseException, keys: list[str]) -> tuple[BaseException, list[str]]:
    """Return the first error of a nested cattrs group and the path of keys that leads to it."""
    if not isinstance(error, BaseExceptionGroup):
        return error, keys
    # A misspelt key is unknown and missing at once: the unknown one shows the slip.
    unknown = (e for e in error.exceptions if isinstance(e, ForbiddenExtraKeysError))
    first = next(unknown, error.exceptions[0])
    for note in getattr(first, "__notes__", ()):
        name = getattr(note, "name", None)
        index = getattr(note, "index", None)
        if name is not None:
            keys = [*keys, str(name)]
        elif index is not None:
            keys = [*keys, str(index)]
    return _first_leaf(first, keys)
