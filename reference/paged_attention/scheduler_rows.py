"""The wide check of `Scheduler`: traffic as a row wants it, against the published policy.

Takes: `Draw`, rows of factors. Gives: the case maker. Does not cover: time.
"""

from dataclasses import dataclass

from grader.author import (
    Call,
    CaseSteps,
    Draw,
    Excluded,
    Expect,
    Factors,
    New,
    Raises,
    Ref,
    Row,
    case,
)

from .models import SchedulerModel

REQUESTS = 4
FIRST_MOST = 20
NEVER = 77
"""Token id that nothing here generates unless a request is to end."""

REFUSED = {
    "nothing": (),
    "a commit": (
        "commit of nothing",
        "commit of one too few",
        "commit of a request twice",
        "commit of another request as well",
    ),
    "a second call": ("commit of a step twice", "step before commit"),
    "another call": (
        "add of a known number",
        "add of what could not run alone",
        "add of no prompt",
        "add of no new token",
        "tokens of an unknown request",
        "a scheduler of no block",
    ),
}
"""Kinds of each level: every step asks the next one."""

TRAFFIC = Factors(
    "Scheduler",
    {
        "block size": (3, 1, 16),
        "pool": ("tight", "plenty"),
        "max_running": (FIRST_MOST, 1, 2),
        "eos_id": (1, 0, NEVER),
        "prompts": ("of any length", "of one token", "of whole blocks", "of one block"),
        "new tokens": ("several", "one"),
        "numbers": ("rising", "falling", "far apart"),
        "requests come": ("all at once", "one per step"),
        "pairs": ("oldest first", "newest first", "in any order"),
        "refused": tuple(REFUSED),
    },
    excluded=(
        Excluded(
            "blocks run out only if requests grow",
            lambda row: row["pool"] == "tight" and row["new tokens"] == "one",
        ),
        Excluded(
            "of one block: all need the next one in the same step, and several have to go",
            lambda row: (
                row["prompts"] == "of one block"
                and (
                    row["requests come"] != "all at once"
                    or row["max_running"] != FIRST_MOST
                    or row["numbers"] == "falling"
                )
            ),
        ),
    ),
)


