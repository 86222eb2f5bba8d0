"""Where the CUDA compiler is, and the C++ compiler that it calls.

Takes: nothing. Gives: `find_nvcc`, `find_host_compiler`. Does not cover: calling them (see
`runner.nvcc`).
"""

import glob
import os
import shutil
import sysconfig

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
