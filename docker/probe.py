"""The program that `grader image check` runs in a container: it imports the required packages.

Its arguments are names of packages. It prints one JSON object with versions and the confinement of
the container; if a package fails, it ends with an error. It is passed to Python as text, so it need
not be in the image.
"""

import importlib
import importlib.metadata
import json
import os
import sys
from pathlib import Path

import landlock
import torch


def main(packages: list[str]) -> None:
    """Import `packages`, multiply once, and print versions and confinement."""
    for name in packages:
        importlib.import_module(name)
    if (torch.ones(64, 64) @ torch.ones(64, 64)).sum().item() != 64**3:
        sys.exit("torch returned a wrong product of two matrices")
    lines = Path("/proc/self/status").read_text().splitlines()
    status = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    versions = {name: importlib.metadata.version(name) for name in packages}
    confinement = {
        "an unprivileged user": os.getuid() != 0,
        "no new privileges": status["NoNewPrivs"] == "1",
        "a seccomp filter": status["Seccomp"] == "2",
        "a read-only root": bool(os.statvfs("/").f_flag & os.ST_RDONLY),
        "a passable /root": os.access("/root", os.X_OK),
    }
    answer = {
        "versions": {"python": sys.version.split()[0], **versions},
        "landlock_abi": landlock.landlock_abi_version(),
        "confinement": confinement,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1:])
