"""Python expressions as text: tensors and numbers of public cases, and lines that are not too long.

A tensor is its JSON: `dtype`, `shape`, `strides` in elements and `base64` of its entries in
row-major order, little-endian. Numbers are written with as many digits as bring back every bit.
"""

import base64
import itertools
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Json = Any  # what json.loads returns
Number = int | float | bool

WIDTH = 96
MAX_LINE = 120
"""Longest line with its comment, where it can be broken."""
MAX_ENTRIES = 16
"""Largest tensor whose entries are written in full."""
MAX_SHOWN = 4
"""Largest tensor whose entries a description has."""

_FORMATS = {
    **{"float64": "d", "float32": "f", "float16": "e", "bfloat16": "H", "bool": "?"},
    **{"int64": "q", "int32": "i", "int16": "h", "int8": "b", "uint8": "B"},
}
_INFERRED = ("float32", "int64", "bool")  # dtypes that `torch.tensor` gives without being asked
_DIGITS = 17  # enough for every float64


@dataclass(frozen=True, slots=True)
class Leaf:
    """A piece of code on one line, and a comment on it."""

    text: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """A call or a literal whose items, each with its prefix, may stand on lines of their own."""

    opening: str
    items: tuple[tuple[str, "Node"], ...]
    closing: str


Node = Leaf | Group


def lay_out(node: Node, before: str, after: str, note: str = "") -> list[str]:
    """Return the lines of a node: one if it fits with at most one comment, else one an item."""
    line = f"{before}{flat_text(node)}{after}"
    notes = [one for one in [*notes_in(node), note] if one]
    fits = len(notes) <= 1 and len(line) <= WIDTH and len(line) + len("".join(notes)) <= MAX_LINE
    if fits or isinstance(node, Leaf) or not node.items:
        return [line + "".join(f"  # {one}" for one in notes)]
    pad = before[: len(before) - len(before.lstrip())]
    inner = [line for key, item in node.items for line in lay_out(item, f"{pad}    {key}", ",")]
    opening = f"{before}{node.opening.rstrip()}" + (f"  # {note}" if note else "")
    return [opening, *inner, f"{pad}{node.closing.removeprefix(',')}{after}"]


def flat_text(node: Node) -> str:
    """Return a node on one line."""
    if isinstance(node, Leaf):
        return node.text
    return (
        node.opening + ", ".join(key + flat_text(item) for key, item in node.items) + node.closing
    )


def notes_in(node: Node) -> list[str]:
    """Return the comments on a node and on all inside it."""
    if isinstance(node, Leaf):
        return [node.note] if node.note else []
    return [note for _, item in node.items for note in notes_in(item)]


def with_suffix(node: Node, keys: str) -> Node:
    """Return a node followed by indices."""
    if isinstance(node, Leaf):
        return Leaf(node.text + keys, node.note)
    return Group(node.opening, node.items, node.closing + keys)


def write_tensor(content: Json) -> str:
    """Return an expression that makes the tensor with its strides; empty if it is too large."""
    dtype, shape, strides = content["dtype"], content["shape"], content["strides"]
    if 0 in shape:
        return f"torch.empty({tuple(shape)}{_dtype_argument(dtype, 'float32')})"
    if math.prod(shape) > MAX_ENTRIES or dtype not in _FORMATS:
        return ""
    texts = _texts(content)
    if _is_dense(shape, strides):
        return _literal(texts, shape, dtype)
    for i, j in itertools.combinations(range(len(shape)), 2):
        if _is_dense(_swapped(shape, i, j), _swapped(strides, i, j)):
            entry = dict(zip(_indices(shape), texts, strict=True))
            turned = _swapped(shape, i, j)
            order = [entry[tuple(_swapped(index, i, j))] for index in _indices(turned)]
            return f"{_literal(order, turned, dtype)}.transpose({i}, {j})"
    return _strided(texts, content)


