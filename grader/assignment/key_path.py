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

_KEY = re.compile(r"\.(\w+)|\[(\d+)\]|\['([^']*)'\]|\[\"([^\"]*)\"\]")


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

        Args:
            error: what the converter raised.
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
        return here.message(f"{keys}: {mistake.what}" if keys else mistake.what)


def _step(found: Any, key: str | int) -> Any:  # noqa: ANN401 - parsed TOML
    """Return the value under a key or index; None where there is none."""
    if isinstance(found, dict):
        return found.get(key)
    if isinstance(found, list) and isinstance(key, int) and key < len(found):
        return found[key]
    return None
