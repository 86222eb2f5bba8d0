# base: linked
# bug: a request with max_new_tokens=4 is preempted after 2 tokens; right: it ends after 2 more; wrong: after 4 more
# problem: Scheduler
# says: "A preempted request keeps its tokens: admitted again, all are computed anew."


class Scheduler:
    """The running requests are a stack: the newest is on top."""

    def __init__(self, n_blocks: int, block_size: int, *, max_running: int, eos_id: int) -> None:
        if n_blocks < 1 or block_size < 1 or max_running < 1:
            raise ValueError("sizes must be at least 1")
        self._n_blocks, self._free, self._n = n_blocks, n_blocks, block_size
        self._max, self._eos = max_running, eos_id
        self._index: dict[int, int] = {}
        self._number: list[int] = []
        self._tokens: list[list[int]] = []
        self._prompt: list[int] = []
        self._most: list[int] = []
        self._held: list[int] = []
        self._stack: list[int] = []
        self._waiting: list[int] = []  # the front of the queue is its end
        self._arrived: list[int] = []  # added, not yet in `_waiting`: behind all of it
        self._expects: set[int] | None = None

    @property
    def n_free(self) -> int:
        return self._free

    def add(self, request: int, prompt: list[int], max_new_tokens: int) -> None:
        if request in self._index:
            raise ValueError("the number was used before")
        if len(prompt) < 1 or max_new_tokens < 1:
            raise ValueError("empty prompt, or no token to generate")
        if (len(prompt) + max_new_tokens - 2) // self._n + 1 > self._n_blocks:
            raise ValueError("it could not run alone to its end")
        self._index[request] = len(self._number)
        self._arrived.append(len(self._number))
        self._number.append(request)
        self._tokens.append([*prompt])
        self._prompt.append(len(prompt))
        self._most.append(max_new_tokens)
        self._held.append(0)

    def _front(self) -> int:
        """Return the first of the queue, or -1."""
        if not self._waiting:
            self._waiting, self._arrived = self._arrived[::-1], []
        return self._waiting[-1] if self._waiting else -1

    def _preempt(self) -> int:
        i = self._stack.pop()
        self._free += self._held[i]
        self._held[i] = 0
        self._waiting.append(i)
        self._prompt[i] = len(self._tokens[i])  # all of it is computed anew
        return self._number[i]

    def step(self) -> dict[str, list[int]]:
        if self._expects:
            raise RuntimeError("commit the last step first")
        plan: dict[str, list[int]] = {"admitted": [], "decoded": [], "preempted": []}
        at = 0
        while at < len(self._stack):
            i = self._stack[at]
            if self._held[i] * self._n < len(self._tokens[i]):
                while self._free == 0 and at < len(self._stack):
                    plan["preempted"].append(self._preempt())
                if at == len(self._stack):
                    break
                self._held[i] += 1
                self._free -= 1
            at += 1
        plan["decoded"] = [self._number[i] for i in self._stack]
        if not plan["preempted"]:
            while len(self._stack) < self._max:
                i = self._front()
                if i < 0:
                    break
                need = (len(self._tokens[i]) - 1) // self._n + 1
                if need > self._free:
                    break
                self._waiting.pop()
                self._held[i] = need
                self._free -= need
                self._stack.append(i)
                plan["admitted"].append(self._number[i])
        self._expects = {self._number[i] for i in self._stack}
        return plan

    def commit(self, tokens: list[list[int]]) -> list[int]:
        if self._expects is None:
            raise ValueError("committed before, or no step yet")
        given = dict(tokens)
        if len(given) != len(tokens) or set(given) != self._expects:
            raise ValueError("not exactly the requests of the last step")
        self._expects = None
        stay, ended = [], []
        for i in self._stack:
            token = given[self._number[i]]
            self._tokens[i].append(token)
            n_new = len(self._tokens[i]) - self._prompt[i]
            if token == self._eos or n_new == self._most[i]:
                self._free += self._held[i]
                self._held[i] = 0
                ended.append(self._number[i])
            else:
                stay.append(i)
        self._stack = stay
        return ended

    def tokens(self, request: int) -> list[int]:
        if request not in self._index:
            raise ValueError("no such request")
        return self._tokens[self._index[request]].copy()
