"""In which order cases are played on a mutant: what is likely to kill it for little comes first.

Takes: what a right submission's cases run and cost, and how the mutants before it ended. Gives: the
cases that run a mutant's line, in order. Pure.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from grader.mutate.mutants import Mutant
from grader.mutate.playing import Limit
from grader.mutate.program import Program

FORK_S = 0.05
"""Processor time of a fork and of loading a mutant, beside which short cases cost alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A program after it has played every case.

    Attributes:
        lines: the lines that each case runs, by number of the case and file.
        limits: what each case may take on a mutant.
        costs: processor time of each case in seconds.
    """

    program: Program
    lines: Mapping[int, Mapping[str, frozenset[int]]]
    limits: Mapping[int, Limit]
    costs: Mapping[int, float]

    def cases_of(self, mutant: Mutant) -> list[int]:
        """Return the cases that run a mutant's line; of a module's statement, its users."""
        wanted = mutant.where
        return [
            number
            for number, ran in self.lines.items()
            if any(not wanted[file].isdisjoint(ran[file]) for file in wanted.keys() & ran.keys())
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A mutant with the program and the cases that it is played in, at most `most` of them."""

    mutant: Mutant
    watched: Watched
    cases: tuple[int, ...]
    most: int


@dataclass(slots=True)
class Experience:
    """How often each case was played and killed so far, in a function and in all."""

    plays: Counter[tuple[str, int]] = field(default_factory=Counter)
    kills: Counter[tuple[str, int]] = field(default_factory=Counter)

    def order(self, job: Job) -> list[int]:
        """Return a job's cases: first those that kill most for what they cost."""
        where = f"{job.mutant.file}:{job.mutant.function}"

        def worth(case: int) -> float:
            near, far = (where, case), ("", case)
            kills = 1 + 5 * self.kills[near] + self.kills[far]
            plays = 2 + 5 * self.plays[near] + self.plays[far]
            return kills / plays / (FORK_S + job.watched.costs[case])

        return sorted(job.cases, key=worth, reverse=True)[: job.most]

    def note(self, job: Job, case: int, *, killed: bool) -> None:
        """Remember how a case ended."""
        for key in ((f"{job.mutant.file}:{job.mutant.function}", case), ("", case)):
            self.plays[key] += 1
            self.kills[key] += killed
