"""Plays every mutant against the cases that run its line, on several cores.

Takes: an assignment. Gives: a `MutationReport`. Does not cover: targets; wrong submissions.

Each program first plays every case once, watched, so that it is known which lines a case runs and
what it costs. A mutant then plays only the cases that run its line, first the one that is most
likely to kill it for what it costs, as the mutants before it have shown.
"""

import selectors
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grader.assignment.loaded import LoadedAssignment
from grader.errors import AuthorError, UsageError
from grader.evidence.comparison import use_one_thread
from grader.mutate.equivalent import Equivalents, complain, read_equivalents
from grader.mutate.mutants import Mutant, make_mutants
from grader.mutate.order import Experience, Job, Watched
from grader.mutate.outcome import OPEN, Fate, MutationReport, Outcome
from grader.mutate.playing import (
    Fork,
    Limit,
    Test,
    Told,
    freeze,
    read_lines,
    start_mutant,
    start_watched,
    tests_of,
    whole,
)
from grader.mutate.program import SOLUTION, Program, import_everything, programs_of

SHARE_OF_RIGHT = 8
"""One mutant in so many of a right answer is played: its mistakes are much like the solution's."""
ENTRY_CASES = 3
"""A mutant that has an entry in `equivalent.toml` plays no more, those most likely to kill it, when
all mutants are played: each survivor costs as much as ten that are killed. A sample plays all."""
CPU_FACTOR, CPU_LEAST_S = 10.0, 3.0
WALL_FACTOR, WALL_LEAST_S = 20.0, 60.0
RANKS_WALL_FACTOR, RANKS_WALL_LEAST_S = 10.0, 8.0
"""Of ranks the wall decides: where one waits for the others in vain, no processor time passes."""
LOOK_S = 0.5
"""How often the deadlines of forks that tell nothing are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a run is asked for.

    Attributes:
        jobs: mutants at a time.
        problem: name of the only problem to play; all if empty.
        sample: mutants to play; all if 0.
        turn: which sample: each turn takes others, until all have been taken.
    """

    jobs: int
    problem: str = ""
    sample: int = 0
    turn: int = 0


@dataclass(slots=True, kw_only=True)
class _Running:
    """A fork that plays a mutant, and what it has told so far.

    Attributes:
        deadline_s: when it is ended, on the monotonic clock.
        case: that it plays; -1 while it loads the mutant.
        confused: cases that failed themselves.
        told: its last word; empty if it ended without one.
    """

    job: Job
    fork: Fork
    deadline_s: float
    rest: bytes = b""
    case: int = -1
    confused: list[int] = field(default_factory=list)
    told: Told = field(default_factory=dict)

    def listen(self, experience: Experience, *, is_ready: bool) -> bool:
        """Take in what it tells; return whether it has ended, or must be."""
        if not is_ready:
            if time.monotonic() < self.deadline_s:
                return False
            self.told = {"failed": "no reply in time"}
        else:
            lines, self.rest, ended = read_lines(self.fork, self.rest)
            for told in lines:
                self._take(told, experience)
            if not (self.told or ended):
                return False
        if "unusable" not in self.told:
            experience.note(self.job, self.case, killed="survived" not in self.told)
        return True

    def _take(self, told: Told, experience: Experience) -> None:
        if "play" in told:
            if self.case >= 0:
                experience.note(self.job, self.case, killed=False)
            self.case = told["play"]
            self.deadline_s = time.monotonic() + self.job.watched.limits[self.case].wall_s
        elif "confused" in told:
            self.confused.append(told["confused"])
        else:
            self.told = told

    def outcome(self, tests: Sequence[Test], whys: Mapping[str, str]) -> Outcome:
        """Return what has become of the mutant."""
        confused = tuple(tests[case].name for case in self.confused)
        if "survived" in self.told:
            return _outcome(self.job, Fate.SURVIVED, whys, confused=confused)
        if "unusable" in self.told:
            return _outcome(self.job, Fate.UNUSABLE, whys)
        how = self.told.get("failed", "its process ended, or ran out of time")
        by = f"{tests[self.case].name} ({how})" if self.case >= 0 else how
        return _outcome(self.job, Fate.KILLED, whys, confused=confused, killed_by=by)


