# base: core
# bug: max_running=1, request 0 runs, 1 waits; step; right: 1 waits; wrong: 1 is admitted
# problem: Scheduler
# says: "while fewer than `max_running` requests run"


class Scheduler:
    """One list of requests in the order of `add`; each has a state."""

    def __init__(self, n_blocks: int, block_size: int, *, max_running: int, eos_id: int) -> None:
        if n_blocks < 1 or block_size < 1 or max_running < 1:
            raise ValueError("sizes must be at least 1")
        self._n_blocks, self._n = n_blocks, block_size
        self._max_running, self._eos_id = max_running, eos_id
        self._all: dict[int, dict] = {}
        self._step: list[int] | None = None

    def _in(self, state: str) -> list[int]:
        return [number for number, r in self._all.items() if r["state"] == state]

    @property
    def n_free(self) -> int:
        return self._n_blocks - sum(r["blocks"] for r in self._all.values())

    def add(self, request: int, prompt: list[int], max_new_tokens: int) -> None:
        if request in self._all or len(prompt) == 0 or max_new_tokens < 1:
            raise ValueError("known number, empty prompt or no new tokens")
        if -(-(len(prompt) + max_new_tokens - 1) // self._n) > self._n_blocks:
            raise ValueError("could not run alone to its end")
        self._all[request] = {
            "tokens": list(prompt), "left": max_new_tokens, "state": "waits", "blocks": 0,
        }

    def step(self) -> dict[str, list[int]]:
        if self._step:
            raise RuntimeError("the last step has not been committed")
        need = {number: -(-len(r["tokens"]) // self._n) for number, r in self._all.items()}
        preempted: list[int] = []
        for number in self._in("runs"):
            mine = self._all[number]
            while mine["state"] == "runs" and mine["blocks"] < need[number]:
                if self.n_free > 0:
                    mine["blocks"] += 1
                else:
                    preempted.append(self._in("runs")[-1])
                    self._all[preempted[-1]].update(state="waits", blocks=0)
        decoded = self._in("runs")
        admitted: list[int] = []
        # Who was preempted is older than all that wait, the oldest of them last: order of `add`.
        for number in [] if preempted else self._in("waits"):
            if len(admitted) == self._max_running or need[number] > self.n_free:
                break
            self._all[number].update(state="runs", blocks=need[number])
            admitted.append(number)
        self._step = decoded + admitted
        return {"admitted": admitted, "decoded": list(decoded), "preempted": preempted}

    def commit(self, tokens: list[list[int]]) -> list[int]:
        if self._step is None or sorted(pair[0] for pair in tokens) != sorted(self._step):
            raise ValueError("not the requests of the last step")
        ended = []
        new = dict((number, token) for number, token in tokens)
        for number in self._step:
            mine = self._all[number]
            mine["tokens"].append(new[number])
            mine["left"] -= 1
            if new[number] == self._eos_id or mine["left"] == 0:
                mine.update(state="ended", blocks=0)
                ended.append(number)
        self._step = None
        return ended

    def tokens(self, request: int) -> list[int]:
        if request not in self._all:
            raise ValueError("no such request")
        return list(self._all[request]["tokens"])
