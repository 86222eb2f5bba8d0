"""One public case with live inputs: to look at it, to paste its calls, and to run it again.

`print(case("KVCache.append_chunks", 0))` shows the calls as code. The code uses the methods of
`Case`, so this module says what each of its lines does.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from grader.assignment.declare import load_harness
from grader.assignment.public_cases import CaseName, code_of_case
from grader.assignment.steps import Call, Each, Expect, New, On, Raises, Step, Value
from grader.assignment.table import Assignment
from grader.correctness.drive import observe_values
from grader.evidence.faults import Raised
from grader.evidence.observations import CaseMeasurement
from grader.runner.protocol import Unsendable
from grader.student.local_ranks import LocalRanks
from grader.student.local_worker import as_sent
from grader.student.result import PublicResult, finding_rows
from grader.student.tensors import overwrite
from grader.student.trace import load_problem, map_leaves
from grader.student.verdict import Origin, judge_case, origins_of

Replay = Callable[[Any, Mapping[str, Any]], PublicResult]
_RECORDED = object()


class Caught:
    """The exception that a line had to raise; `text` is empty until it came."""

    text: str = ""


class Case:
    """A public case.

    Attributes:
        name: such as `KVCache.append_chunks[0]`.
        description: what the check is about.
        calls: the calls as they are recorded, in order; those over ranks as `Each`.
        arguments: arguments of each call by position or keyword; by rank, if ranks get others.
            Tensors are live and yours: dtypes, shapes and strides are those of the case.
        expected: what is expected, in the order of the comparisons.
        outcomes: what `compare` and `raises` found so far: whether it was right, and the text.
    """

    def __init__(self, *, folder: Path, table: Assignment, name: CaseName, run: Replay) -> None:
        load_harness(folder, "harness")  # so that it can be imported wherever the code is pasted
        if not torch.cuda.is_available():
            os.environ.setdefault("TRITON_INTERPRET", "1")  # kernels run on the CPU, slowly
        problem = load_problem(folder, name.problem)
        (check,) = (one for one in problem.checks if one.name == name.check)
        steps = check.instances[name.index]
        (planned,) = (one for one in table.problems if one.name == name.problem)
        (tolerance,) = (one.tolerance for one in planned.checks if one.name == name.check)
        requests = [one for one in map(_request, steps) if one is not None]
        self.name, self.description = str(name), check.description
        self.calls = tuple(requests)
        self.arguments = tuple(map(_arguments, requests))
        self.outcomes: list[tuple[bool, str]] = []
        self._expectations = tuple(step for step in steps if isinstance(step, Expect))
        self.expected: tuple[Value, ...] = tuple(step.want for step in self._expectations)
        self._most_ranks, self._tolerance, self._run = planned.ranks, tolerance, run
        self._code = code_of_case(folder, name)

    def __repr__(self) -> str:
        """Return the calls as code."""
        return self._code

    def run(self, defined: Any = None, /, **exports: Any) -> PublicResult:  # noqa: ANN401 - the student's
        """Run the case on the student's function or class, show the result and return it."""
        return self._run(defined, exports)

    def compare(self, number: int, got: Value, want: Value = _RECORDED) -> bool:
        """Compare a reply with what is expected, print the outcome and return if it is right.

        Args:
            number: of the comparison within the case, from 0.
            got: the reply.
            want: what is expected, where that is another reply.
        """
        step = self._expectations[number]
        want = step.want if want is _RECORDED else want
        try:
            got = as_sent(got)
        except Unsendable as error:
            return self._note(False, f"{step.label}: not as expected: {error} cannot be read")
        step = replace(step, got=got, want=want)
        seen = CaseMeasurement(
            check=self.name,
            index=0,
            public=True,
            observations=observe_values(step),
            faults=(),
            calls=0,
            wall_ns=0,
        )
        finding = judge_case(seen, self._tolerance, [*origins_of(step, 0), Origin(steps=0)]).reason
        if finding is None:
            return self._note(True, f"{step.label}: as expected")
        rows = (f"\n  {name:<8}  {text}" for name, text in finding_rows(finding))
        return self._note(False, f"{step.label}: not as expected{''.join(rows)}")

    @contextlib.contextmanager
    def raises(self, error: type[BaseException]) -> Iterator[Caught]:
        """Expect that the lines inside raise this exception, and print whether they do."""
        caught = Caught()
        try:
            yield caught
        except error as came:
            caught.text = str(came)
            self._note(True, f"raised {type(came).__name__}, as expected: {caught.text}")
        else:
            self._note(False, f"expected {error.__name__}, but no error was raised")

    def overwrite(self, call: int) -> None:
        """Overwrite the tensors passed to a call, as a caller that reuses its buffers would."""

        def fill(leaf: Value) -> Value:
            if isinstance(leaf, torch.Tensor):
                overwrite(leaf)
            return leaf

        map_leaves(self.arguments[call], fill)

    def copy(self, reply: Value) -> Value:
        """Return a copy of a reply: grading copies it at once, later calls may change yours."""
        return as_sent(reply)

    def on_ranks(self, program: Callable[[int], Sequence[Value] | None], size: int) -> list[Value]:
        """Run `program(rank)` in a process group of `size` processes.

        Returns:
            what each rank returned, turned round: for each reply a list by rank.
        """

        def one_rank(rank: int) -> Value:
            self.outcomes = []
            replies = list(program(rank) or [])
            return [replies, [list(outcome) for outcome in self.outcomes]]

        ranks = LocalRanks({"one_rank": one_rank}, {}, most=max(size, self._most_ranks))
        try:
            ranks.world(size)
            answers = ranks.ask({rank: Call("one_rank", rank) for rank in range(size)}, None)
        finally:
            ranks.close()
        by_rank: list[list[Value]] = []
        for rank, answer in sorted(answers.items()):
            if isinstance(answer, Raised):
                raise answer
            replies, outcomes = answer
            by_rank.append(replies)
            for right, text in outcomes:
                self._note(right, f"rank {rank}: {text}")
        return [list(one) for one in zip(*by_rank, strict=True)]

    def gather(self, reply: Value) -> list[Value]:
        """Return the replies of all ranks; only inside a program of `on_ranks`."""
        everyone: list[Value] = [None] * dist.get_world_size()
        dist.all_gather_object(everyone, reply)
        return everyone

    def _note(self, right: bool, text: str) -> bool:
        self.outcomes.append((right, text))
        if not dist.is_initialized():  # a rank's outcomes are printed by the process that asked it
            print(text)
        return right


def _request(step: Step) -> New | Call | Each | On | None:
    step = step.step if isinstance(step, Raises) else step
    return step if isinstance(step, New | Call | Each | On) else None


def _arguments(step: New | Call | Each | On) -> Any:  # noqa: ANN401 - a dict, or a list of them
    match step:
        case Each():
            by_rank = [_arguments(one) for one in step.steps]
            return by_rank if len(by_rank) > 1 else by_rank[0]
        case On():
            return _arguments(step.step)
        case _:
            return {**dict(enumerate(step.args)), **step.kwargs}