def hunt(
    loaded: LoadedAssignment,
    options: Options,
    *,
    on_outcome: Callable[[Outcome, int], None] = lambda outcome, count: None,
) -> MutationReport:
    """Make mutants of an assignment's right submissions and play them in forks of this process.

    Args:
        loaded: the assignment.
        options: which mutants, and how many at a time.
        on_outcome: is called with each outcome and the number of mutants to play.

    Raises:
        AuthorError: if `equivalent.toml` has a mistake, or a right submission fails a case.
        UsageError: if there is no such problem.
    """
    begin_s, entries = time.monotonic(), read_equivalents(loaded.reference)
    played = _played(tests := tests_of(loaded), options.problem)
    with tempfile.TemporaryDirectory(prefix="grader-mutate-") as scratch:
        programs = _imported(loaded, Path(scratch))
        made = _made(programs, tests)
        taken = _taken(made, programs, played, entries, options)
        needed = [one for one in programs if one.shown in {mutant.shown for mutant in taken}]
        watched = [_watch(program, played, options.jobs) for program in needed]
        jobs = list(_jobs(taken, watched, entries, options))
        found: list[Outcome] = []
        for outcome in _play(jobs, tests, options.jobs, entries.whys):
            found.append(outcome)
            on_outcome(outcome, len(jobs))
    return MutationReport(
        assignment=loaded.assignment.slug,
        made=len(made),
        outcomes=tuple(sorted(found, key=lambda one: (one.file, one.line, one.name))),
        cases=len(played),
        complaints=tuple(complain(entries, made, found)),
        seed=loaded.plan.seed,
        turn=options.turn,
        wall_s=time.monotonic() - begin_s,
    )


def _played(tests: Sequence[Test], problem: str) -> list[tuple[int, Test]]:
    """Return the cases of a problem, or all, with their numbers.

    Raises:
        UsageError: if there is no such problem.
    """
    played = [(n, test) for n, test in enumerate(tests) if problem in ("", test.problem.name)]
    if not played:
        names = ", ".join(dict.fromkeys(test.problem.name for test in tests))
        raise UsageError(f"no problem {problem!r}; the problems are {names}")
    return played


# The right submissions ----------------------------------------------------------------------------


def _imported(loaded: LoadedAssignment, scratch: Path) -> tuple[Program, ...]:
    """Write and import all right submissions, so that forks find them in memory."""
    use_one_thread()
    programs = programs_of(loaded, scratch)
    import_everything(loaded.plan.limits.preload, programs)
    freeze()
    return programs


def _watch(program: Program, tests: Sequence[tuple[int, Test]], jobs: int) -> Watched:
    """Play every case on a program and note which lines it runs.

    Raises:
        AuthorError: if the program fails one.
    """
    names = dict(tests)
    forks = [start_watched(program, tests[start::jobs]) for start in range(jobs)]
    lines: dict[int, Mapping[str, frozenset[int]]] = {}
    limits: dict[int, Limit] = {}
    costs: dict[int, float] = {}
    try:
        for told in (told for fork in forks for told in whole(fork)):
            if "failed" in told:
                raise AuthorError(f"{program.title}: {told['failed']}")
            number = told["test"]
            if told["trouble"]:
                raise AuthorError(
                    f"{program.title} fails {names[number].name}: {told['trouble']}",
                    hint="mutants are made of submissions that pass every case; fix this first",
                )
            lines[number] = {file: frozenset(ran) for file, ran in told["lines"].items()}
            costs[number] = told["cpu_s"]
            limits[number] = _limit(names[number], told["cpu_s"], told["wall_s"])
    finally:
        for fork in forks:
            fork.kill()
    missing = [test.name for number, test in tests if number not in lines]
    if missing:
        raise AuthorError(f"{program.title}: its process ended in {missing[0]}")
    return Watched(program=program, lines=lines, limits=limits, costs=costs)


def _limit(test: Test, cpu_s: float, wall_s: float) -> Limit:
    """Return what a case may take on a mutant, from what it takes on a right submission."""
    factor, least_s = WALL_FACTOR, WALL_LEAST_S
    if test.problem.ranks:
        factor, least_s = RANKS_WALL_FACTOR, RANKS_WALL_LEAST_S
    return Limit(cpu_s=max(CPU_LEAST_S, CPU_FACTOR * cpu_s), wall_s=max(least_s, factor * wall_s))


