"""Compiles a submission in CUDA C++ into a shared library; nothing of it runs.

Takes: the files that were handed in, the assignment's header, architectures. Gives:
`compile_library`, `find_nvcc`. Does not cover: what the compiler said (see
`measure.compiler_words`), loading the library (see `runner.launchers`).

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
MAX_SAID_BYTES = 64 << 10
MAX_LIBRARY_BYTES = 32 << 20
"""Of a library: some hundred kernels for three architectures are a few MiB."""

Json = Any  # a part of a request


def find_nvcc() -> str:
    """Return the path of the CUDA compiler, empty if there is none.

    The one among the interpreter's own packages first: its version is pinned.
    """
    packages = sorted(glob.glob(f"{sysconfig.get_path('purelib')}/nvidia/cu*/bin/nvcc"))
    for path in (*reversed(packages), *SYSTEM_TOOLKITS):
        if os.access(path, os.X_OK):
            return path
    return shutil.which("nvcc", path="/usr/local/bin:/usr/bin:/bin") or ""


def find_host_compiler() -> str:
    """Return the path of the C++ compiler that nvcc needs, empty if there is none."""
    return shutil.which("g++", path="/usr/local/bin:/usr/bin:/bin") or ""


def command_line(nvcc: str, *, architectures: list[str], header: str, out: str) -> list[str]:
    """Return the compiler's command, without the source.

    Args:
        nvcc: the compiler.
        architectures: such as `compute_75` (code that a driver compiles on) or `sm_90`.
        header: file that is included before the first line, alone in its folder.
        out: the library to make.

    No symbol may stay undefined (`-z defs`): the loader would find it in what torch has loaded, and
    that is cuBLAS and cuDNN. `-Bsymbolic`: names in it mean its own functions first.
    """
    top = os.path.dirname(os.path.dirname(os.path.realpath(nvcc)))
    codes = [
        f"-gencode=arch={name.replace('sm_', 'compute_')},code={name}" for name in architectures
    ]
    return [
        *(nvcc, "-shared", "-std=c++17", "-O3", "-lineinfo", "-cudart=static"),
        *("-Xcompiler=-fPIC,-fdiagnostics-color=never", "-Xptxas=-v"),
        *("-Xlinker=-z,defs", "-Xlinker=-Bsymbolic", "-Xlinker=-s"),
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
        return {"missing": missing, "status": 0, "said": "", "library": []}
    handed, given, out = f"{home}/handed", f"{home}/given", f"{home}/library.so"
    for folder, files in ((handed, request["files"]), (given, [request["header"]])):
        os.mkdir(folder)
        for file in files:
            with open(f"{folder}/{file['name']}", "x", encoding="utf-8") as source:
                source.write(file["text"])
    header = f"{given}/{request['header']['name']}"
    command = command_line(nvcc, architectures=request["architectures"], header=header, out=out)
    with open(f"{home}/said", "w+b") as said:
        ended = subprocess.run(
            [*command, request["entry"]],
            cwd=handed,  # so that messages name files as they were handed in
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=_environment(home),
            check=False,
        )
        said.seek(0)
        text = said.read(MAX_SAID_BYTES).decode(errors="replace")
    status, library = ended.returncode, []
    if status == 0 and os.path.getsize(out) > MAX_LIBRARY_BYTES:
        status, text = 1, f"the library is larger than {MAX_LIBRARY_BYTES >> 20} MiB"
    elif status == 0:
        with open(out, "rb") as made:
            library = [torch.frombuffer(bytearray(made.read()), dtype=torch.uint8)]
    return {"missing": "", "status": status, "said": text, "library": library}


def _environment(home: str) -> dict[str, str]:
    """Return the environment of the compiler: nothing that adds a flag or a folder to search."""
    path = f"/usr/local/bin:/usr/bin:/bin:{os.path.dirname(sys.executable)}"
    return {"PATH": path, "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8"}
