"""Names the table and key of an author's TOML file in which a mistake was found.

Messages read `assignment.toml: problem "Cache", check "append": points: expected ..., found ...`.
They have no line number: a TOML reader knows lines only for mistakes of syntax.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import cattrs

from grader.errors import AuthorError
from grader.strict import find_mistakes

_KEY = re.compile(r"\.(?P<key>\w+)|\[(?P<index>\d+)\]|\[(['\"])(?P<quoted>.*?)\3\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPath:
    """A table of a TOML file.

    Attributes:
        file: path of the file.
        tables: the named tables that lead to it, such as `check "append"`, outermost first.
    """

    file: Path
    tables: tuple[str, ...] = ()

    def inside(self, kind: str, name: str) -> "KeyPath":
        """Return the path of a table in this one, by its name."""
        return replace(self, tables=(*self.tables, f'{kind} "{name}"'))

    def fail(self, key: str, expected: str, found: object) -> NoReturn:
        """Raise for a wrong value of a key of this table.

        Raises:
            AuthorError: always.
        """
        raise AuthorError(self.message(f"{key}: expected {expected}, found {found!r}"))

    def message(self, text: str) -> str:
        """Return a text with file and table before it."""
        return ": ".join([str(self.file), *filter(None, [", ".join(self.tables)]), text])

    def explain(self, error: cattrs.BaseValidationError, table: dict[str, Any]) -> str:
        """Return a message about the first mistake that a strict converter found in the file.

        `table` is the file's content; the names of its tables are taken from it.
        """
        mistake = find_mistakes(error)[0]
        found: Any = table
        here, keys = self, ""
        for match in _KEY.finditer(mistake.path):
            if match["index"] is None:
                key = match["key"] or match["quoted"]
                found = found.get(key)  # None if the key is missing, and the path ends here
                keys += f".{key}" if keys else key
                continue
            found = found[int(match["index"])]
            name = found.get("name") if isinstance(found, dict) else None
            if isinstance(name, str):
                here, keys = here.inside(keys, name), ""
            else:
                keys += f"[{match['index']}]"
        return here.message(f"{keys}: {mistake.what}" if keys else mistake.what)