# Which mutants ------------------------------------------------------------------------------------


def _made(programs: Sequence[Program], tests: Iterable[Test]) -> list[Mutant]:
    """Return every mutant; the solution as on a device has those of the solution."""
    exports = {name for test in tests for name in test.problem.exports}
    return [
        mutant
        for program in programs
        if program.title == program.shown
        for mutant in make_mutants(program.files, sorted(exports), shown=program.shown)
    ]


def _taken(
    made: Sequence[Mutant],
    programs: Sequence[Program],
    played: Sequence[tuple[int, Test]],
    entries: Equivalents,
    options: Options,
) -> list[Mutant]:
    """Return the mutants of this turn, in an order of no meaning."""
    left_out = tuple(entry.name for entry in entries.function)
    tests = [test for _, test in played]
    asked = {one.name for one in (_made(programs, tests) if options.problem else made)}
    found = sorted(
        (
            one
            for one in made
            if one.name in asked
            and not one.is_of(left_out)
            and (one.shown == SOLUTION or one.number % SHARE_OF_RIGHT == 0)
        ),
        key=lambda one: one.number,
    )
    if not options.sample or options.sample >= len(found):
        return found
    turns = -(-len(found) // options.sample)
    start = options.turn % turns * options.sample
    return found[start : start + options.sample]


def _jobs(
    taken: Iterable[Mutant], watched: Sequence[Watched], entries: Equivalents, options: Options
) -> Iterator[Job]:
    """Yield each mutant with the first program of its own in which a case runs it."""
    thorough = bool(options.sample or options.problem)
    for mutant in taken:
        ours = [one for one in watched if one.program.shown == mutant.shown]
        run = [(one, cases) for one in ours if (cases := one.cases_of(mutant))]
        program, cases = run[0] if run else (ours[0], [])
        most = len(cases) if thorough or mutant.name not in entries.whys else ENTRY_CASES
        yield Job(mutant=mutant, watched=program, cases=tuple(cases), most=most)


# Playing them -------------------------------------------------------------------------------------


def _play(
    jobs: Iterable[Job], tests: Sequence[Test], cores: int, whys: Mapping[str, str]
) -> Iterator[Outcome]:
    """Yield what becomes of each mutant, in the order in which that is known."""
    experience, waiting = Experience(), iter(jobs)
    running: dict[int, _Running] = {}
    with selectors.DefaultSelector() as selector:
        try:
            while True:
                while len(running) < cores and (job := next(waiting, None)):
                    if not job.cases:
                        yield _outcome(job, Fate.NOT_RUN, whys)
                        continue
                    one = _start(job, experience, tests)
                    running[one.fork.lines] = one
                    selector.register(one.fork.lines, selectors.EVENT_READ)
                if not running:
                    return
                ready = {key.fd for key, _ in selector.select(LOOK_S)}
                for number, one in list(running.items()):
                    if not one.listen(experience, is_ready=number in ready):
                        continue
                    selector.unregister(number)
                    del running[number]
                    one.fork.kill()
                    yield one.outcome(tests, whys)
        finally:
            for one in running.values():
                one.fork.kill()


def _start(job: Job, experience: Experience, tests: Sequence[Test]) -> "_Running":
    limits = job.watched.limits
    planned = [(case, tests[case], limits[case]) for case in experience.order(job)]
    fork = start_mutant(job.watched.program, job.mutant, planned)
    return _Running(job=job, fork=fork, deadline_s=time.monotonic() + WALL_LEAST_S)


def _outcome(job: Job, fate: Fate, whys: Mapping[str, str], **more: Any) -> Outcome:  # noqa: ANN401 - fields of Outcome
    mutant = job.mutant
    why = whys.get(mutant.name, "")
    return Outcome(
        name=mutant.name,
        file=mutant.shown if mutant.file == job.watched.program.files[0].name else mutant.file,
        line=mutant.line,
        function=mutant.function,
        operator=mutant.operator,
        before=mutant.before,
        after=mutant.after,
        fate=Fate.EQUIVALENT if why and fate in OPEN else fate,
        cases=len(job.cases),
        why=why,
        **more,
    )
