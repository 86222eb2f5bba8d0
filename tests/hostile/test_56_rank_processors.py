"""Ranks that would compute on more processors than one, by an affinity of any thread."""

from grader.judge.judgement import Cause
from tests.hostile.conftest import Attack
from tests.hostile.rank_honest import RANK_HONEST

ATTACK = """
import os, threading
def widen(pid):
    try:
        os.sched_setaffinity(pid, range(os.cpu_count()))
        return "set"
    except OSError:
        return "refused"
own = average
def average(x):
    seen = [len(os.sched_getaffinity(0)), widen(0), widen(os.getpid())]
    thread = threading.Thread(target=lambda: seen.append(widen(threading.get_native_id())))
    thread.start()
    thread.join()
    torch.set_num_threads(4)
    seen.append(len(os.sched_getaffinity(0)))
    print(*seen)
    return own(x)
"""


def test_a_rank_stays_on_one_processor(attack_ranks: Attack) -> None:
    result = attack_ranks(RANK_HONEST + ATTACK)
    lines = {
        line
        for problem in result.measurement.problems
        for line in (problem.output + problem.hidden_output).splitlines()
        if line and not line.startswith("[rank")
    }
    assert lines == {"1 refused refused refused 1"}
    assert result.cause("average") is Cause.NONE, result.finding("average")
