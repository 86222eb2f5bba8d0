"""Messages and values survive a round trip, and anything else raises `ProtocolError`."""

import collections
import contextlib
import enum
import json
import os
import signal
import socket
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grader.runner import protocol

primitives = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()
)
keys = st.one_of(st.booleans(), st.integers(), st.text(), st.none())
values = st.recursive(
    primitives,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
    ),
    max_leaves=20,
)
trees = st.recursive(
    st.one_of(primitives, st.lists(st.integers(), max_size=2)),
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from("ludtryx"), inner, max_size=2),
        st.lists(inner, max_size=3),
        st.builds(lambda items: {"l": items}, st.lists(inner, max_size=3)),
        st.builds(
            lambda items: {"d": items},
            st.lists(st.lists(inner, min_size=1, max_size=3), max_size=3),
        ),
    ),
    max_leaves=20,
)


def no_leaf(*_):
    raise protocol.ProtocolError("no leaves here")


def nested(depth, key="l"):
    tree: object = 1
    for _ in range(depth):
        tree = {key: [tree]}
    return tree


def kinds(value):
    """Return the value with the type of every part beside it: 1, 1.0 and True are equal."""
    if isinstance(value, list | tuple):
        return type(value), [kinds(item) for item in value]
    if isinstance(value, dict):
        return dict, [(kinds(key), kinds(item)) for key, item in value.items()]
    return type(value), repr(value)


@given(values)
def test_values_come_back_with_their_types(value):
    tree = json.loads(json.dumps(protocol.flatten(value, no_leaf)))
    assert kinds(protocol.unflatten(tree, no_leaf)) == kinds(value)


@pytest.mark.parametrize(
    ("number", "plain"),
    [
        (np.int64(3), 3),
        (np.uint8(3), 3),
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        ([np.int32(1), {"n": np.float16(2)}], [1, {"n": 2.0}]),
    ],
)
def test_numbers_of_numpy_are_sent_as_numbers(number, plain):
    tree = json.loads(json.dumps(protocol.flatten(number, no_leaf)))
    assert kinds(protocol.unflatten(tree, no_leaf)) == kinds(plain)


class Numpyish:
    """What calls itself NumPy's, as any class may."""

    __module__ = "numpy"
    ndim = 0

    def item(self):
        return self


@pytest.mark.parametrize("value", [np.zeros(()), np.zeros(2), 1j, Numpyish()])
def test_nothing_else_of_numpy_is_a_number(value):
    with pytest.raises(protocol.ProtocolError):
        protocol.flatten([value], no_leaf)


@given(trees)
def test_any_tree_is_a_value_or_a_wire_error(tree):
    with contextlib.suppress(protocol.ProtocolError):
        protocol.unflatten(tree, no_leaf)


@pytest.mark.parametrize(
    "tree",
    [
        [],
        [1],
        {},
        {"l": [], "u": []},
        {"l": 3},
        {"l": None},
        {"u": {"l": []}},
        {"u": "text"},
        {"d": {}},
        {"d": [1]},
        {"d": [[1]]},
        {"d": [[1, 2, 3]]},
        {"d": [[{"l": []}, 1]]},
        {"d": [[{"u": [1]}, 1]]},
        {"x": 1},
        {"l": [{"l": [[]]}]},
        nested(protocol.MAX_DEPTH + 1),
        nested(100, "u"),
    ],
    ids=lambda tree: repr(tree)[:30],
)
def test_hostile_trees_are_refused(tree):
    with pytest.raises(protocol.ProtocolError):
        protocol.unflatten(tree, no_leaf)


def test_depth_is_limited_on_both_sides():
    value: object = 1
    for _ in range(protocol.MAX_DEPTH):
        value = [value]
    assert protocol.unflatten(protocol.flatten(value, no_leaf), no_leaf) == value
    with pytest.raises(TypeError, match="deeper"):
        protocol.flatten([value], no_leaf)


def test_a_value_that_holds_itself_does_not_go_round_for_ever():
    value: list[object] = []
    value.append(value)
    with pytest.raises(TypeError, match="deeper"):
        protocol.flatten(value, no_leaf)


