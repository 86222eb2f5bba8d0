"""The driver's and NVML's functions in Python: arguments are recorded, answers are set."""

import ctypes
import os
from typing import Any

from grader.runner.cuda.api import SIGNATURES

NAMES = {2: b"CUDA_ERROR_OUT_OF_MEMORY", 801: b"CUDA_ERROR_NOT_SUPPORTED"}
ATTRIBUTES = {38: 60 << 20, 102: 1, 103: 1, 108: 30 << 20}

CLOCKS_MHZ = {1: 1980, 2: 3201}

RELEASE = b"580.65.06"

VALUES = {"cuDriverGetVersion": 13000, "cuMemGetAllocationGranularity": 2 << 20}


class FakeCuda:
    """`libcuda.so.1` with a device that answers and does nothing."""

    def __init__(self, **failing):
        self.failing = failing
        self.attributes = dict(ATTRIBUTES)
        self.log: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name):
        assert name in SIGNATURES, name

        def call(*arguments):
            assert len(arguments) == len(SIGNATURES[name]), name
            self.log.append((name, tuple(map(plain, arguments))))
            if name in self.failing:
                return self.failing[name]
            self._answer(name, arguments)
            return 0

        return call

    def _answer(self, name, arguments):
        target: Any = getattr(arguments[0], "_obj", None) if arguments else None
        match name:
            case "cuGetErrorName":
                arguments[1]._obj.value = NAMES.get(arguments[0])
            case "cuDeviceGetAttribute":
                target.value = self.attributes[arguments[1]]
            case "cuDeviceGetName":
                arguments[0].value = b"NVIDIA Play"
            case "cuDeviceGetUuid_v2":
                target.bytes[:] = bytes(range(16))
            case "cuMemGetInfo_v2":
                target.value, arguments[1]._obj.value = 3 << 30, 4 << 30
            case _ if name in VALUES:
                target.value = VALUES[name]
            case "cuMemExportToShareableHandle":
                target.value = os.memfd_create("exported")
            case _ if isinstance(target, ctypes.c_uint64 | ctypes.c_void_p):
                target.value = 0xC0FFEE

    def names(self):
        """Return what was called, without what only makes the context current."""
        return [name for name, _ in self.log if name != "cuCtxSetCurrent"]

    def arguments(self, name):
        """Return the arguments of the last call of a function."""
        return [arguments for called, arguments in self.log if called == name][-1]


def plain(argument):
    """Return an argument's value when it was passed."""
    content = getattr(argument, "_obj", argument)
    return getattr(content, "value", content)


class FakeNvml:
    """`libnvidia-ml.so.1`, of a new or an old driver."""

    def __init__(self, *, bits=0, old=False, **failing):
        self.bits = bits
        self.failing = failing
        self.called: list[str] = []
        reading = "ThrottleReasons" if old else "EventReasons"
        self._known = {
            "nvmlInit_v2",
            "nvmlShutdown",
            "nvmlSystemGetDriverVersion",
            "nvmlDeviceGetHandleByUUID",
            "nvmlDeviceGetClockInfo",
            f"nvmlDeviceGetCurrentClocks{reading}",
        }

    def __getattr__(self, name):
        if name not in self._known:
            raise AttributeError(name)

        def call(*arguments):
            self.called.append(name)
            if "Clocks" in name:
                arguments[1]._obj.value = self.bits
            if name == "nvmlSystemGetDriverVersion":
                assert arguments[1] == len(arguments[0]) == 80
                arguments[0].value = RELEASE
            if name == "nvmlDeviceGetClockInfo":
                arguments[2]._obj.value = CLOCKS_MHZ[arguments[1]]
            return self.failing.get(name, 0)

        return call
