"""The declared numbers, structures and parameters are those of the header."""

import ctypes
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from grader.runner.cuda import api as cuda_api
from grader.runner.cuda.api import SIGNATURES, CudaApi, CudaCallFailed
from tests.unit.worker.cuda.fake_libraries import FakeCuda

CONSTANTS = {
    name: value
    for name, value in vars(cuda_api).items()
    if name.startswith(("CU_", "CUDA_")) and isinstance(value, int)
}
STRUCTURES = {
    "CUmemLocation": cuda_api.Location,
    "CUmemAllocationProp": cuda_api.AllocationProperties,
    "CUmemAccessDesc": cuda_api.AccessDescription,
    "CUuuid": cuda_api.Uuid,
}


def header_path():
    """Return the driver's header that Triton ships, if it does."""
    spec = importlib.util.find_spec("triton")
    folders = spec.submodule_search_locations if spec else None
    path = Path(next(iter(folders or [""]))) / "backends" / "nvidia" / "include" / "cuda.h"
    return path if path.is_file() else None


HEADER = header_path()
needs_header = pytest.mark.skipif(HEADER is None, reason="triton ships no cuda.h here")


@pytest.fixture(scope="module")
def header():
    assert HEADER
    return HEADER.read_text(encoding="utf-8", errors="replace")


@needs_header
@pytest.mark.parametrize("name", CONSTANTS)
def test_an_enumerator_has_the_headers_value(header, name):
    found = re.search(rf"^\s*{name}\s*=\s*(0x[0-9a-fA-F]+|\d+)\s*,?", header, re.MULTILINE)
    assert found, name
    assert int(found[1], 0) == CONSTANTS[name]


SPELLINGS: dict[str, set[Any]] = {
    "unsigned int": {ctypes.c_uint},
    "int": {ctypes.c_int},
    "size_t": {ctypes.c_size_t},
    "unsigned long long": {ctypes.c_uint64},
    "unsigned char": {ctypes.c_ubyte},
    "CUdeviceptr": {ctypes.c_uint64},
    "CUmemGenericAllocationHandle": {ctypes.c_uint64},
    "CUdevice": {ctypes.c_int},
    "CUcontext": {ctypes.c_void_p},
    "void *": {ctypes.c_void_p},
    "char *": {ctypes.c_char_p},
}
POINTED = {
    "CUuuid": cuda_api.Uuid,
    "CUmemAllocationProp": cuda_api.AllocationProperties,
    "CUmemAccessDesc": cuda_api.AccessDescription,
    "char *": ctypes.c_char_p,
    "CUcontext": ctypes.c_void_p,
}


def type_of(parameter):
    """Return the C type of a declared parameter, without its name and `const`."""
    words = re.sub(r"\bconst\b", "", parameter).replace("*", " * ").split()
    return " ".join(words[:-1])


def fits(declared, c_type):
    if c_type in SPELLINGS:
        return declared in SPELLINGS[c_type]
    if not c_type.endswith("*"):
        return declared is ctypes.c_int  # an enumeration
    pointed = c_type.removesuffix("*").strip()
    inner = POINTED.get(pointed) or next(iter(SPELLINGS.get(pointed, {ctypes.c_int})))
    return issubclass(declared, ctypes._Pointer) and declared._type_ is inner


@needs_header
@pytest.mark.parametrize("name", SIGNATURES)
def test_a_function_has_the_headers_parameters(header, name):
    plain = re.sub(r"_v\d$", "", name)
    found = re.search(rf"^CUresult CUDAAPI {plain}\(([^)]*)\);", header, re.MULTILINE)
    assert found, name
    parameters = [p for p in found[1].split(",") if p.strip() != "void"]
    declared = SIGNATURES[name]
    assert len(parameters) == len(declared)
    for parameter, kind in zip(parameters, declared, strict=True):
        assert fits(kind, type_of(parameter)), f"{parameter}: {kind}"


@needs_header
@pytest.mark.parametrize("name", SIGNATURES)
def test_a_function_has_the_headers_version(header, name):
    plain = re.sub(r"_v\d$", "", name)
    renamed = re.search(rf"^#define {plain}\s+(?:\w+\()?(\w+)\)?", header, re.MULTILINE)
    assert name == (renamed[1] if renamed else plain)


PROGRAM = """
#include <cuda.h>
#include <stddef.h>
#include <stdio.h>
int main(void) {
%s
  return 0;
}
"""


def fields_of(structure, prefix=""):
    for name, kind in structure._fields_:
        start = getattr(structure, name).offset
        yield f"{prefix}{name}", start
        if isinstance(kind, type) and issubclass(kind, ctypes.Structure):
            for inner, offset in fields_of(kind, f"{prefix}{name}."):
                yield inner, start + offset


@needs_header
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_structures_lie_as_the_compiler_lays_them(tmp_path):
    assert HEADER
    expected, lines = [], []
    for name, structure in STRUCTURES.items():
        expected.append(ctypes.sizeof(structure))
        lines.append(f'  printf("%zu\\n", sizeof({name}));')
        for field, offset in fields_of(structure):
            expected.append(offset)
            lines.append(f'  printf("%zu\\n", offsetof({name}, {field}));')
    source = tmp_path / "layout.c"
    source.write_text(PROGRAM % "\n".join(lines))
    binary = tmp_path / "layout"
    subprocess.run(["cc", f"-I{HEADER.parent}", source, "-o", binary], check=True)
    printed = subprocess.run([binary], capture_output=True, text=True, check=True).stdout
    assert [int(line) for line in printed.split()] == expected


def test_the_context_is_current_in_every_call():
    library = FakeCuda()
    api = CudaApi(library, 0)
    assert library.names() == ["cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain"]
    api.granularity_bytes()
    assert [name for name, _ in library.log[-2:]] == [
        "cuCtxSetCurrent",
        "cuMemGetAllocationGranularity",
    ]
    assert library.arguments("cuCtxSetCurrent") == (0xC0FFEE,)


def test_a_refusal_names_call_and_code():
    with pytest.raises(CudaCallFailed, match=r"cuInit: error \(100\)") as caught:
        CudaApi(FakeCuda(cuInit=100), 0)
    assert (caught.value.call, caught.value.code, caught.value.name) == ("cuInit", 100, "")