class Level(enum.IntEnum):
    LOW = 1


class Colour(enum.StrEnum):
    RED = "red"


class Plain(enum.Enum):
    A = 1


class Text(str):
    def __str__(self):
        return "something else"


Pair = collections.namedtuple("Pair", "first second")
SUBCLASSES = [
    (Pair(1, 2.0), (1, 2.0)),
    (torch.Size([2, 3]), (2, 3)),
    (type("Sub", (list,), {})([1]), [1]),
    (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    (collections.defaultdict(list, {"a": [1]}), {"a": [1]}),
    (collections.Counter("aab"), {"a": 2, "b": 1}),
    (Level.LOW, 1),
    (Colour.RED, "red"),
    (signal.SIGTERM, 15),
    (Text("as it is"), "as it is"),
    (type("Metres", (float,), {})(1.5), 1.5),
    ({Text("key"): [Pair(np.int64(1), True)]}, {"key": [(1, True)]}),
]


@pytest.mark.parametrize(("value", "plain"), SUBCLASSES, ids=lambda one: repr(one)[:30])
def test_a_subclass_is_what_it_is_a_kind_of(value, plain):
    tree = json.loads(json.dumps(protocol.flatten(value, no_leaf)))
    assert kinds(protocol.unflatten(tree, no_leaf)) == kinds(plain)


@pytest.mark.parametrize("leaf", [{1, 2}, b"bytes", object(), range(2), Plain.A])
def test_what_is_of_no_known_kind_is_a_leaf(leaf):
    assert protocol.flatten([leaf], lambda part: {"t": id(part)}) == {"l": [{"t": id(leaf)}]}


@pytest.mark.parametrize(
    "value", [{(1, 2): 3}, {b"x": 1}, 1 << 20_000, [-(1 << 20_000)]], ids=range(4)
)
def test_what_the_judge_would_not_read_is_not_sent(value):
    with pytest.raises(protocol.Unsendable):
        protocol.flatten(value, no_leaf)


def test_leaves_get_key_and_content():
    assert protocol.unflatten({"l": [{"t": 4}, {"r": 2}]}, lambda *both: both) == [
        ("t", 4),
        ("r", 2),
    ]


@pytest.fixture
def pair():
    left, right = socket.socketpair()
    right.settimeout(5)
    yield left, right
    left.close()
    right.close()


def test_messages_keep_their_order_and_descriptors(pair):
    left, right = pair
    read_fd, write_fd = os.pipe()
    protocol.send(left, {"n": 1})
    protocol.send(left, {"n": 2, "text": "größer"}, (write_fd,))
    os.close(write_fd)
    assert protocol.receive(right) == ({"n": 1}, [])
    message, (fd,) = protocol.receive(right, max_fds=1)
    assert message == {"n": 2, "text": "größer"}
    os.write(fd, b"through")
    assert os.read(read_fd, 20) == b"through"
    os.close(fd)
    os.close(read_fd)


def test_an_over_long_message_is_not_sent(pair):
    with pytest.raises(protocol.ProtocolError, match="more than"):
        protocol.send(pair[0], {"text": "x" * protocol.MAX_REQUEST_BYTES})


def test_an_over_long_message_is_not_read(pair):
    pair[0].sendall(struct.pack(">I", protocol.MAX_MESSAGE_BYTES + 1))
    with pytest.raises(protocol.ProtocolError, match="more than"):
        protocol.receive(pair[1])


@pytest.mark.parametrize(
    "sent", [b"", b"\x00", struct.pack(">I", 10), struct.pack(">I", 10) + b"{"]
)
def test_a_closed_end_is_reported(pair, sent):
    left, right = pair
    left.sendall(sent)
    left.close()
    with pytest.raises(protocol.ProtocolClosed):
        protocol.receive(right)


@given(st.binary(max_size=60))
def test_any_bytes_are_an_object_or_a_wire_error(body):
    with contextlib.suppress(protocol.ProtocolError):
        assert isinstance(protocol.parse(body), dict)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 200_000, b'{"a":' * 200_000]
)
def test_what_is_no_object_is_refused(body):
    with pytest.raises(protocol.ProtocolError):
        protocol.parse(body)
