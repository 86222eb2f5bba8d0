"""NVIDIA's management library, for what the CUDA driver does not tell: clocks and what lowers them.

Nothing here changes a setting of the device.

Source: NVML API reference (nvml.h): nvmlInit_v2, nvmlShutdown, nvmlDeviceGetHandleByUUID,
nvmlDeviceGetCurrentClocksEventReasons, before driver 535 nvmlDeviceGetCurrentClocksThrottleReasons;
nvmlDeviceGetClockInfo (MHz); nvmlReturn_t NVML_SUCCESS = 0; nvmlClockType_t NVML_CLOCK_SM = 1,
NVML_CLOCK_MEM = 2; nvmlSystemGetDriverVersion, NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE = 80.
"""

import ctypes
from typing import Any

from grader.errors import DeviceError
from grader.evidence.device import DeviceState, ThrottleReasons
from grader.runner.cuda.api import Library

LIBRARY = "libnvidia-ml.so.1"
_SUCCESS = 0
_VERSION_BYTES = 80
_CLOCK_SM, _CLOCK_MEMORY = 1, 2
_NEW_NAME = "nvmlDeviceGetCurrentClocksEventReasons"
_OLD_NAME = "nvmlDeviceGetCurrentClocksThrottleReasons"


def load_library() -> ctypes.CDLL:
    """Load NVML and declare the functions that are used.

    Raises:
        DeviceError: if it is not there.
    """
    try:
        library = ctypes.CDLL(LIBRARY)
        device = ctypes.c_void_p  # nvmlDevice_t: a pointer to an opaque structure
        library.nvmlDeviceGetHandleByUUID.argtypes = (ctypes.c_char_p, ctypes.POINTER(device))
        for name in (_NEW_NAME, _OLD_NAME):
            if hasattr(library, name):
                getattr(library, name).argtypes = (device, ctypes.POINTER(ctypes.c_ulonglong))
        number = ctypes.POINTER(ctypes.c_uint)
        library.nvmlDeviceGetClockInfo.argtypes = (device, ctypes.c_int, number)
        library.nvmlSystemGetDriverVersion.argtypes = (ctypes.c_char_p, ctypes.c_uint)
    except (OSError, AttributeError) as error:
        raise DeviceError(
            f"{LIBRARY} cannot be used: {error}",
            hint="install NVIDIA's driver: the library is part of it",
        ) from error
    return library


class Nvml:
    """One device, as NVML sees it."""

    def __init__(self, library: Library, uuid: str) -> None:
        self._library = library
        self._call("nvmlInit_v2")
        self._device = ctypes.c_void_p()
        try:
            self._call("nvmlDeviceGetHandleByUUID", uuid.encode(), ctypes.byref(self._device))
        except DeviceError:
            self.close()
            raise

    def driver_release(self) -> str:
        """Return the release of the installed driver, such as 580.65.06.

        Raises:
            DeviceError: if NVML refuses.
        """
        text = ctypes.create_string_buffer(_VERSION_BYTES)
        self._call("nvmlSystemGetDriverVersion", text, _VERSION_BYTES)
        return text.value.decode(errors="replace")

    def state(self) -> DeviceState:
        """Return the clocks at this moment, and what lowers them.

        Raises:
            DeviceError: if NVML refuses, or the device is lost.
        """
        name = _NEW_NAME if hasattr(self._library, _NEW_NAME) else _OLD_NAME
        bits = ctypes.c_ulonglong()
        self._call(name, self._device, ctypes.byref(bits))
        return DeviceState(
            reasons=ThrottleReasons(bits.value),
            sm_clock_mhz=self._clock_mhz(_CLOCK_SM),
            memory_clock_mhz=self._clock_mhz(_CLOCK_MEMORY),
        )

    def close(self) -> None:
        """Release the library."""
        self._call("nvmlShutdown")

    def _clock_mhz(self, kind: int) -> int:
        clock = ctypes.c_uint()
        self._call("nvmlDeviceGetClockInfo", self._device, kind, ctypes.byref(clock))
        return clock.value

    def _call(self, name: str, *arguments: Any) -> None:  # noqa: ANN401 - a foreign function's
        code = int(getattr(self._library, name)(*arguments))
        if code != _SUCCESS:
            raise DeviceError(f"{name} returned {code}", call=name, code=code)
