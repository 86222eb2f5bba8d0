"""Get a second torch, which denies nothing: a new process, a fork, another import."""

from grader.judge.judgement import Cause
from tests.hostile.conftest import Attack
from tests.hostile.kernel_honest import KERNEL, WAYS

ATTACK = """
import os, subprocess, sys

@way
def another_process(a, b):
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    print("THROUGH: a program runs")
    return a @ b

@way
def exec_in_a_fork(a, b):
    for program in (sys.executable, "/bin/sh", "/lib64/ld-linux-x86-64.so.2"):
        pid = os.fork()
        if pid == 0:
            try:
                os.execv(program, [program, "-c", "exit 0"])
            except OSError:
                os._exit(99)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 99:
            print("THROUGH:", program, "runs")
            return a @ b
    raise PermissionError

@way
def a_fork(a, b):
    pid = os.fork()
    if pid == 0:
        try:
            a @ b
            os._exit(0)
        except BaseException:
            os._exit(99)
    if os.waitpid(pid, 0)[1] == 0:
        print("THROUGH: a fork computes")
    return a @ b

@way
def import_again(a, b):
    before = dict(sys.modules)
    try:
        for name in [name for name in sys.modules if name.split(".")[0] == "torch"]:
            del sys.modules[name]
        import torch as second
        return second.mm(a, b)
    finally:
        sys.modules.clear()
        sys.modules.update(before)


@way
def libraries_from_the_disk(a, b):
    with open(os.path.join(os.path.dirname(torch.__file__), "lib", "libtorch_cpu.so"), "rb"):
        print("THROUGH: torch's libraries can be read")
    return a @ b
"""


def test_no_way_leads_through(attack_denial: Attack) -> None:
    result = attack_denial(KERNEL + WAYS + ATTACK)
    assert "THROUGH" not in result.output, result.output
    assert result.output.count("stopped") > ATTACK.count("@way")
    assert result.cause("product") is Cause.FORBIDDEN, result.finding("product")
