"""The tree of errors is the one in its module's docstring."""

import inspect
import re

import pytest

from grader import errors
from grader.errors import GraderError

CLASSES = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, Exception)
}


def drawn():
    """Return child → parent as drawn in the module docstring."""
    parents: dict[str, str] = {}
    path: dict[int, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^(?P<lead>[\s│├└─]*)(?P<name>[A-Z]\w+)(\s{2,}|$)", line)
        if match is None:
            continue
        depth = len(match["lead"])
        path = {at: name for at, name in path.items() if at < depth}
        if path:
            parents[match["name"]] = path[max(path)]
        path[depth] = match["name"]
    return parents


def test_the_drawing_is_the_tree():
    real = {
        name: kind.__mro__[1].__name__ for name, kind in CLASSES.items() if kind is not GraderError
    }
    assert drawn() == real
    assert len(real) >= 9


@pytest.mark.parametrize("kind", CLASSES.values(), ids=list(CLASSES))
def test_every_error_has_a_message_and_perhaps_a_hint(kind):
    plain, hinted = kind("what"), kind("what", hint="do this")
    assert (str(plain), plain.hint) == ("what", "")
    assert (str(hinted), hinted.hint) == ("what", "do this")
    assert isinstance(plain, GraderError)
    assert kind.__doc__


def test_a_hint_is_no_positional_argument():
    with pytest.raises(TypeError):
        GraderError("what", "do this")  # type: ignore[call-arg]


def test_our_failures_are_never_the_students():
    assert not issubclass(errors.SandboxError, errors.ChannelError)
    assert not issubclass(errors.ChannelError, errors.SandboxError)
    assert not issubclass(errors.AuthorError, errors.IntakeError)
    assert issubclass(errors.SandboxLost, errors.SandboxError)
    assert issubclass(errors.CallTimeout, errors.ChannelError)
    assert issubclass(errors.ChannelClosed, errors.ChannelError)
