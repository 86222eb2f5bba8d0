"""The student's functions, classes and objects, and the three things that can be asked of them.

Takes: the submission's namespace. Gives: `ObjectTable` with `new`, `call`, `drop`. Does not cover:
how a request arrived, or what its reply is worth.
"""

from collections.abc import Mapping
from typing import Any

Value = Any  # whatever the student's code takes and returns

HARNESS_PREFIX = "harness:"


class MissingName(Exception):
    """The submission does not define a name that a problem needs."""


class ObjectTable:
    """Objects of one case, by the number the judge gave them."""

    def __init__(self, submission: Mapping[str, Value], harness: Mapping[str, Value]) -> None:
        self._submission = submission
        self._harness = harness
        self._objects: dict[int, Value] = {}

    def require(self, names: list[str]) -> None:
        """Look names up without calling anything.

        Raises:
            MissingName: if the submission does not define one.
        """
        for name in names:
            self._lookup(name)

    def new(self, ref: int, name: str, args: list[Value], kwargs: dict[str, Value]) -> None:
        """Make an object of the class `name` and remember it as `ref`.

        Raises:
            MissingName: if the submission does not define `name`.
        """
        self._objects[ref] = self._lookup(name)(*args, **kwargs)

    def call(
        self, target: str | int, method: str, args: list[Value], kwargs: dict[str, Value]
    ) -> Value:
        """Call the function `target`, or `method` of the object `target`.

        Raises:
            MissingName: if there is no such function or method.
        """
        if isinstance(target, str):
            return self._lookup(target)(*args, **kwargs)
        bound = getattr(self._objects[target], method, None)
        if bound is None:
            owner = type(self._objects[target]).__name__
            raise MissingName(f"{owner}.{method}")
        if not callable(bound):  # a property or attribute is read by calling it without arguments
            return bound
        return bound(*args, **kwargs)

    def object(self, ref: int) -> Value:
        """Return the object remembered as `ref`."""
        return self._objects[ref]

    def drop(self, ref: int) -> None:
        """Forget an object."""
        self._objects.pop(ref, None)

    def clear(self) -> None:
        """Forget all objects, between cases."""
        self._objects.clear()

    def _lookup(self, name: str) -> Value:
        if name.startswith(HARNESS_PREFIX):
            return self._harness[name.removeprefix(HARNESS_PREFIX)]
        if name not in self._submission:
            raise MissingName(name)
        return self._submission[name]
