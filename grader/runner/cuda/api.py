"""The part of the CUDA driver API with which two processes share memory of a device.

`runner.cuda.memory` uses it in the worker, `worker.cuda.driver` in the judge. Streams, kernels
and events are left to torch.

Importing this module loads no library and touches no device: the fork server imports it before it
forks, and a process that has initialised CUDA cannot be forked.

Source: cuda.h of CUDA 13.0 (CUDA_VERSION 13000), which names the enumerators and structures below;
a test compares them, and the layout of the structures, with the header that Triton ships.
"""

import contextlib
import ctypes
from typing import Any, Protocol

LIBRARY = "libcuda.so.1"

# CUresult: typedef enum cudaError_enum
CUDA_SUCCESS = 0
CUDA_ERROR_OUT_OF_MEMORY = 2
CUDA_ERROR_NO_DEVICE = 100
# CUmemAllocationHandleType: typedef enum CUmemAllocationHandleType_enum
CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR = 0x1
# CUmemLocationType: typedef enum CUmemLocationType_enum
CU_MEM_LOCATION_TYPE_DEVICE = 0x1
# CUmemAllocationType: typedef enum CUmemAllocationType_enum
CU_MEM_ALLOCATION_TYPE_PINNED = 0x1
# CUmemAccess_flags: typedef enum CUmemAccess_flags_enum
CU_MEM_ACCESS_FLAGS_PROT_READWRITE = 0x3
# CUmemAllocationGranularity_flags: typedef enum CUmemAllocationGranularity_flags_enum
CU_MEM_ALLOC_GRANULARITY_MINIMUM = 0x0
# CUdevice_attribute: typedef enum CUdevice_attribute_enum
CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE = 38
CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED = 102
CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED = 103
CU_DEVICE_ATTRIBUTE_MAX_PERSISTING_L2_CACHE_SIZE = 108
# CUlimit: typedef enum CUlimit_enum
CU_LIMIT_PERSISTING_L2_CACHE_SIZE = 0x06

Device = ctypes.c_int  # typedef int CUdevice_v1
Pointer = ctypes.c_uint64  # typedef unsigned long long CUdeviceptr_v2
Handle = ctypes.c_uint64  # typedef unsigned long long CUmemGenericAllocationHandle_v1
Flags = ctypes.c_uint64  # unsigned long long


class Location(ctypes.Structure):
    """`CUmemLocation_v1`: typedef struct CUmemLocation_st."""

    _fields_ = (("type", ctypes.c_int), ("id", ctypes.c_int))


class AllocationFlags(ctypes.Structure):
    """The unnamed struct `allocFlags` in CUmemAllocationProp_st."""

    _fields_ = (
        ("compressionType", ctypes.c_ubyte),
        ("gpuDirectRDMACapable", ctypes.c_ubyte),
        ("usage", ctypes.c_ushort),
        ("reserved", ctypes.c_ubyte * 4),
    )


class AllocationProperties(ctypes.Structure):
    """`CUmemAllocationProp_v1`: typedef struct CUmemAllocationProp_st."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("requestedHandleTypes", ctypes.c_int),
        ("location", Location),
        ("win32HandleMetaData", ctypes.c_void_p),
        ("allocFlags", AllocationFlags),
    )


class AccessDescription(ctypes.Structure):
    """`CUmemAccessDesc_v1`: typedef struct CUmemAccessDesc_st."""

    _fields_ = (("location", Location), ("flags", ctypes.c_int))


class Uuid(ctypes.Structure):
    """`CUuuid`: typedef struct CUuuid_st."""

    _fields_ = (("bytes", ctypes.c_ubyte * 16),)


_to = ctypes.POINTER
_SIZE = ctypes.c_size_t
_VOID = ctypes.c_void_p

SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (ctypes.c_uint,),
    "cuDriverGetVersion": (_to(ctypes.c_int),),
    "cuGetErrorName": (ctypes.c_int, _to(ctypes.c_char_p)),
    "cuDeviceGet": (_to(Device), ctypes.c_int),
    "cuDeviceGetName": (ctypes.c_char_p, ctypes.c_int, Device),
    "cuDeviceGetUuid_v2": (_to(Uuid), Device),
    "cuDeviceGetAttribute": (_to(ctypes.c_int), ctypes.c_int, Device),
    "cuDevicePrimaryCtxRetain": (_to(_VOID), Device),
    "cuDevicePrimaryCtxRelease_v2": (Device,),
    "cuCtxSetCurrent": (_VOID,),
    "cuCtxSynchronize": (),
    "cuCtxSetLimit": (ctypes.c_int, _SIZE),
    "cuCtxResetPersistingL2Cache": (),
    "cuMemGetInfo_v2": (_to(_SIZE), _to(_SIZE)),
    "cuMemGetAllocationGranularity": (_to(_SIZE), _to(AllocationProperties), ctypes.c_int),
    "cuMemCreate": (_to(Handle), _SIZE, _to(AllocationProperties), Flags),
    "cuMemRelease": (Handle,),
    "cuMemExportToShareableHandle": (_VOID, Handle, ctypes.c_int, Flags),
    "cuMemImportFromShareableHandle": (_to(Handle), _VOID, ctypes.c_int),
    "cuMemAddressReserve": (_to(Pointer), _SIZE, _SIZE, Pointer, Flags),
    "cuMemAddressFree": (Pointer, _SIZE),
    "cuMemMap": (Pointer, _SIZE, _SIZE, Handle, Flags),
    "cuMemUnmap": (Pointer, _SIZE),
    "cuMemSetAccess": (Pointer, _SIZE, _to(AccessDescription), _SIZE),
    "cuMemcpyHtoD_v2": (Pointer, _VOID, _SIZE),
    "cuMemcpyDtoH_v2": (_VOID, Pointer, _SIZE),
    "cuMemcpyDtoD_v2": (Pointer, Pointer, _SIZE),
    "cuMemsetD8_v2": (Pointer, ctypes.c_ubyte, _SIZE),
}
"""Parameters of each function; cuda.h appends suffixes such as `_v2` to the plain names."""


class CudaCallFailed(Exception):
    """A function of the driver did not return CUDA_SUCCESS.

    Attributes:
        call: name of the function.
        code: what it returned.
        name: the driver's name for that code; empty if it has none.
    """

    def __init__(self, call: str, code: int, name: str) -> None:
        super().__init__(f"{call}: {name or 'error'} ({code})")
        self.call = call
        self.code = code
        self.name = name


class Library(Protocol):
    """The library that `CudaApi` calls: the functions of `SIGNATURES` as attributes."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a foreign function
        """Return the function `name`."""