@dataclass(slots=True)
class _Traffic:
    """A scheduler in the sandbox, its model, and what has still to come."""

    ref: Ref
    model: SchedulerModel
    row: Row
    draw: Draw
    coming: list[int]
    turn: int
    refused: str = ""

    def turn_over(self) -> None:
        """Take the next kind of refusal."""
        kinds, self.turn = REFUSED[self.row["refused"]], self.turn + 1
        self.refused = kinds[self.turn % len(kinds)] if kinds else ""

    def _draw_prompt(self) -> list[int]:
        size, kind = self.row["block size"], self.row["prompts"]
        whole = size * self.draw.integer(1, 2)
        count = {"of one token": 1, "of whole blocks": whole, "of one block": size}
        length = count.get(kind, self.draw.integer(1, min(2 * size + 1, 9)))
        return [self.draw.integer(0, 9) for _ in range(length)]

    def add(self) -> CaseSteps:
        """Add the next request."""
        number, prompt = self.coming.pop(0), self._draw_prompt()
        room = self.model.n_blocks * self.model.size
        many = 1 if self.row["new tokens"] == "one" else self.draw.integer(2, 4)
        many = min(many, room - len(prompt) + 1)
        got = yield Call(self.ref, "add", number, prompt, many)
        want = self.model.add(number, prompt, many)
        yield Expect(got, want, label=f"add({number}, {prompt}, {many})")

    def refuse_call(self) -> CaseSteps:
        """Ask for an `add`, for tokens or for a scheduler that must be refused."""
        known, room = list(self.model.known), self.model.n_blocks * self.model.size
        calls = {
            "add of a known number": [("add", known[-1], [4], 1)] if known else [],
            "add of what could not run alone": [
                ("add", 500, [4, 4], room),
                ("add", 500, [4] * (room + 1), 1),
            ],
            "add of no prompt": [("add", 500, [], 1)],
            "add of no new token": [("add", 500, [4], 0)],
            "tokens of an unknown request": [("tokens", 500), ("tokens", -1)],
        }
        for method, *arguments in calls.get(self.refused, ()):
            yield Raises(Call(self.ref, method, *arguments), "ValueError", self.refused)
        if self.refused == "a scheduler of no block":
            for bad in ((0, 2, 1), (3, 0, 1), (3, 2, 0)):
                step = New("Scheduler", *bad[:2], max_running=bad[2], eos_id=1)
                yield Raises(step, "ValueError", f"sizes {bad}")

    def refuse_commit(self, pairs: list[list[int]]) -> CaseSteps:
        """Ask for a commit, or a step, that must be refused while requests run."""
        what = self.refused
        bad = {
            "commit of nothing": [],
            "commit of one too few": pairs[1:],
            "commit of a request twice": [*pairs, [pairs[0][0], pairs[0][1] + 1]],
            "commit of another request as well": [*pairs, [500, 3]],
        }
        if what in bad:
            yield Raises(Call(self.ref, "commit", bad[what]), "ValueError", what)
        if what == "step before commit":
            yield Raises(Call(self.ref, "step"), "RuntimeError", what)

    def _draw_token(self) -> int:
        eos = self.model.eos
        if self.draw.integer(0, 4) == 0 and self.row["prompts"] != "of one block":
            return eos
        return self.draw.choice([token for token in range(6) if token != eos])

    def step(self) -> CaseSteps:
        """Step and commit, with refusals between."""
        got = yield Call(self.ref, "step")
        yield Expect(got, self.model.step(), label="step()")
        if self.turn % 2:
            yield from self.look("step()")
        before = len(self.model.running)
        pairs = [[one.number, self._draw_token()] for one in self.model.running]
        if not pairs:
            return
        yield from self.refuse_commit(pairs)
        pairs = {
            "oldest first": pairs,
            "newest first": pairs[::-1],
            "in any order": self.draw.shuffled(pairs),
        }[self.row["pairs"]]
        got = yield Call(self.ref, "commit", pairs)
        yield Expect(got, self.model.commit(pairs), label=f"commit({pairs})")
        if len(self.model.running) < before:
            yield from self.look(f"commit({pairs})")
        if self.refused == "commit of a step twice":
            yield Raises(Call(self.ref, "commit", pairs), "ValueError", "commit of a step twice")

    def look(self, text: str) -> CaseSteps:
        """Compare the number of free blocks."""
        got = yield Call(self.ref, "n_free")
        yield Expect(got, self.model.n_free, label=f"n_free after {text}")


def _numbers(row: Row) -> list[int]:
    """Return the numbers of the requests, in the order in which they come."""
    match row["numbers"]:
        case "falling":
            return list(range(REQUESTS, 0, -1))
        case "far apart":
            return [1_000_000, 3, 40_000, 0]
    return list(range(REQUESTS))


@case("Scheduler", "combinations", public=3, hidden=6, factors=TRAFFIC)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: when requests come and how they end, who is named first, refusals.

    Blocks run out or abound; 0 may end a request. At the end two steps run nothing.
    """
    size, most = row["block size"], row["max_running"]
    n_blocks = min(5, max(3, -(-10 // size))) if row["pool"] == "tight" else 200
    sizes = {"max_running": most, "eos_id": row["eos_id"]}
    ref = yield New("Scheduler", n_blocks, size, **sizes)
    model = SchedulerModel(n_blocks=n_blocks, size=size, max_running=most, eos=row["eos_id"])
    coming, turn = _numbers(row), draw.integer(0, 9)
    game = _Traffic(ref=ref, model=model, row=row, draw=draw, coming=coming, turn=turn)
    while game.coming or model.running or model.waiting:
        for _ in range(1 if row["requests come"] == "one per step" else len(game.coming)):
            if game.coming:
                yield from game.add()
        game.turn_over()
        yield from game.refuse_call()
        yield from game.step()
    for number, one in model.known.items():
        got = yield Call(ref, "tokens", number)
        yield Expect(got, one.tokens, label=f"tokens({number})")
    for _ in range(2):
        yield from game.step()