def describe_tensor(content: Json) -> str:
    """Return dtype and shape of a tensor, its strides if unusual, and few entries in full."""
    shape, strides = content["shape"], content["strides"]
    text = f"{content['dtype']} {shape}"
    if not _is_dense(shape, strides):
        text += f", strides {tuple(strides)}"
    if 0 < math.prod(shape) <= MAX_SHOWN and content["dtype"] in _FORMATS:
        text += f": {', '.join(_texts(content))}"
    return text


def write_number(value: Number) -> str:
    """Return an expression for a number; infinity and NaN are those of torch."""
    if isinstance(value, float) and not math.isfinite(value):
        return "torch.nan" if math.isnan(value) else "torch.inf" if value > 0 else "-torch.inf"
    return repr(value)


def _texts(content: Json) -> list[str]:
    """Return every entry as text, with the fewest digits that give its bits again."""
    dtype, form = content["dtype"], _FORMATS[content["dtype"]]
    entries = struct.iter_unpack(f"<{form}", base64.b64decode(content["base64"]))
    numbers = [_of_bfloat16(entry) if dtype == "bfloat16" else entry for (entry,) in entries]
    return [_shortest(number, dtype) for number in numbers]


def _shortest(number: Number, dtype: str) -> str:
    if not isinstance(number, float) or not math.isfinite(number):
        return write_number(number)
    shorter = (float(f"{number:.{digits}g}") for digits in range(1, _DIGITS))
    return repr(next((one for one in shorter if _rounded(one, dtype) == number), number))


def _rounded(number: float, dtype: str) -> float:
    """Return the number that torch makes of a Python float: by way of float32, if it is shorter."""
    try:
        if dtype == "float64":
            return number
        short = struct.unpack("<f", struct.pack("<f", number))[0]
        if dtype == "bfloat16":
            (bits,) = struct.unpack("<I", struct.pack("<f", short))
            return _of_bfloat16((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)
        form = f"<{_FORMATS[dtype]}"
        return float(struct.unpack(form, struct.pack(form, short))[0])
    except (OverflowError, struct.error):  # too large after rounding to few digits
        return math.inf


def _of_bfloat16(bits: int) -> float:
    return float(struct.unpack("<f", struct.pack("<I", bits << 16 & 0xFFFFFFFF))[0])


def _strided(texts: Sequence[str], content: Json) -> str:
    """Return memory with gaps, and the tensor that is a view of it."""
    dtype, strides = content["dtype"], content["strides"]
    places = [sum(map(int.__mul__, index, strides)) for index in _indices(content["shape"])]
    if max(places) >= 2 * MAX_ENTRIES:
        return ""
    gap = "torch.nan" if "float" in dtype else "False" if dtype == "bool" else "0"
    entry = dict(zip(places, texts, strict=True))
    memory = [entry.get(place, gap) for place in range(max(places) + 1)]
    whole = _literal(memory, [len(memory)], dtype)
    return f"{whole}.as_strided({tuple(content['shape'])}, {tuple(strides)})"


def _literal(texts: Sequence[str], shape: Sequence[int], dtype: str) -> str:
    rows = list(texts)
    for size in reversed(shape):
        rows = [f"[{', '.join(rows[i : i + size])}]" for i in range(0, len(rows), size)]
    return f"torch.tensor({rows[0]}{_dtype_argument(dtype, *_INFERRED)})"


def _dtype_argument(dtype: str, *inferred: str) -> str:
    return "" if dtype in inferred else f", dtype=torch.{dtype}"


def _is_dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Return whether entries lie in row-major order; where a size is 1 no stride matters."""
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size > 1 and stride != step:
            return 0 in shape
        step *= size
    return True


def _indices(shape: Sequence[int]) -> list[tuple[int, ...]]:
    return list(itertools.product(*map(range, shape)))


def _swapped(values: Sequence[int], i: int, j: int) -> list[int]:
    swapped = list(values)
    swapped[i], swapped[j] = swapped[j], swapped[i]
    return swapped
