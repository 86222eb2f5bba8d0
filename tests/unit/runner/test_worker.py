"""The table of objects: make, call and drop them."""

import pytest

from grader.runner.worker import MissingName, ObjectTable, stack_of


class Counter:
    limit = 9

    def __init__(self, start, *, step=1):
        self.value = start
        self.step = step

    def add(self, times=1):
        self.value += self.step * times
        return self.value

    @property
    def double(self):
        return self.value * 2


@pytest.fixture
def table():
    submission = {"Counter": Counter, "twice": lambda x: 2 * x}
    return ObjectTable(submission, {"loop": lambda x: ("harness", x)})


def test_objects_live_until_they_are_dropped(table):
    table.new(0, "Counter", [5], {"step": 2})
    table.new(1, "Counter", [0], {})
    assert table.call(0, "add", [3], {}) == 11
    assert table.call(1, "add", [], {"times": 2}) == 2
    assert table.object(0).value == 11
    table.drop(0)
    table.drop(0)
    with pytest.raises(KeyError):
        table.object(0)
    assert table.object(1).value == 2


def test_functions_of_submission_and_harness_do_not_mix(table):
    assert table.call("twice", "", [4], {}) == 8
    assert table.call("harness:loop", "", [1], {}) == ("harness", 1)
    with pytest.raises(MissingName):
        table.call("loop", "", [1], {})


@pytest.mark.parametrize(("name", "value"), [("double", 10), ("limit", 9)])
def test_attributes_are_read_by_calling_them(table, name, value):
    table.new(0, "Counter", [5], {})
    assert table.call(0, name, [], {}) == value


def test_missing_names_are_named(table):
    with pytest.raises(MissingName, match=r"^Cache$"):
        table.new(0, "Cache", [], {})
    with pytest.raises(MissingName, match=r"^thrice$"):
        table.call("thrice", "", [], {})
    table.new(0, "Counter", [5], {})
    with pytest.raises(MissingName, match=r"^Counter\.subtract$"):
        table.call(0, "subtract", [], {})


def test_what_a_constructor_raises_leaves_no_object(table):
    with pytest.raises(TypeError):
        table.new(0, "Counter", [], {})
    with pytest.raises(KeyError):
        table.object(0)


class InterpreterError(Exception):
    """What Triton's interpreter raises in place of an exception inside a kernel."""


def launched(error):
    """Raise as a kernel does that is interpreted: in place of its own exception."""
    InterpreterError.__module__ = "triton.runtime.errors"

    def kernel():
        raise error

    try:
        kernel()
    except Exception as cause:
        raise InterpreterError(repr(cause)) from cause


def test_the_line_of_a_kernel_is_behind_that_of_its_launch():
    with pytest.raises(InterpreterError) as caught:
        launched(ValueError("shape"))
    names = [frame.name for frame in stack_of(caught.value)]
    assert names[-3:] == ["launched", "launched", "kernel"]


def test_what_a_submission_raises_from_another_exception_is_where_it_raised():
    def own():
        try:
            launched(KeyError(1))
        except InterpreterError as cause:
            raise ValueError("mine") from cause

    with pytest.raises(ValueError, match="mine") as caught:
        own()
    assert stack_of(caught.value)[-1].name == "own"
