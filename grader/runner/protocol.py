"""Messages between judge and worker: length-prefixed JSON over a Unix socket, with descriptors.

A value is a JSON tree. Primitives stay as they are; everything else is an object with one key:
`t` tensor (index into the message's list of headers), `l` list, `u` tuple, `d` dict (pairs),
`r` object that the worker holds, `y` dtype. The contents of tensors travel in memory that the judge
made (see `runner.tensors`).
"""

import array
import json
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any

MAX_MESSAGE_BYTES = 4 << 20
"""Longest message that the judge accepts."""
MAX_REQUEST_BYTES = 64 << 20
"""Longest message that a worker accepts; the judge's requests may carry a submission's files."""
MAX_DEPTH = 32
MAX_INTEGER_BITS = 8192
"""Python writes no integer of much more than this as text."""
_LENGTH = struct.Struct(">I")
_PRIMITIVES = frozenset({bool, int, float, str})
_CONVERSIONS: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
)
"""The types whose subclasses are primitives, and what makes one of the type itself."""

Json = Any  # what json.loads returns
Value = Any  # what a student's code takes and returns


class ProtocolError(Exception):
    """The peer sent something that is not a message."""


class Unsendable(TypeError):
    """A value that cannot travel; the text says which, to the student who returned it."""


class ProtocolClosed(ProtocolError):
    """The peer's end is closed."""


def send(sock: socket.socket, message: dict[str, Json], fds: Sequence[int] = ()) -> None:
    """Send one message; the receiver gets duplicates of `fds`."""
    send_frame(sock, frame_of(message), fds)


def frame_of(message: dict[str, Json]) -> bytes:
    """Return the bytes of a message as they are sent: length and JSON.

    Raises:
        ProtocolError: if it is longer than `MAX_REQUEST_BYTES`.
    """
    body = json.dumps(message).encode()
    check_length(len(body), MAX_REQUEST_BYTES)
    return _LENGTH.pack(len(body)) + body


def send_frame(sock: socket.socket, frame: bytes, fds: Sequence[int] = ()) -> None:
    """Send a message that `frame_of` has made; the receiver gets duplicates of `fds`."""
    sent = 0
    if fds:
        rights = array.array("i", fds).tobytes()
        sent = sock.sendmsg([frame], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    sock.sendall(frame[sent:])


def receive(
    sock: socket.socket, max_fds: int = 0, *, max_bytes: int = MAX_MESSAGE_BYTES
) -> tuple[dict[str, Json], list[int]]:
    """Receive one message of at most `max_bytes` and at most `max_fds` descriptors.

    Raises:
        ProtocolClosed: if the peer's end is closed.
        ProtocolError: if the bytes are not a message.
    """
    fds: list[int] = []
    head = _exactly(sock, _LENGTH.size, fds, max_fds)
    (length,) = _LENGTH.unpack(head)
    return parse(_exactly(sock, check_length(length, max_bytes), fds, max_fds)), fds


def check_length(length: int, max_bytes: int = MAX_MESSAGE_BYTES) -> int:
    """Return `length`.

    Raises:
        ProtocolError: if a message may not be that long.
    """
    if length > max_bytes:
        raise ProtocolError(f"a message of more than {max_bytes} bytes")
    return length


def parse(body: bytes) -> dict[str, Json]:
    """Return the JSON object that `body` holds.

    Raises:
        ProtocolError: if it holds anything else.
    """
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {type(error).__name__}") from error
    if not isinstance(message, dict):
        raise ProtocolError("not a JSON object")
    return message


def _exactly(sock: socket.socket, count: int, fds: list[int], max_fds: int) -> bytes:
    parts: list[bytes] = []
    while count:
        if max_fds:
            part, new, _, _ = socket.recv_fds(sock, count, max_fds)
            fds.extend(new)
        else:
            part = sock.recv(count)
        if not part:
            raise ProtocolClosed("the other end is closed")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def plain(value: Value) -> Value:
    """Return a value as the one of Python's own types that it is a kind of; others as they are.

    A member of an `IntEnum` is a number, one of a `StrEnum` a text, and a number of NumPy is one as
    well: `len`, indexing and `math` take them all alike, so a student cannot be expected to know
    the difference. Arrays stay what they are.
    """
    kind = type(value)
    if value is None or kind in _PRIMITIVES:
        return value
    for base, convert in _CONVERSIONS:
        if isinstance(value, base):
            return convert(value)
    is_scalar = kind.__module__ == "numpy" and getattr(value, "ndim", None) == 0
    if is_scalar and kind.__name__ != "ndarray":
        number = value.item()
        return number if type(number) in _PRIMITIVES else value
    return value


def flatten(value: Value, leaf: Callable[[Value], Json], depth: int = 0) -> Json:
    """Return the JSON form of `value`; `leaf` converts all that is no primitive or container.

    Subclasses are what they are kinds of: a named tuple is a tuple, a `defaultdict` a dict.

    Raises:
        Unsendable: if a key of a dict is no primitive, a number has more than `MAX_INTEGER_BITS`,
            or the value is nested too deeply.
    """
    if depth > MAX_DEPTH:
        raise Unsendable(f"a value nested deeper than {MAX_DEPTH} levels")
    value = plain(value)
    kind = type(value)
    if value is None or kind in _PRIMITIVES:
        if kind is int and value.bit_length() > MAX_INTEGER_BITS:
            raise Unsendable(f"an integer of more than {MAX_INTEGER_BITS} bits")
        return value
    if isinstance(value, list | tuple):
        items = [flatten(item, leaf, depth + 1) for item in value]
        return {"u" if isinstance(value, tuple) else "l": items}
    if isinstance(value, dict):
        pairs = [
            [flatten(_key(key), leaf, depth + 1), flatten(part, leaf, depth + 1)]
            for key, part in value.items()
        ]
        return {"d": pairs}
    return leaf(value)


def _key(key: Value) -> Value:
    key = plain(key)
    if key is not None and type(key) not in _PRIMITIVES:
        raise Unsendable(f"a dict with a key of type {type(key).__name__}")
    return key


def unflatten(tree: Json, leaf: Callable[[str, Json], Value], depth: int = 0) -> Value:
    """Return the value whose JSON form is `tree`; `leaf` converts a leaf's key and content.

    Raises:
        ProtocolError: if `tree` is no valid form.
    """
    if depth > MAX_DEPTH:
        raise ProtocolError(f"a value nested deeper than {MAX_DEPTH} levels")
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    if not isinstance(tree, dict) or len(tree) != 1:
        raise ProtocolError("a value of unknown form")
    ((key, content),) = tree.items()
    if key in ("l", "u"):
        if not isinstance(content, list):
            raise ProtocolError("a sequence without items")
        items = [unflatten(item, leaf, depth + 1) for item in content]
        return items if key == "l" else tuple(items)
    if key == "d":
        return _unflatten_pairs(content, leaf, depth + 1)
    return leaf(key, content)


def _unflatten_pairs(
    content: Json, leaf: Callable[[str, Json], Value], depth: int
) -> dict[Value, Value]:
    if not isinstance(content, list):
        raise ProtocolError("a dict without pairs")
    result: dict[Value, Value] = {}
    for pair in content:
        if not isinstance(pair, list) or len(pair) != 2:
            raise ProtocolError("a dict entry that is no pair")
        key = unflatten(pair[0], leaf, depth)
        if not isinstance(key, str | int | float | bool | None):
            raise ProtocolError("a dict key that is no primitive")
        result[key] = unflatten(pair[1], leaf, depth)
    return result
