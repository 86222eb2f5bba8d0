"""Puts text into every field of a record, to see on which pages it appears."""

import dataclasses
import re
from collections.abc import Callable
from enum import Enum
from html.parser import HTMLParser
from typing import TypeVar

T = TypeVar("T")

# Names that join plan, measurement and judgement: another text would take the parts apart.
KEYS = re.compile(
    r"plan\.problems\[\]\.(name|(checks|targets)\[\]\.name)"
    r"|judgement\.checks\[\]\.(problem|check)"
    r"|measurement\.targets\[\]\.(problem|target)"
    r"|measurement\.problems\[\]\.(problem|cases\[\]\.check)"
)


def plant(record: T, make_text: Callable[[str, str], str], path: str = "") -> T:
    """Return `record` with every string replaced by `make_text(path, string)`, keys excepted."""
    if isinstance(record, Enum):
        return record
    if isinstance(record, str):
        return record if KEYS.fullmatch(path) else make_text(path, record)  # type: ignore[return-value]
    if isinstance(record, tuple):
        return tuple(plant(item, make_text, f"{path}[]") for item in record)  # type: ignore[return-value]
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        changes = {
            field.name: plant(
                getattr(record, field.name), make_text, f"{path}.{field.name}".strip(".")
            )
            for field in dataclasses.fields(record)
        }
        return dataclasses.replace(record, **changes)
    return record


class Page(HTMLParser):
    """Tags, attributes, scripts, styles and visible text of an HTML page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside == "style":
            self.styles.append(data)
        else:
            self.text += data

    def values(self, name: str) -> list[str]:
        """Return the values of all attributes called `name`."""
        return [value for _, attribute, value in self.attributes if attribute == name]

    @property
    def policy(self) -> str:
        """Return the content security policy."""
        (policy,) = [value for value in self.values("content") if "default-src" in value]
        return policy
