"""The image: errors before the build, what it contains, what its seccomp profile denies."""

import errno
import json
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from typer.testing import CliRunner

from grader.commands.image import command
from grader.errors import SandboxError, UsageError
from grader.sandbox import image

WHEELS = (
    "landlock-1.0.0.dev5-py3-none-any.whl",
    "numpy-2.4.6-cp311-cp311-manylinux_2_28_x86_64.whl",
    "pyseccomp-0.1.2-py3-none-any.whl",
    "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl",
    "triton-3.9.0-cp311-cp311-manylinux_2_28_x86_64.whl",
    "Typing_Extensions-4.16.0-1-py3-none-any.whl",
)
REFUSED = (
    "mount umount2 pivot_root move_mount open_tree fsopen unshare setns chroot ptrace "
    "process_vm_readv process_vm_writev process_madvise pidfd_getfd kcmp keyctl add_key "
    "request_key bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register "
    "open_by_handle_at name_to_handle_at personality kexec_load kexec_file_load init_module "
    "finit_module delete_module clock_settime clock_adjtime settimeofday adjtimex shmget shmat "
    "semget msgget mq_open swapon acct reboot syslog quotactl fanotify_init memfd_secret"
).split()
NEEDED = (
    "landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp prctl setresuid "
    "setresgid setgroups capset memfd_create kill execve mmap futex sched_setaffinity prlimit64"
).split()


@pytest.fixture
def wheelhouse(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in WHEELS:
        (folder / name).write_bytes(name.encode())
    return folder


def test_wheels_are_known_by_normal_name_and_version(wheelhouse: Path) -> None:
    found = {wheel.name: wheel.version for wheel in image.read_wheels(wheelhouse)}
    assert found["torch"] == "2.13.0+cpu"
    assert found["typing-extensions"] == "4.16.0"
    assert len(found) == len(WHEELS)


def test_missing_wheels_are_named_with_the_command_that_gets_them(wheelhouse: Path) -> None:
    for path in wheelhouse.glob("t[or]*"):
        path.unlink()
    with pytest.raises(UsageError, match=r"no wheel of torch, triton$") as caught:
        image.build_image("any", wheelhouse)
    assert "pip download" in caught.value.hint


def test_a_wheelhouse_must_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a folder"):
        image.build_image("any", tmp_path / "absent")


def test_the_wheelhouse_hash_sees_content_and_names(wheelhouse: Path) -> None:
    def current() -> str:
        return image.hash_wheels(image.read_wheels(wheelhouse))

    before = current()
    assert current() == before
    (wheelhouse / WHEELS[0]).write_bytes(b"other")
    assert current() != before


@pytest.mark.parametrize("links", [True, False])
def test_the_context_holds_dockerfile_and_wheels(
    wheelhouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "other file system")

    if not links:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    context = tmp_path / "context"
    context.mkdir()
    image._fill_context(context, image.read_wheels(wheelhouse))
    assert "FROM ${BASE}" in (context / "Dockerfile").read_text()
    copies = sorted((context / "wheelhouse").iterdir())
    assert [path.read_bytes().decode() for path in copies] == sorted(WHEELS)
    assert {path.samefile(wheelhouse / path.name) for path in copies} == {links}


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("ERROR: No matching distribution found for sympy>=1.13", "no wheel of sympy"),
        ("pull access denied for base", "docker import"),
        ("/bin/sh: 1: python3: not found", "venv module"),
        ("something else", "something else"),
    ],
)
def test_a_failed_build_says_what_to_do(line: str, remedy: str) -> None:
    seen: list[str] = []
    steps = [{"stream": "Step 1/2 : FROM base\n"}, {"stream": f"\n{line}\n"}, {"error": "code 1"}]
    with pytest.raises(SandboxError, match="not built: code 1") as caught:
        image._follow(iter(steps), seen.append)
    assert remedy in caught.value.hint
    assert seen == ["Step 1/2 : FROM base", line]


