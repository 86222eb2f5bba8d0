"""What ranks record of themselves is drawn, and neither lies nor silence change a verdict."""

from dataclasses import replace

from grader.assignment.loaded import LoadedAssignment
from grader.judge.judgement import Cause
from grader.performance.measure.phase import record_ranks
from grader.sandbox.pool import SandboxPool
from tests.hostile import race as racing
from tests.hostile.conftest import Racing
from tests.hostile.rank_honest import RANK_HONEST

LIES = """
import gc
for thing in gc.get_objects():
    if type(thing).__name__ == "Recorder":
        type(thing).take = lambda self: {"collectives": [["<b>", 1, 2, 3, 4]]}
"""

TELLS_INPUTS = """
def average(x):
    first = int(x[:1].view(torch.int32)) & 0xFFFF
    total = x.clone()
    dist.all_reduce(total)
    for entry in recorder().collectives:
        entry[1] = first
    return total / dist.get_world_size()

def recorder():
    import gc
    return next(thing for thing in gc.get_objects() if type(thing).__name__ == "Recorder")
"""


def test_collectives_of_every_rank_are_recorded(race_ranks: Racing) -> None:
    seen = race_ranks(RANK_HONEST, "step")
    assert seen.cause("step") is Cause.NONE
    (measured,) = seen.measurement.targets
    assert len(measured.timelines) == 2
    for rank in measured.timelines:
        assert {(one.name, one.nbytes) for one in rank.collectives} == {("all_reduce", 4 << 20)}
        assert len(rank.collectives) == 4  # of the phase, not of the call before it


def test_a_lie_is_not_drawn_and_costs_nothing(race_ranks: Racing) -> None:
    seen = race_ranks(RANK_HONEST + LIES, "step")
    assert seen.cause("step") is Cause.NONE
    assert seen.measurement.targets[0].timelines == ()


def test_inputs_that_ranks_tell_of_are_no_hidden_ones(
    rank_target: LoadedAssignment, rank_sandboxes: SandboxPool
) -> None:
    problem = next(p for p in rank_target.plan.problems if p.name == "average")
    target = next(t for t in problem.targets if t.name == "step")
    submission = racing.submission_of(RANK_HONEST + TELLS_INPUTS)

    def told(seed: str) -> list[list[int]]:
        loaded = replace(rank_target, plan=replace(rank_target.plan, seed=seed))
        with rank_sandboxes.borrow() as sandbox:
            ranks = record_ranks(sandbox, submission, loaded, problem, target, network_rate=0)
        return [[one.nbytes for one in rank.collectives] for rank in ranks]

    first = told("one")
    assert [len(set(sizes)) for sizes in first] == [1, 1]
    assert told("two") == first
