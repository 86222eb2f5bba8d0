"""The bubblewrap sandbox: user, pid, mount, network, ipc and uts namespaces without a daemon.

Inside its own user namespace, the fork server keeps the few capabilities that it needs to give each
child its own pid, mount, network and ipc namespaces. If the judge is root, it maps a range of uids,
and each child gets a uid that nobody else has. Otherwise fork server and children share one uid;
then the child's namespaces, its lack of capabilities and Landlock keep them apart.

The confinement of a child is in `runner.confinement`, cgroups are in `sandbox.cgroup`.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from grader.errors import SandboxError
from grader.runner.confinement import GPU_DEVICES
from grader.runner.order import WorkerKind
from grader.sandbox.contract import SandboxSpec, Started
from grader.sandbox.fork_server import RUNNER_FOLDER, SANDBOX_FOLDER, start_here
from grader.sandbox.sandbox import UIDS_PER_SANDBOX
from grader.sandbox.stale import folder_prefix

FIRST_MAPPED_UID = 0x6772_0000
"""The uid outside for uid 1 inside; far above accounts and subuid ranges."""
MAPPED_UIDS = 65535

HOME = f"{SANDBOX_FOLDER}/home"
CAPABILITIES = ("CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SETPCAP")
UID_CAPABILITIES = ("CAP_SETUID", "CAP_SETGID", "CAP_KILL", "CAP_CHOWN")

_HOLD_NAMESPACE = """
import ctypes, os
if ctypes.CDLL(None).unshare(0x10000000) == 0:
    os.write(1, b"1")
os.read(0, 1)
"""
"""A program that enters a new user namespace (CLONE_NEWUSER) and ends when its stdin closes."""

NAMESPACES = (
    "--unshare-pid",
    "--unshare-net",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup-try",
)


class BubblewrapSandbox:
    """Starts the fork server under bubblewrap."""

    def __init__(self, *, uid_range: bool | None = None) -> None:
        self._uid_range = os.geteuid() == 0 if uid_range is None else uid_range

    def start(self, spec: SandboxSpec) -> Started:
        """Build the sandbox; see `Backend.start`."""
        if shutil.which("bwrap") is None:
            raise SandboxError(
                "bubblewrap (bwrap) is not installed",
                hint="apt-get install bubblewrap, or use --sandbox docker (or none: unconfined)",
            )
        folder = Path(tempfile.mkdtemp(prefix=folder_prefix("bwrap")))
        with contextlib.ExitStack() as stack:
            fds: list[int] = []
            users = self._users(stack, fds)
            flags = ("--die-with-parent", "--new-session")
            control, stop, log = start_here(
                spec,
                prefix=["bwrap", *users, *NAMESPACES, *flags, *_file_system(spec.device)],
                folder=folder,
                root=SANDBOX_FOLDER,
                fds=fds,
            )
        return Started(
            control=control,
            stop=stop,
            log=log,
            layers=(
                "bubblewrap: own user, pid, mount, network, ipc and uts namespaces",
                "its own range of uids" if self._uid_range else "one uid",
            ),
            worker_kind=WorkerKind.NAMESPACES,
            first_uid=1 + spec.slot * UIDS_PER_SANDBOX if self._uid_range else 0,
            home=HOME,
        )

    def _users(self, stack: contextlib.ExitStack, fds: list[int]) -> list[str]:
        """Return the options that choose the user namespace and its capabilities."""
        kept = CAPABILITIES + (UID_CAPABILITIES if self._uid_range else ())
        capabilities = [option for name in kept for option in ("--cap-add", name)]
        if not self._uid_range:
            # Any other uid inside, or --disable-userns, makes bubblewrap enter a second user
            # namespace, which does not own the pid namespace: the fork server could not make
            # one per child. Seccomp denies nested user namespaces to the child instead.
            root = ("--uid", "0", "--gid", "0")
            return ["--unshare-user", *root, "--cap-drop", "ALL", *capabilities]
        fd = stack.enter_context(_user_namespace())
        fds.append(fd)
        return ["--userns", str(fd), "--cap-drop", "ALL", *capabilities]


def _file_system(device: str) -> list[str]:
    """Return the options that make the sandbox's file system: read-only programs, nothing else.

    For a GPU, also its device nodes and `/sys`, where Linux describes them.
    """
    options: list[str] = []
    for name in ("/lib", "/lib64", "/lib32", "/bin", "/sbin"):
        path = Path(name)
        if path.is_symlink():
            options += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            options += ["--ro-bind", name, name]
    options += ["--ro-bind", "/usr", "/usr"]
    for name in ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives"):
        options += ["--ro-bind-try", name, name]
    prefixes = {Path(p) for p in (sys.prefix, sys.base_prefix, os.path.realpath(sys.base_prefix))}
    outside_usr = sorted(p for p in prefixes if not p.is_relative_to("/usr"))
    for prefix in outside_usr:
        options += ["--ro-bind", str(prefix), str(prefix)]
    options += ["--ro-bind", str(RUNNER_FOLDER), f"{SANDBOX_FOLDER}/runner"]
    options += ["--dir", HOME, "--proc", "/proc", "--dev", "/dev"]
    if device == "cuda":
        for node in GPU_DEVICES:
            options += ["--dev-bind-try", node, node]
        options += ["--ro-bind-try", "/sys", "/sys"]
    # bubblewrap makes the folders above a mount point readable by its own uid alone.
    above = {parent for prefix in outside_usr for parent in prefix.parents}
    for parent in sorted({Path("/"), Path("/etc"), Path(SANDBOX_FOLDER), *above}):
        options += ["--chmod", "0755", str(parent)]
    return [*options, "--remount-ro", "/"]


@contextlib.contextmanager
def _user_namespace() -> Iterator[int]:
    """Make a user namespace with a range of uids; yields a descriptor of it.

    Uid 0 inside is root outside; only the fork server uses it, and its capabilities do not reach
    beyond the namespace. Uids 1, 2, … inside are for children, and no account outside has them.
    """
    holder = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _HOLD_NAMESPACE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        if holder.stdout.read(1) != b"1":
            raise SandboxError("a user namespace could not be made", hint="run `grader doctor`")
        mapping = f"0 0 1\n1 {FIRST_MAPPED_UID} {MAPPED_UIDS}\n"
        try:
            Path(f"/proc/{holder.pid}/uid_map").write_text(mapping)
            Path(f"/proc/{holder.pid}/gid_map").write_text(mapping)
            fd = os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY)
        except OSError as error:
            raise SandboxError(f"a range of uids could not be mapped: {error}") from error
    try:
        yield fd
    finally:
        os.close(fd)
