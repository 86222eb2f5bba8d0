"""Reads the cells of a notebook from JSON that may be malformed or hostile.

Formats 3 and 4 with any minor number are read. Outputs, attachments and widget state are dropped.
Source: the format documentation of nbformat.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any


class Refusal(Exception):
    """A notebook that cannot be read: the student's fault."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def clip(text: str, length: int = 60) -> str:
    """Return hostile text as it may stand in a message: printable, on one line, not long."""
    line = " ".join(text[: 4 * length].split())
    line = "".join(c if c.isprintable() else "?" for c in line).replace("`", "'")
    return line if len(line) <= length else line[: length - 1] + "…"


MAX_CELLS = 2000
MAX_TAGS = 50
MAX_TAG_CHARS = 100

SAVE_AGAIN = "open the notebook in Jupyter or Colab, save it, and hand in the saved file"
NOTEBOOK_KINDS = ("code", "markdown", "raw", "heading", "html")
OTHER_KERNELS = ("ir", "julia", "octave", "bash", "javascript", "scala", "sagemath", "xcpp")

Json = Any  # a part of the document, of any type until it is checked


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell.

    Attributes:
        number: among all cells of the notebook, from 1.
        kind: `code`, `markdown` or `raw`.
        tags: in lower case.
        name: of a code cell, as the notebook shows it: `In [3]`; `code cell 4`, counted from the
            top without text cells, if it was not run or another cell has the same number.
        is_course_test: whether it holds one of the course's own tests (nbgrader).
    """

    number: int
    kind: str
    source: str
    tags: tuple[str, ...]
    name: str
    is_course_test: bool


def read_cells(raw: bytes) -> tuple[Cell, ...]:
    """Return the cells of a Python notebook.

    Raises:
        Refusal: if it is not one.
    """
    top = _expect(_parse(_decode(raw)), dict, "the notebook")
    version = top.get("nbformat")
    if type(version) is not int or version not in (3, 4):
        raise Refusal(
            f"expected a notebook of format 3 or 4, found `nbformat` {_name(version)}", SAVE_AGAIN
        )
    _require_python(_expect(_or_empty(top.get("metadata")), dict, "`metadata`"))
    cells = _flatten_worksheets(top) if version == 3 else _get(top, "cells", list, "the notebook")
    if len(cells) > MAX_CELLS:
        raise Refusal(
            f"expected at most {MAX_CELLS} cells, found {len(cells)}",
            "remove the cells that are not part of your work",
        )
    return _name_cells([_read_cell(cell, number, version) for number, cell in enumerate(cells, 1)])


def _name_cells(cells: list[Cell]) -> tuple[Cell, ...]:
    times = Counter(cell.name for cell in cells)
    code = 0
    named = []
    for cell in cells:
        code += cell.kind == "code"
        plain = f"code cell {code}" if cell.kind == "code" else ""
        named.append(cell if cell.name and times[cell.name] == 1 else replace(cell, name=plain))
    return tuple(named)


def _decode(raw: bytes) -> str:
    hint = "save the notebook again as UTF-8, as Jupyter does"
    is_utf16 = raw[:2] in (b"\xff\xfe", b"\xfe\xff")  # Windows' own tools write it
    if not raw.strip():
        raise Refusal("expected a notebook, found an empty file", SAVE_AGAIN)
    try:
        return raw.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"byte 0x{raw[error.start]:02x} at position {error.start}"
        raise Refusal(f"expected UTF-8 text, found {found}", hint) from error


def _parse(text: str) -> Json:
    try:
        return json.loads(text, object_pairs_hook=_unique)  # NaN, too: plots write it
    except RecursionError as error:
        raise Refusal("expected a notebook, found JSON nested too deeply", SAVE_AGAIN) from error
    except json.JSONDecodeError as error:
        _refuse_conflict(text)
        where = f"line {error.lineno}, column {error.colno}"
        raise Refusal(
            f"expected a notebook, found what is not JSON at {where}", SAVE_AGAIN
        ) from error
    except ValueError as error:  # a number of thousands of digits
        raise Refusal("expected a notebook, found a number that is too long", SAVE_AGAIN) from error


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """Refuse an object with a key twice: programs differ in which of the two they use."""
    made: dict[str, Json] = {}
    for key, value in pairs:
        if key in made:
            raise Refusal(f"expected every key once, found `{clip(key)}` twice", SAVE_AGAIN)
        made[key] = value
    return made


def _refuse_conflict(text: str) -> None:
    """Refuse a notebook that git has written both versions of a change into."""
    mark = re.search(r"^<{7}(?!<).*$", text, re.MULTILINE)
    if mark:
        line = text.count("\n", 0, mark.start()) + 1
        raise Refusal(
            f"expected a notebook, found marks of a merge conflict on line {line} of the file: "
            f"`{clip(mark[0])}`",
            "keep one of the two versions (`git checkout --ours FILE` or `--theirs FILE`), open it "
            "in Jupyter, save it, and hand in the saved file",
        )


def _require_python(metadata: dict[str, Json]) -> None:
    kernel = _expect(_or_empty(metadata.get("kernelspec")), dict, "`kernelspec`")
    info = _expect(_or_empty(metadata.get("language_info")), dict, "`language_info`")
    languages = [
        _expect(value, str, where)
        for value, where in (
            (info.get("name"), "`language_info.name`"),
            (kernel.get("language"), "`kernelspec.language`"),
        )
        if value not in (None, "")
    ]
    name = kernel.get("name")
    name = "" if name is None else _expect(name, str, "`kernelspec.name`")
    if any("python" in language.lower() for language in languages):
        return  # whatever its kernel is called
    if languages:
        _refuse_kernel(languages[0])
    if name.strip().lower().split("-")[0] in OTHER_KERNELS:
        _refuse_kernel(name)


def _refuse_kernel(found: str) -> None:
    raise Refusal(
        f"expected a notebook with a Python kernel, found `{clip(found)}`",
        "in Jupyter, choose Kernel, Change kernel, Python 3, and save the notebook",
    )


def _flatten_worksheets(top: dict[str, Json]) -> list[Json]:
    sheets = _get(top, "worksheets", list, "the notebook")
    where = "a worksheet"
    return [
        cell for one in sheets for cell in _get(_expect(one, dict, where), "cells", list, where)
    ]


def _read_cell(form: Json, number: int, version: int) -> Cell:
    where = f"cell {number}"
    cell = _expect(form, dict, where)
    kind: str = _get(cell, "cell_type", str, where)
    if kind not in NOTEBOOK_KINDS:
        raise Refusal(f"expected a cell type in {where}, found `{clip(kind)}`", SAVE_AGAIN)
    key = "input" if version == 3 and kind == "code" else "source"
    source = _read_source(cell.get(key), f"`{key}` of {where}")
    if kind == "code":
        _require_text(source, where)
    metadata = _expect(_or_empty(cell.get("metadata")), dict, f"`metadata` of {where}")
    nbgrader = _expect(_or_empty(metadata.get("nbgrader")), dict, f"`nbgrader` of {where}")
    count = cell.get("prompt_number" if version == 3 else "execution_count")
    was_run = kind == "code" and type(count) is int and 0 < count < 10**6
    return Cell(
        number=number,
        kind=kind if kind in ("code", "raw") else "markdown",
        source=source,
        tags=_read_tags(metadata.get("tags", []), f"`tags` of {where}"),
        name=f"In [{count}]" if was_run else "",
        is_course_test=nbgrader.get("grade") is True and nbgrader.get("solution") is not True,
    )


def _read_source(value: Json, where: str) -> str:
    if isinstance(value, list):
        value = "".join(_expect(line, str, f"a line in {where}") for line in value)
    text: str = _expect(value, str, where)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _require_text(source: str, where: str) -> None:
    """Refuse characters that no Python file can hold."""
    if "\0" in source or any("\ud800" <= c <= "\udfff" for c in source):
        raise Refusal(
            f"expected Python source in {where}, found binary data",
            "delete the unreadable characters of that cell",
        )


def _read_tags(value: Json, where: str) -> tuple[str, ...]:
    tags = [_expect(tag, str, f"an entry of {where}") for tag in _expect(value, list, where)]
    if len(tags) > MAX_TAGS or any(len(tag) > MAX_TAG_CHARS for tag in tags):
        limits = f"{MAX_TAGS} tags of {MAX_TAG_CHARS} characters"
        raise Refusal(f"expected at most {limits} in {where}, found more", SAVE_AGAIN)
    return tuple(tag.strip().lower() for tag in tags)


def _or_empty(value: Json) -> Json:
    return {} if value is None else value


def _get(form: dict[str, Json], key: str, kind: type, where: str) -> Json:
    if key not in form:
        raise Refusal(f"expected `{key}` in {where}, found none", SAVE_AGAIN)
    return _expect(form[key], kind, f"`{key}` of {where}")


def _expect(value: Json, kind: type, where: str) -> Json:
    if type(value) is not kind:
        raise Refusal(f"expected {_KINDS[kind]} as {where}, found {_name(value)}", SAVE_AGAIN)
    return value


_KINDS: dict[type, str] = {dict: "an object", list: "a list", str: "text"}


def _name(value: Json) -> str:
    """Return a JSON value in words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool | int | float):
        return clip(json.dumps(value), 20)
    return _KINDS[type(value)]
