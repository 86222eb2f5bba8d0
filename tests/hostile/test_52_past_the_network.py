"""Ranks that talk past the network: by files, sockets, shared memory, signals, or datagrams."""

from grader.judge.judgement import Cause
from tests.hostile.conftest import Attack
from tests.hostile.rank_honest import RANK_HONEST

TRY = """
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def tried(name, action):
    try:
        print(name, "DONE" if action() else "refused")
    except OSError:
        print(name, "refused")
def meet(name, give, take):
    '''Rank 0 gives, then rank 1 takes.'''
    rank = dist.get_rank()
    if rank == 0:
        try:
            give()
        except OSError:
            pass
    dist.barrier()
    if rank == 1:
        tried(name, take)
    dist.barrier()
KEPT = []
FOLDERS = ("/tmp", "/dev/shm", "/var/tmp", "/run")
HOME = [os.environ["HOME"]]
def in_file(folder):
    path = f"{folder}/meeting"
    return lambda: open(path, "w").write("x"), lambda: open(path).read() == "x"
def listen(address):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(address)
    sock.listen()
    KEPT.append(sock)
def abstract():
    listen(chr(0) + "meeting")
def reach():
    socket.socket(socket.AF_UNIX).connect(chr(0) + "meeting")
    return True
def named():
    path = HOME[0] + "/meeting.sock"
    listen(path)
    os.chmod(path, 0o777)
def reach_named():
    socket.socket(socket.AF_UNIX).connect(HOME[0] + "/meeting.sock")
    return True
def every_process():
    done = []
    for pid in range(1, 400):
        own_thread = libc.syscall(234, os.getpid(), pid, 0) == 0  # tgkill
        if not own_thread:
            try:
                os.kill(pid, 0); done.append(pid)
            except OSError:
                pass
    return bool(done)
def exchange():
    if dist.get_world_size() == 1 or KEPT:
        return
    KEPT.append(None)
    dist.broadcast_object_list(HOME, src=0)  # where rank 0 may write
    for folder in FOLDERS:
        meet(f"file in {folder}", *in_file(folder))
    meet("file in the first rank's home", *in_file(HOME[0]))
    meet("abstract socket", abstract, reach)
    meet("named socket", named, reach_named)
    key = 0x1234
    meet("SysV memory", lambda: libc.shmget(key, 64, 0o1666), lambda: libc.shmget(key, 64, 0) >= 0)
    meet("queue", lambda: libc.msgget(key, 0o1666), lambda: libc.msgget(key, 0) >= 0)
    meet("signals", lambda: None, every_process)
    tried("datagram", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
honest = average
def average(x):
    exchange()
    return honest(x)
"""


def test_no_way_but_the_network(attack_ranks: Attack) -> None:
    result = attack_ranks(RANK_HONEST + TRY)
    assert result.cause("average") is Cause.NONE, result.finding("average")
    printed = [
        line
        for problem in result.measurement.problems
        for line in (problem.output + problem.hidden_output).splitlines()
        if line and not line.startswith("[rank")
    ]
    ways = {line.rpartition(" ")[0] for line in printed}
    assert len(ways) == 11, printed
    assert [line for line in printed if not line.endswith("refused")] == []
