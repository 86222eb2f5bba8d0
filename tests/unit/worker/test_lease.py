"""One holder at a time; nothing stays of a process that was killed."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from grader.errors import DeviceError
from grader.worker.lease import hold_lease

ROOT = Path(__file__).resolve().parents[3]
GPU = "GPU-00000000-1111-2222-3333-444444444444"

HOLDER = """
    import sys, time
    from pathlib import Path
    from grader.worker.lease import hold_lease

    say = lambda *words: print(*words, flush=True)
    folder, device = Path(sys.argv[1]), sys.argv[2]
    with hold_lease(device, folder=folder, on_wait=lambda holder: say("waits", holder)):
        say("holds")
        sys.stdin.readline()
    say("done")
"""


class Holder:
    """Another process that asks for a lease, holds it, and lets go when told."""

    def __init__(self, folder, device):
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(HOLDER), str(folder), device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    @property
    def pid(self):
        return self.process.pid

    def capture(self):
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def capture_named(self):
        """Return what it says, once the holder has written its number down."""
        while (said := self.capture()) == "waits another run has it":
            pass
        return said

    def let_go(self):
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "leases"


@pytest.fixture
def ask(folder):
    with contextlib.ExitStack() as stack:

        def start(device="cpu"):
            holder = Holder(folder, device)
            stack.callback(holder.end)
            return holder

        yield start


def test_two_processes_hold_one_after_the_other(ask):
    first = ask()
    assert first.capture() == "holds"
    second = ask()
    assert second.capture() == f"waits process {first.pid} has it"
    first.let_go()
    assert second.capture() == "holds"
    third = ask()
    assert third.capture() == f"waits process {second.pid} has it"
    second.let_go()
    assert third.capture() == "holds"


def test_a_killed_holder_holds_nothing(ask):
    first = ask()
    assert first.capture() == "holds"
    second = ask()
    second.capture()
    os.kill(first.pid, signal.SIGKILL)
    assert second.capture() == "holds"


def test_who_waits_is_told_of_each_new_holder(ask):
    first, _ = (one := ask()), one.capture()
    waiting = [ask(), ask()]
    for one in waiting:
        assert one.capture() == f"waits process {first.pid} has it"
    first.let_go()
    replies = {one.capture_named(): one for one in waiting}
    holder = replies.pop("holds")
    ((reply, other),) = replies.items()
    assert reply == f"waits process {holder.pid} has it"
    holder.end()
    assert other.capture() == "holds"


def test_devices_do_not_wait_for_each_other(ask):
    assert ask("cpu").capture() == "holds"
    assert ask(GPU).capture() == "holds"


def test_threads_wait_for_each_other(folder):
    order = []

    def run(number):
        with hold_lease("cpu", folder=folder):
            order.append(number)
            time.sleep(0.02)
            order.append(number)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert order[::2] == order[1::2]
    assert len(set(order)) == 4


def test_the_wait_has_a_limit(folder):
    told: list[str] = []
    holder = f"process {os.getpid()} has it"
    with (
        hold_lease("cpu", folder=folder),
        pytest.raises(DeviceError, match=holder),
        hold_lease("cpu", folder=folder, limit_s=0.1, on_wait=told.append),
    ):
        pass
    assert told == [holder]
    with hold_lease("cpu", folder=folder, limit_s=0.0):
        pass


@pytest.mark.parametrize("content", [b"", b"\x1b[2J", b"\xff", b"9" * 1000])
def test_what_a_lock_file_says_decides_nothing(folder, content):
    with hold_lease("cpu", folder=folder):
        (folder / "cpu.lease").write_bytes(content)
        with pytest.raises(DeviceError) as caught, hold_lease("cpu", folder=folder, limit_s=0.0):
            pass
        assert str(caught.value).isprintable()
    with hold_lease("cpu", folder=folder, limit_s=0.0):
        pass


def test_a_failure_gives_the_lease_back(folder):
    with pytest.raises(ZeroDivisionError), hold_lease("cpu", folder=folder):
        raise ZeroDivisionError
    with hold_lease("cpu", folder=folder, limit_s=0.0):
        pass


def test_the_folder_is_for_everybody(folder):
    before = os.umask(0o077)
    try:
        with hold_lease("cpu", folder=folder):
            assert folder.stat().st_mode & 0o7777 == 0o1777
            assert [path.name for path in folder.iterdir()] == ["cpu.lease"]
            assert (folder / "cpu.lease").stat().st_mode & 0o777 == 0o666
    finally:
        os.umask(before)


def test_nothing_is_followed(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder.symlink_to(elsewhere)
    with pytest.raises(DeviceError), hold_lease("cpu", folder=folder):
        pass
    folder.unlink()
    folder.mkdir()
    (folder / "cpu.lease").symlink_to(elsewhere / "victim")
    with pytest.raises(DeviceError), hold_lease("cpu", folder=folder):
        pass
    assert not list(elsewhere.iterdir())


def test_a_pipe_in_place_of_the_lock_holds_nobody_up(folder):
    folder.mkdir()
    os.mkfifo(folder / "cpu.lease")
    with pytest.raises(DeviceError, match="not a plain file"), hold_lease("cpu", folder=folder):
        pass


def test_a_folder_that_others_may_empty_is_refused(folder):
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(DeviceError, match="sticky"), hold_lease("cpu", folder=folder):
        pass


@pytest.mark.parametrize("name", ["", "../cpu", "a.b", "x" * 100, "GPU 1"])
def test_a_device_has_a_plain_name(name, folder):
    with pytest.raises(DeviceError, match="not the name"), hold_lease(name, folder=folder):
        pass


def test_who_holds_it_again_and_again_lets_others_in(ask, folder):
    """A run that times one submission right after the other would keep all other runs out."""
    times = 0
    with hold_lease("cpu", folder=folder):
        other = ask()
        assert other.capture().startswith("waits")
    heard = threading.Thread(target=other.capture)
    heard.start()
    while heard.is_alive() and times < 200:
        with contextlib.suppress(DeviceError), hold_lease("cpu", folder=folder, limit_s=0.02):
            times += 1
            time.sleep(0.02)
    heard.join(timeout=5)
    other.let_go()
    assert other.capture() == "done"
    assert times < 20
