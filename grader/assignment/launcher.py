"""Launchers: the `[[problem.launcher]]` tables, which declare the C++ function of an export.

A launcher is called in place of an exported Python function; its arguments have the same names,
order and defaults. An entry of `inputs` is one of

    x_MN                          a tensor with axes M and N
    bias_N?                       a tensor that may be None
    qkv: (q_BHTD, k_BGSD)         a tuple of tensors
    eps: double = 1e-6            a number with its default (double, int64 or bool)
    scale: double?                a number that may be None
    activation: none | gelu       one of these words, the first by default

and an entry of `outputs` is `y_MN: x_MN` (the dtype of x_MN) or `rstd_M: float32`; an output
without axes (`loss: float32`) is a scalar. The C++ header and the calls are made from these
entries.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

DTYPE_NAMES = frozenset(
    {"float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "complex64"}
    | {"int8", "int16", "int32", "int64", "uint8", "bool"}
)
"""Dtypes that a reply may have; tolerances and outputs name them."""

_TENSOR = re.compile(r"([a-z][a-z0-9]*_([A-Z]{1,8}))(\?)?")
_TUPLE = re.compile(r"([a-z]\w*)\s*:\s*\(([^()]+)\)")
_NUMBER = re.compile(r"([a-z]\w*)\s*:\s*(double|int64|bool)\s*(?:(\?)|=\s*(\S+))")
_CHOICE = re.compile(r"([a-z]\w*)\s*:\s*([a-z]\w*(?:\s*\|\s*[a-z]\w*)+)")
_OUTPUT = re.compile(r"([a-z][a-z0-9]*(?:_([A-Z]{1,8}))?)\s*:\s*(\w+)")

INPUT_FORMS = '"x_MN", "b_N?", "pair: (x_M, y_M)", "eps: double = 1e-6" or "mode: a | b"'
OUTPUT_FORMS = '"y_MN: x_MN" or "loss: float32"'


class Kind(StrEnum):
    """The type of a parameter in C++; a choice is an enumeration."""

    TENSOR = "tensor"
    DOUBLE = "double"
    INT64 = "int64"
    BOOL = "bool"
    CHOICE = "choice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of a launcher.

    Attributes:
        name: in C++; a tensor's name ends with its axes, as in Python.
        axes: one letter for each axis of a tensor; else empty.
        optional: whether it may be None; C++ then gets a pointer, which may be null.
        default: a number's default, if it has one; else empty.
        words: the words of a choice, in the order of their values in C++.
    """

    name: str
    kind: Kind
    axes: str = ""
    optional: bool = False
    default: tuple[float | int | bool, ...] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One argument of the Python function, and the parameters that it becomes in C++.

    Attributes:
        is_tuple: whether Python passes a tuple.
    """

    name: str
    parameters: tuple[Parameter, ...]
    is_tuple: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One tensor that a launcher writes; it is contiguous and allocated before the call.

    Attributes:
        name: in C++, with its axes.
        axes: its axes; their sizes are those of the inputs with the same letters.
        dtype: a dtype's name, or the name of the input whose dtype it has.
    """

    name: str
    axes: str
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """One C++ function, called in place of an exported Python function.

    Attributes:
        name: the name of both functions.
        arguments: the arguments of the Python function, in its order.
        outputs: the tensors that Python gets back, in this order.
    """

    name: str
    arguments: tuple[Argument, ...]
    outputs: tuple[Output, ...]

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """All parameters in their order in C++, where the outputs follow."""
        return tuple(p for argument in self.arguments for p in argument.parameters)


class BadEntry(Exception):
    """An entry of `inputs` or `outputs` with no known form, or that does not fit the others."""

    def __init__(self, key: str, expected: str, found: str) -> None:
        super().__init__(f"{key}: expected {expected}, found {found!r}")


def read_launcher(name: str, inputs: Iterable[str], outputs: Iterable[str]) -> Launcher:
    """Return the launcher that a table declares.

    Raises:
        BadEntry: if an entry has no known form, a name is used twice, or no input has the axes or
            the dtype of an output.
    """
    launcher = Launcher(
        name=name,
        arguments=tuple(map(_read_input, inputs)),
        outputs=tuple(map(_read_output, outputs)),
    )
    _check(launcher)
    return launcher


def _read_input(entry: str) -> Argument:
    text = entry.strip()
    if match := _TUPLE.fullmatch(text):
        parts = [part.strip() for part in match[2].split(",") if part.strip()]
        found = [_TENSOR.fullmatch(part) for part in parts]
        tensors = tuple(_tensor(one) for one in found if one is not None and not one[3])
        if len(tensors) < len(parts):
            raise BadEntry("inputs", "a tuple of tensors such as (q_BHTD, k_BGSD)", entry)
        return Argument(name=match[1], parameters=tensors, is_tuple=True)
    if match := _TENSOR.fullmatch(text):
        return Argument(name=match[1], parameters=(_tensor(match),))
    if match := _NUMBER.fullmatch(text):
        kind = Kind(match[2])
        default = () if match[3] else (_read_number(kind, match[4], entry),)
        number = Parameter(name=match[1], kind=kind, optional=bool(match[3]), default=default)
        return Argument(name=match[1], parameters=(number,))
    if match := _CHOICE.fullmatch(text):
        words = tuple(word.strip() for word in match[2].split("|"))
        choice = Parameter(name=match[1], kind=Kind.CHOICE, words=words)
        return Argument(name=match[1], parameters=(choice,))
    raise BadEntry("inputs", INPUT_FORMS, entry)


def _tensor(match: re.Match[str]) -> Parameter:
    return Parameter(name=match[1], kind=Kind.TENSOR, axes=match[2], optional=bool(match[3]))


def _read_number(kind: Kind, text: str, entry: str) -> float | int | bool:
    try:
        if kind is Kind.BOOL:
            return {"true": True, "false": False}[text]
        return float(text) if kind is Kind.DOUBLE else int(text)
    except (ValueError, KeyError) as error:
        raise BadEntry("inputs", f"a default of type {kind.value}", entry) from error


def _read_output(entry: str) -> Output:
    match = _OUTPUT.fullmatch(entry.strip())
    if match is None:
        raise BadEntry("outputs", OUTPUT_FORMS, entry)
    return Output(name=match[1], axes=match[2] or "", dtype=match[3])


def _check(launcher: Launcher) -> None:
    """Raise unless names are unique and the inputs give all axes and dtypes of the outputs."""
    tensors = [p for p in launcher.parameters if p.kind is Kind.TENSOR]
    given = [tensor for tensor in tensors if not tensor.optional]
    if not given:
        expected = f"at least one tensor of {launcher.name} that may not be None"
        raise BadEntry("inputs", expected, "none")
    if not launcher.outputs:
        raise BadEntry("outputs", f"at least one output in {launcher.name}", "none")
    names = [p.name for p in launcher.parameters] + [o.name for o in launcher.outputs] + ["stream"]
    for name in names:
        if names.count(name) > 1:
            expected = f"each name of {launcher.name} only once (`stream` is reserved)"
            raise BadEntry("inputs", expected, name)
    axes = {letter for tensor in given for letter in tensor.axes}
    for output in launcher.outputs:
        if unknown := sorted(set(output.axes) - axes):
            raise BadEntry("outputs", f"only axes that an input of {launcher.name} has", unknown[0])
        if output.dtype not in DTYPE_NAMES and output.dtype not in [t.name for t in given]:
            expected = "a dtype or the name of an input tensor that may not be None"
            raise BadEntry("outputs", expected, output.dtype)
