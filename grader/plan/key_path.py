"""Where in an author's TOML file a mistake lies: the keys that lead to it, by name.

Takes: a file, keys, what a strict converter refused. Gives: `KeyPath`, whose messages read
`assignment.toml: problem "Cache", check "append": points: expected ..., found ...`. Does not cover:
lines: a TOML reader tells them of its own errors alone, and a guess may name the wrong one.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import cattrs

from grader.errors import AuthorError
from grader.strict import find_mistakes

_KEY = re.compile(r"\.(\w+)|\[(\d+)\]|\['([^']*)'\]|\[\"([^\"]*)\"\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPath:
    """A table of a TOML file.

    Attributes:
        file: that it stands in.
        tables: the lists of tables that it is part of, such as `check "append"`, outermost first.
    """

    file: Path
    tables: tuple[str, ...] = ()

    def inside(self, kind: str, name: str) -> "KeyPath":
        """Return the path of a table in this one, by its name."""
        return replace(self, tables=(*self.tables, f'{kind} "{name}"'))

    def fail(self, key: str, expected: str, found: object) -> NoReturn:
        """Raise for a key of this table.

        Raises:
            AuthorError: always.
        """
        raise AuthorError(self.say(f"{key}: expected {expected}, found {found!r}"))

    def say(self, words: str) -> str:
        """Return words with file and table before them."""
        return ": ".join([str(self.file), *filter(None, [", ".join(self.tables)]), words])

    def explain(self, error: cattrs.BaseValidationError, table: dict[str, Any]) -> str:
        """Return the first mistake that a strict converter found in a whole file.

        Args:
            error: what it raised.
            table: the file's content, for the names of its tables.
        """
        mistake = find_mistakes(error)[0]
        found: Any = table
        here, keys = self, ""
        for match in _KEY.finditer(mistake.path):
            index = match[2]
            found = _step(found, int(index) if index else match[match.lastindex or 1])
            name = found.get("name") if isinstance(found, dict) else None
            if index and isinstance(name, str):
                here, keys = here.inside(keys, name), ""
            elif index:
                keys += f"[{index}]"
            else:
                keys += f".{match[match.lastindex or 1]}" if keys else match[match.lastindex or 1]
        return here.say(f"{keys}: {mistake.what}" if keys else mistake.what)


def _step(found: Any, key: str | int) -> Any:  # noqa: ANN401 - what an author wrote
    """Return what lies under a key; nothing where there is none."""
    if isinstance(found, dict):
        return found.get(key)
    if isinstance(found, list) and isinstance(key, int) and key < len(found):
        return found[key]
    return None