def load_library() -> ctypes.CDLL:
    """Load the driver's library and declare its functions.

    Raises:
        CudaCallFailed: if it is missing or too old.
    """
    try:
        library = ctypes.CDLL(LIBRARY)
        for name, parameters in SIGNATURES.items():
            function = getattr(library, name)
            function.argtypes = parameters
            function.restype = ctypes.c_int
    except (OSError, AttributeError) as error:
        raise CudaCallFailed(f"loading {LIBRARY} ({error})", CUDA_ERROR_NO_DEVICE, "") from error
    return library


def shareable(ordinal: int) -> AllocationProperties:
    """Return the properties of device memory that other processes can map, by a descriptor."""
    return AllocationProperties(
        type=CU_MEM_ALLOCATION_TYPE_PINNED,
        requestedHandleTypes=CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
        location=Location(type=CU_MEM_LOCATION_TYPE_DEVICE, id=ordinal),
    )


class CudaApi:
    """One device in its primary context, which torch uses too."""

    def __init__(self, library: Library, ordinal: int) -> None:
        self._library = library
        self.ordinal = ordinal
        self._context = ctypes.c_void_p()
        self._raw("cuInit", 0)
        self.device = Device()
        self._raw("cuDeviceGet", ctypes.byref(self.device), ordinal)
        self._raw("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self.device)

    def call(self, name: str, *arguments: Any) -> None:  # noqa: ANN401 - as SIGNATURES says
        """Call a function of the driver, in this device's context.

        Raises:
            CudaCallFailed: if it does not return CUDA_SUCCESS.
        """
        self._raw("cuCtxSetCurrent", self._context)  # per thread, and torch sets it too
        self._raw(name, *arguments)

    def granularity_bytes(self) -> int:
        """Return the number of bytes that sizes of shareable memory must be multiples of."""
        found = ctypes.c_size_t()
        properties = shareable(self.ordinal)
        self.call(
            "cuMemGetAllocationGranularity",
            ctypes.byref(found),
            ctypes.byref(properties),
            CU_MEM_ALLOC_GRANULARITY_MINIMUM,
        )
        return found.value

    def import_handle(self, fd: int) -> int:
        """Return the handle of memory that another process has exported; `fd` stays open."""
        handle = Handle()
        self.call(
            "cuMemImportFromShareableHandle",
            ctypes.byref(handle),
            ctypes.c_void_p(fd),  # the descriptor itself, in place of a pointer
            CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
        )
        return handle.value

    def map(self, handle: int, size_bytes: int) -> int:
        """Map memory, readable and writable by this device, and return its address."""
        pointer = Pointer()
        self.call("cuMemAddressReserve", ctypes.byref(pointer), size_bytes, 0, 0, 0)
        with contextlib.ExitStack() as undo:
            undo.callback(self.call, "cuMemAddressFree", pointer, size_bytes)
            self.call("cuMemMap", pointer, size_bytes, 0, handle, 0)
            undo.callback(self.call, "cuMemUnmap", pointer, size_bytes)
            access = AccessDescription(
                location=Location(type=CU_MEM_LOCATION_TYPE_DEVICE, id=self.ordinal),
                flags=CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
            )
            self.call("cuMemSetAccess", pointer, size_bytes, ctypes.byref(access), 1)
            undo.pop_all()
        return pointer.value

    def unmap(self, pointer: int, size_bytes: int) -> None:
        """Remove a mapping; nothing may still use it."""
        self.call("cuMemUnmap", pointer, size_bytes)
        self.call("cuMemAddressFree", pointer, size_bytes)

    def release(self, handle: int) -> None:
        """Release memory; it is freed when no mapping and no descriptor of it is left."""
        self.call("cuMemRelease", handle)

    def close(self) -> None:
        """Release the context; it is destroyed when nobody retains it any more."""
        self._raw("cuDevicePrimaryCtxRelease_v2", self.device)

    def _raw(self, name: str, *arguments: Any) -> None:  # noqa: ANN401 - as SIGNATURES says
        code = int(getattr(self._library, name)(*arguments))
        if code != CUDA_SUCCESS:
            text = ctypes.c_char_p()
            self._library.cuGetErrorName(code, ctypes.byref(text))
            raise CudaCallFailed(name, code, (text.value or b"").decode(errors="replace"))
