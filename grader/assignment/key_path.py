"""Names the table and key of an author's TOML file in which a mistake was found.

Messages read `assignment.toml, line 9: problem "Cache", check "append": points: expected ...`. A
TOML reader knows lines only for mistakes of syntax, so the line is looked for in the text; where
tables are written in a way that this does not find, there is none.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import cattrs

from grader.errors import AuthorError
from grader.strict import find_mistakes

_PART = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""
_HEADER = re.compile(rf"\s*\[{{1,2}}\s*(?P<path>{_PART}(?:\.{_PART})*)\s*\]{{1,2}}\s*(?:#.*)?$")
_NAME = re.compile(r"\s*name\s*=\s*[\"'](?P<name>.*?)[\"']")
_UNKNOWN = re.compile(r"unknown key '(?P<key>\w+)'; allowed here: (?P<allowed>.*)")
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
        raise AuthorError(self.message(f"{key}: expected {expected}, found {found!r}", key))

    def message(self, text: str, key: str = "") -> str:
        """Return a text with file, line of the key, and table before it."""
        line = self._line_of(key)
        file = f"{self.file}, line {line}" if line else str(self.file)
        return ": ".join([file, *filter(None, [", ".join(self.tables)]), text])

    def _line_of(self, key: str) -> int:
        """Return the line of a key of this table, else of the table; 0 if neither is found."""
        *groups, last = re.sub(r"\[\d+\]", "", key).split(".")
        tables = {path: lines for path, lines in _tables(self.file)}
        inner, own = tables.get((*self.tables, *groups), ()), tables.get(self.tables, ())
        for lines, wanted in ((inner, last), (own, [*groups, last][0])):
            for number, line in lines:
                if wanted and re.match(rf"\s*[\"']?{re.escape(wanted)}[\"']?\s*[=.]", line):
                    return number
        return own[0][0] if own and self.tables else 0

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
        what, key = mistake.what, keys
        if unknown := _UNKNOWN.match(what):
            key = f"{keys}.{unknown['key']}" if keys else unknown["key"]
            near = difflib.get_close_matches(unknown["key"], unknown["allowed"].split(", "), n=1)
            what = what.replace("; ", f"; did you mean '{near[0]}'? ", 1) if near else what
        return here.message(f"{keys}: {what}" if keys else what, key)


def _tables(file: Path) -> Iterator[tuple[tuple[str, ...], tuple[tuple[int, str], ...]]]:
    """Yield the tables of a TOML file: their names, outermost first, and their numbered lines."""
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    chunks: list[tuple[list[str], list[tuple[int, str]]]] = [([], [])]
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            keys = [part.strip("\"'") for part in re.findall(_PART, header["path"])]
            chunks.append((keys, []))
        chunks[-1][1].append((number, line))
    stack: list[str] = []
    for keys, lines in chunks:
        name = next((found["name"] for _, line in lines if (found := _NAME.match(line))), "")
        if keys:
            stack = [*stack, *keys[len(stack) :]][: len(keys) - 1]
            stack.append(f'{keys[-1]} "{name}"' if name else keys[-1])
        yield tuple(stack) if keys else (), tuple(lines)
