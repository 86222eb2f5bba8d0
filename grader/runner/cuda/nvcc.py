"""Compiles a submission in CUDA C++ into a shared library; nothing of it runs.

Takes: the files that were handed in, the assignment's header, architectures. Gives:
`compile_library`. Does not cover: finding the compiler (see `runner.cuda.nvcc`), what it said (see
`cuda_cpp.builder`), loading the library (see `runner.cuda.launchers`).

The compiler runs in the box, under its limits: it reads what the box may read, and the judge's
clock ends it. What it says and makes is as untrusted as any reply.
"""

import glob
import os
import shutil
import subprocess
import sys
import sysconfig
from typing import Any

import torch

SYSTEM_TOOLKITS = ("/usr/local/cuda/bin/nvcc", "/opt/cuda/bin/nvcc")
FOLDERS = "/usr/local/bin:/usr/bin:/bin"


def find_nvcc() -> str:
    """Return the path of the CUDA compiler, empty if there is none.

    The one among the interpreter's own packages first: its version is pinned.
    """
    packages = sorted(glob.glob(f"{sysconfig.get_path('purelib')}/nvidia/cu*/bin/nvcc"))
    for path in (*reversed(packages), *SYSTEM_TOOLKITS):
        if os.access(path, os.X_OK):
            return path
    return shutil.which("nvcc", path=FOLDERS) or ""


def find_host_compiler() -> str:
    """Return the path of the C++ compiler that nvcc needs, empty if there is none."""
    return shutil.which("g++", path=FOLDERS) or ""


MAX_OUTPUT_BYTES = 64 << 10
MAX_LIBRARY_BYTES = 32 << 20
"""Of a library: some hundred kernels for three architectures are a few MiB."""

Json = Any  # a part of a request


def command_line(nvcc: str, *, architectures: list[str], header: str, out: str) -> list[str]:
    """Return the compiler's command, without the source.

    Args:
        nvcc: the compiler.
        architectures: such as `compute_75` (code that a driver compiles on) or `sm_90`.
        header: file that is included before the first line, alone in its folder.
        out: the library to make.

    No symbol may stay undefined (`-z defs`), and a weak one is null for good: the loader would find
    it in what torch has loaded, and that is cuBLAS and cuDNN. `-Bsymbolic`: its names mean its own
    functions first.
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
        f"-L{top}/lib",  # where its packages keep the runtime; a system's toolkit knows its own
        *codes,
        *(f"-I{os.path.dirname(header)}", "-include", header, "-o", out),
    ]


def compile_library(request: dict[str, Json], home: str) -> Json:
    """Compile what a request holds.

    Args:
        request: `files` and `header` (tables of `name` and `text`), `entry` (a file's name) and
            `architectures`.
        home: folder to write to.

    Returns:
        a table of `missing` (which compiler is not here; empty if none is missing), `status` (of
        the compiler), `said` (its output, cut) and `library` (bytes as a tensor; none if it failed
        or is larger than `MAX_LIBRARY_BYTES`).
    """
    nvcc = find_nvcc()
    missing = "nvcc" if not nvcc else "" if find_host_compiler() else "g++"
    if missing:
        return {"missing": missing, "status": 0, "output": "", "library": []}
    handed, given, out = f"{home}/handed", f"{home}/given", f"{home}/library.so"
    _write(handed, request["files"])
    _write(given, [request["header"]])
    header = f"{given}/{request['header']['name']}"
    command = command_line(nvcc, architectures=request["architectures"], header=header, out=out)
    status, output = _run([*command, request["entry"]], home, handed)
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
    """Run the compiler in `folder`, so that messages name files as they were handed in."""
    with open(f"{home}/said", "w+b") as output:
        ended = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(home),
            check=False,
        )
        output.seek(0)
        return ended.returncode, output.read(MAX_OUTPUT_BYTES).decode(errors="replace")


def _environment(home: str) -> dict[str, str]:
    """Return the environment of the compiler: nothing that adds a flag or a folder to search."""
    path = f"/usr/local/bin:/usr/bin:/bin:{os.path.dirname(sys.executable)}"
    return {"PATH": path, "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8"}
