"""Finds the CUDA compiler, and compiles a submission in CUDA C++ into a shared library.

The compiler runs in the worker, under its limits: it can read what the worker may read, and the
judge's clock ends it. Its output and the library are as untrusted as any reply. The judge reads the
output in `cuda_cpp.builder`; the library is loaded in `runner.cuda.launchers`, never here.
"""

import glob
import os
import shutil
import subprocess
import sys
import sysconfig
from typing import Any

SYSTEM_TOOLKITS = ("/usr/local/cuda/bin/nvcc", "/opt/cuda/bin/nvcc")
FOLDERS = "/usr/local/bin:/usr/bin:/bin"
ANY_ARCHITECTURE = ("compute_75", "sm_80", "sm_90a")
"""For a device that is not known: the driver compiles the first for devices that need it."""
MAX_OUTPUT_BYTES = 64 << 10
MAX_LIBRARY_BYTES = 32 << 20
"""Size limit of a library; a hundred kernels for three architectures are a few MiB."""

Json = Any  # a part of a request


def find_nvcc() -> str:
    """Return the path of the CUDA compiler, empty if there is none.

    The one in this interpreter's packages comes first, because its version is pinned.
    """
    packages = sorted(glob.glob(f"{sysconfig.get_path('purelib')}/nvidia/cu*/bin/nvcc"))
    for path in (*reversed(packages), *SYSTEM_TOOLKITS):
        if os.access(path, os.X_OK):
            return path
    return shutil.which("nvcc", path=FOLDERS) or ""


def find_host_compiler() -> str:
    """Return the path of the C++ compiler that nvcc needs, empty if there is none."""
    return shutil.which("g++", path=FOLDERS) or ""


def command_line(nvcc: str, *, architectures: list[str], header: str, out: str) -> list[str]:
    """Return the command of the compiler, except for the source file.

    Args:
        nvcc: the compiler.
        architectures: such as `compute_75` (PTX, which the driver compiles) or `sm_90`.
        header: file to include before the first line; it is alone in its folder.
        out: path of the library to make.

    No symbol may stay undefined (`-z defs`), and an undefined weak one is null, because the loader
    would find it in the libraries that torch has loaded: cuBLAS and cuDNN. With `-Bsymbolic` the
    library calls its own functions first.
    """
    top = os.path.dirname(os.path.dirname(os.path.realpath(nvcc)))
    codes = [
        f"-gencode=arch={name.replace('sm_', 'compute_')},code={name}" for name in architectures
    ]
    return [
        *(nvcc, "-shared", "-std=c++17", "-O3", "-lineinfo", "-cudart=static"),
        *("-Xcompiler=-fPIC,-fdiagnostics-color=never", "-Xptxas=-v"),
        *("-Xlinker=-z,defs", "-Xlinker=-z,nodynamic-undefined-weak"),
        *("-Xlinker=-Bsymbolic", "-Xlinker=-s"),
        f"-L{top}/lib",  # where pip packages have the runtime; a system toolkit knows its own
        *codes,
        *(f"-I{os.path.dirname(header)}", "-include", header, "-o", out),
    ]


def compile_library(request: dict[str, Json], home: str) -> Json:
    """Compile the files of a request.

    Args:
        request: `files` (a list of `name` and `text`), `header` (one such table), `entry` (name of
            the file to compile) and `architectures`.
        home: folder to write to.

    Returns:
        a table of `missing` (the compiler that is not installed, or empty), `status` (exit status
        of the compiler), `output` (of the compiler, shortened) and `library` (a list of one tensor
        of bytes; empty if it failed or is larger than `MAX_LIBRARY_BYTES`).
    """
    import torch  # here, because the judge imports this module for `find_nvcc` alone

    nvcc = find_nvcc()
    missing = "nvcc" if not nvcc else "" if find_host_compiler() else "g++"
    if missing:
        return {"missing": missing, "status": 0, "output": "", "library": []}
    sources, headers, out = f"{home}/sources", f"{home}/headers", f"{home}/library.so"
    _write(sources, request["files"])
    _write(headers, [request["header"]])
    header = f"{headers}/{request['header']['name']}"
    command = command_line(nvcc, architectures=request["architectures"], header=header, out=out)
    status, output = _run([*command, request["entry"]], home, sources)
    library = []
    if status == 0 and os.path.getsize(out) > MAX_LIBRARY_BYTES:
        status, output = 1, f"error: the library is larger than {MAX_LIBRARY_BYTES >> 20} MiB"
    elif status == 0:
        with open(out, "rb") as made:
            library = [torch.frombuffer(bytearray(made.read()), dtype=torch.uint8)]
    return {"missing": "", "status": status, "output": output, "library": library}


def _write(folder: str, files: list[Json]) -> None:
    os.mkdir(folder)
    for file in files:
        with open(f"{folder}/{file['name']}", "x", encoding="utf-8") as source:
            source.write(file["text"])


def _run(command: list[str], home: str, folder: str) -> tuple[int, str]:
    """Run the compiler in `folder`, so that its messages name files as the student does.

    Its environment adds no flags and no include folders.
    """
    path = f"{FOLDERS}:{os.path.dirname(sys.executable)}"
    with open(f"{home}/compiler.log", "w+b") as output:
        ended = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={"PATH": path, "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8"},
            check=False,
        )
        output.seek(0)
        return ended.returncode, output.read(MAX_OUTPUT_BYTES).decode(errors="replace")