def test_an_unreachable_engine_is_our_fault(
    monkeypatch: pytest.MonkeyPatch, wheelhouse: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    for request in (lambda: image.build_image("any", wheelhouse), image.check_image):
        with pytest.raises(SandboxError, match="no container engine answers") as caught:
            request()
        assert "DOCKER_HOST" in caught.value.hint


def test_the_commands_pass_errors_on(wheelhouse: Path) -> None:
    (wheelhouse / WHEELS[3]).unlink()
    arguments = ["build", "--base", "any", "--wheelhouse", str(wheelhouse)]
    result = CliRunner().invoke(command, arguments)
    assert isinstance(result.exception, UsageError)
    assert CliRunner().invoke(command, ["build"]).exit_code == 2


def test_an_incomplete_installation_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(image, "docker_folder", lambda: tmp_path)
    with pytest.raises(SandboxError, match="no usable seccomp profile"):
        image.seccomp_profile()


def test_the_profile_allows_what_is_listed_and_nothing_else() -> None:
    profile = json.loads(image.seccomp_profile())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    allowed = [
        (name, rule.get("args", []))
        for rule in profile["syscalls"]
        for name in rule["names"]
        if rule["action"] == "SCMP_ACT_ALLOW"
    ]
    unconditional = [name for name, arguments in allowed if not arguments]
    assert len(unconditional) == len(set(unconditional))
    assert not {name for name, _ in allowed} & set(REFUSED)
    assert set(NEEDED) <= set(unconditional)
    assert {"socket", "socketpair", "clone", "clone3"}.isdisjoint(unconditional)


@pytest.fixture
def client() -> Iterator[docker.DockerClient]:
    engine = docker.from_env()
    yield engine
    engine.close()


@pytest.mark.docker
def test_the_image_works_unprivileged() -> None:
    facts = image.check_image()
    assert facts.image_id.startswith("sha256:")
    assert {name for name, _ in facts.versions} == {"python", *image.REQUIRED_WHEELS}
    assert facts.size_bytes > 0
    result = CliRunner().invoke(command, ["check", "--json"])
    assert json.loads(result.stdout)["python_path"] == facts.python_path


@pytest.mark.docker
def test_the_error_for_a_missing_image_names_the_command_that_builds_it() -> None:
    with pytest.raises(SandboxError, match="does not exist") as caught:
        image.check_image("grader-sandbox:never-built")
    assert "grader image build" in caught.value.hint


# Every call gets arguments that are harmless where it is allowed.
ATTEMPTS = """
import ctypes, json, os, pyseccomp, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, *arguments):
    number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
    ctypes.set_errno(0)
    longs = [ctypes.c_long(value) for value in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    libc.syscall(ctypes.c_long(number), *longs)
    return ctypes.get_errno()
def family(number, kind=socket.SOCK_STREAM, protocol=0):
    try:
        socket.socket(number, kind, protocol).close()
    except OSError as error:
        return error.errno
    return 0
seen = {name: attempt(name) for name in sys.argv[1:]}
namespaces = (17, 25, 26, 27, 28, 29, 30)  # mnt, cgroup, uts, ipc, user, pid, net
seen["clone"] = {bit: attempt("clone", 1 << bit) for bit in namespaces}
seen["clone3"] = attempt("clone3")
seen["families"] = {n: family(n) for n in (1, 2, 10)}
seen["route"] = family(16, socket.SOCK_RAW, 0)
seen["others"] = {n: family(n, socket.SOCK_DGRAM) for n in (17, 38, 40)}  # packet, alg, vsock
seen["others"]["audit"] = family(16, socket.SOCK_RAW, 9)
seen["landlock"] = attempt("landlock_create_ruleset", 0, 0, 1)
os.close(os.memfd_create("x"))
child = os.fork()
if child == 0:
    os.setgroups([]); os.setresgid(5, 5, 5); os.setresuid(5, 5, 5)
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW); rules.load()
    os._exit(7)
seen["child"] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps(seen))
"""


@pytest.mark.docker
def test_the_profile_is_enforced_around_the_fork_server(client: docker.DockerClient) -> None:
    output = client.containers.run(
        image.DEFAULT_IMAGE,
        ["/opt/venv/bin/python", "-c", ATTEMPTS, *REFUSED],
        remove=True,
        init=True,
        network_mode="none",
        read_only=True,
        cap_drop=["ALL"],
        cap_add=["SETUID", "SETGID", "KILL"],
        security_opt=["no-new-privileges", f"seccomp={image.seccomp_profile()}"],
    )
    seen = json.loads(output)
    assert {name: seen[name] for name in REFUSED} == dict.fromkeys(REFUSED, errno.EPERM)
    assert set(seen["clone"].values()) == {errno.EPERM}
    assert seen["clone3"] == errno.ENOSYS
    assert set(seen["families"].values()) == {0}
    assert seen["route"] == 0
    assert set(seen["others"].values()) == {errno.EPERM}
    assert seen["landlock"] == 0
    assert seen["child"] == 7
