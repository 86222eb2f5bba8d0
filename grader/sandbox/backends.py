"""The list of sandbox backends, and which of them this machine can use.

Whether a backend's limits really hold is tried in `worker.selftest`.
"""

import importlib
import shutil
import subprocess

from grader.errors import SandboxError, UsageError
from grader.runner.cuda.nvcc import find_host_compiler, find_nvcc
from grader.sandbox.contract import Backend

BACKENDS: dict[str, tuple[str, str]] = {
    "docker": ("grader.sandbox.docker", "DockerSandbox"),
    "bwrap": ("grader.sandbox.bwrap", "BubblewrapSandbox"),
    "none": ("grader.sandbox.none", "NoSandbox"),
}
"""Name: module and class. A module is imported only on use, because it may need more packages."""


def make_backend(name: str) -> Backend:
    """Return the backend with this name.

    Raises:
        UsageError: if there is none.
    """
    if name not in BACKENDS:
        raise UsageError(
            f"no sandbox called {name!r}", hint=f"choose one of auto, {', '.join(BACKENDS)}"
        )
    module, kind = BACKENDS[name]
    backend: Backend = getattr(importlib.import_module(module), kind)()
    return backend


def choose(name: str, image: str) -> str:
    """Return the name of a backend; `auto` chooses docker, then bwrap, and never `none`.

    Raises:
        UsageError: if the name is unknown, or neither can be used for `auto`.
    """
    if name != "auto":
        make_backend(name)
        return name
    why_not_docker = missing_docker(image)
    if not why_not_docker:
        return "docker"
    why_not_bwrap = missing_bwrap()
    if not why_not_bwrap:
        return "bwrap"
    raise UsageError(
        f"no sandbox works on this machine: docker: {why_not_docker}; bwrap: {why_not_bwrap}",
        hint="install one of them and run `grader doctor`; or use --sandbox none, which runs "
        "submissions unconfined",
    )


def missing_docker(image: str) -> str:
    """Return why the docker backend cannot be used; empty if it can."""
    try:
        from grader.sandbox.image import connect_engine
    except ModuleNotFoundError as error:
        return f"the Python package {error.name} is not installed"
    import docker.errors

    try:
        client = connect_engine()
    except SandboxError as error:
        return str(error)
    try:
        client.images.get(image)
    except docker.errors.DockerException:
        return f"the image {image} does not exist"
    finally:
        client.close()
    return ""


def missing_nvcc() -> str:
    """Return why submissions in CUDA C++ cannot be compiled on this machine; empty if they can.

    That is for bwrap and none; a container uses the compiler in its image.
    """
    if not find_nvcc():
        return "nvcc is not installed: pip install 'llm-systems-grader[cuda]'"
    return "" if find_host_compiler() else "g++ is not installed, which nvcc calls"


def missing_bwrap() -> str:
    """Return why bubblewrap makes no sandbox here; empty if it does."""
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed"
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "true"]
    probe = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return "" if probe.returncode == 0 else f"bubblewrap fails: {probe.stderr.strip()}"
