"""Makes the launchers of a shared library callable as functions of Python.

A launcher is a C++ function of the submission that starts a kernel; the assignment declares it (see
`assignment.launcher`). All of this happens in the worker, in which nothing is trusted. Arguments
are checked only as far as a call needs it: a launcher must refuse bad ones itself.
"""

import ctypes
import json
from typing import Any

import torch

from ..tensors import DTYPES

MAX_RANK = 8
_DTYPES = "float64 float32 float16 bfloat16 int64 int32 int16 int8".split()
CODES = {DTYPES[name]: code for code, name in enumerate(_DTYPES)}
OTHER = len(CODES)
OK, BAD_INPUT, NOT_IMPLEMENTED = 0, 1, 2

Json = Any  # a part of a launcher's declaration
Value = Any  # what a case passes


class TensorForm(ctypes.Structure):
    """The header's `grader::Tensor`."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("dtype", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("shape", ctypes.c_int64 * MAX_RANK),
        ("stride", ctypes.c_int64 * MAX_RANK),
    )


_NUMBERS: dict[str, type] = {
    "double": ctypes.c_double,
    "int64": ctypes.c_int64,
    "bool": ctypes.c_bool,
}


def bind(path: str, launchers: str, namespace: dict[str, Value]) -> None:
    """Load a library and put a function into `namespace` for each launcher that it defines.

    The declarations of the launchers are JSON; the namespace is that of the module that is imported
    as the submission.

    Raises:
        OSError: if the library cannot be loaded.
    """
    library = ctypes.CDLL(path)
    for form in json.loads(launchers):
        function = getattr(library, form["name"], None)
        if function is not None:
            function.restype = ctypes.c_int32
            namespace[form["name"]] = Launch(form, function)


class Launch:
    """One launcher, called with the arguments of the Python function that it implements."""

    def __init__(self, form: Json, function: Value) -> None:
        self._form = form
        self._function = function

    def __call__(self, *args: Value, **kwargs: Value) -> Value:
        """Allocate the outputs, launch, and return them.

        Raises:
            ValueError: if the launcher returns BAD_INPUT, or an argument cannot be passed to it.
            NotImplementedError: if it returns NOT_IMPLEMENTED.
            RuntimeError: if it returns any other status but OK.
        """
        given = self._flatten(args, kwargs)
        tensors = {
            p["name"]: value
            for p, value in given
            if p["kind"] == "tensor" and isinstance(value, torch.Tensor)
        }
        outputs = [self._allocate(output, tensors) for output in self._form["outputs"]]
        passed = [_pass(parameter, value) for parameter, value in given]
        passed += [ctypes.byref(_describe(output)) for output in outputs]
        status = self._function(*passed, _stream(outputs[0]))
        name = self._form["name"]
        if status == BAD_INPUT:
            raise ValueError(f"{name} returned BAD_INPUT")
        if status == NOT_IMPLEMENTED:
            raise NotImplementedError(name)
        if status != OK:
            raise RuntimeError(f"{name} returned status {status}")
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _flatten(
        self, args: tuple[Value, ...], kwargs: dict[str, Value]
    ) -> list[tuple[Json, Value]]:
        """Return each parameter with its value."""
        arguments = self._form["arguments"]
        values = dict(zip((argument["name"] for argument in arguments), args, strict=False))
        values.update(kwargs)
        flat: list[tuple[Json, Value]] = []
        for argument in arguments:
            parameters = argument["parameters"]
            if argument["is_tuple"]:
                parts = tuple(values.get(argument["name"], ()))
                if len(parts) != len(parameters):
                    raise ValueError(f"{argument['name']} has {len(parts)} parts")
                flat += list(zip(parameters, parts, strict=True))
            else:
                (parameter,) = parameters
                flat.append((parameter, values.get(argument["name"], _default(parameter))))
        return flat

    def _allocate(self, output: Json, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return an empty output; an axis that no input has (its rank is wrong) gets size 0."""
        sizes: dict[str, int] = {}
        for parameter in (p for a in self._form["arguments"] for p in a["parameters"]):
            if parameter["name"] in tensors:
                found = tensors[parameter["name"]].shape
                for letter, size in zip(parameter["axes"], found, strict=False):
                    sizes.setdefault(letter, size)
        if not tensors:
            raise ValueError("no tensor was passed")
        like = tensors.get(output["dtype"], next(iter(tensors.values())))
        dtype = like.dtype if output["dtype"] in tensors else DTYPES.get(output["dtype"])
        shape = tuple(sizes.get(letter, 0) for letter in output["axes"])
        return torch.empty(shape, dtype=dtype or like.dtype, device=like.device)


def _default(parameter: Json) -> Value:
    if parameter["words"]:
        return parameter["words"][0]
    return parameter["default"][0] if parameter["default"] else None


def _pass(parameter: Json, value: Value) -> Value:
    """Convert a value to what the C++ function takes.

    Raises:
        ValueError: if it has the wrong type.
    """
    if value is None and parameter["optional"]:
        return ctypes.c_void_p()
    if parameter["kind"] == "tensor":
        if not isinstance(value, torch.Tensor):
            raise ValueError(f"{parameter['name']} is not a tensor")
        return ctypes.byref(_describe(value))
    if parameter["kind"] == "choice":
        words = parameter["words"]
        return ctypes.c_int32(words.index(value) if value in words else -1)
    if not isinstance(value, int | float):
        raise ValueError(f"{parameter['name']} is not a number")
    number = _NUMBERS[parameter["kind"]](int(value) if parameter["kind"] == "int64" else value)
    return ctypes.byref(number) if parameter["optional"] else number


def _describe(tensor: torch.Tensor) -> TensorForm:
    """Return the C structure that describes a tensor.

    Raises:
        ValueError: if it has more than `MAX_RANK` axes.
    """
    rank = tensor.dim()
    if rank > MAX_RANK:
        raise ValueError(f"a tensor has {rank} axes, but at most {MAX_RANK} are allowed")
    form = TensorForm(data=tensor.data_ptr(), dtype=CODES.get(tensor.dtype, OTHER), rank=rank)
    form.shape[:rank] = tensor.shape
    form.stride[:rank] = tensor.stride()
    return form


def _stream(tensor: torch.Tensor) -> ctypes.c_void_p:
    """Return torch's current stream; null for a tensor on the CPU."""
    if not tensor.is_cuda:
        return ctypes.c_void_p()
    return ctypes.c_void_p(torch.cuda.current_stream(tensor.device).cuda_stream)
