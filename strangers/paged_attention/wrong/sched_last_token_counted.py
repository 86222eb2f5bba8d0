# base: lazy
# bug: 1 block of 4, prompt of 3, 2 new tokens; right: accepted, the last token needs no block; wrong: ValueError
# problem: Scheduler
# says: "its prompt and all but the last of its new tokens need more than `n_blocks` blocks"


class Scheduler:
    """Waiting requests lie in a heap by age: going back to the front is being the oldest there."""

    def __init__(self, n_blocks: int, block_size: int, *, max_running: int, eos_id: int) -> None:
        if n_blocks < 1 or block_size < 1 or max_running < 1:
            raise ValueError("sizes must be at least 1")
        self._total, self._size, self._most, self._eos = n_blocks, block_size, max_running, eos_id
        self._text: dict[int, list[int]] = {}
        self._stop: dict[int, int] = {}
        self._age: dict[int, int] = {}
        self._heap: list[tuple[int, int]] = []
        self._held: dict[int, int] = {}
        self._pending: list[int] | None = None

    @property
    def n_free(self) -> int:
        return self._total - sum(self._held.values())

    def _cost(self, n: int) -> int:
        return (n + self._size - 1) // self._size

    def add(self, request: int, prompt: list[int], max_new_tokens: int) -> None:
        if not prompt or max_new_tokens < 1 or request in self._text:
            raise ValueError("empty, endless or known")
        if self._cost(len(prompt) + max_new_tokens) > self._total:
            raise ValueError("too long ever to run")
        self._text[request] = list(prompt)
        self._stop[request] = len(prompt) + max_new_tokens
        self._age[request] = len(self._age)
        heapq.heappush(self._heap, (self._age[request], request))

    def step(self) -> dict[str, list[int]]:
        if self._pending:
            raise RuntimeError("the last step is not committed")
        running = sorted(self._held, key=self._age.__getitem__)
        needs = {r: self._cost(len(self._text[r])) for r in running}
        # All are served if the newest ones that are too much go: find them one by one.
        preempted = []
        free, served = self.n_free, 0
        while served < len(running):
            request = running[served]
            if needs[request] <= self._held[request]:
                served += 1
            elif free:
                self._held[request] += 1
                free -= 1
                served += 1
            else:
                out = running.pop()
                free += self._held.pop(out)
                heapq.heappush(self._heap, (self._age[out], out))
                preempted.append(out)
        admitted = []
        while not preempted and self._heap and len(running) + len(admitted) < self._most:
            request = self._heap[0][1]
            cost = self._cost(len(self._text[request]))
            if cost > free:
                break
            heapq.heappop(self._heap)
            free -= cost
            self._held[request] = cost
            admitted.append(request)
        self._pending = running + admitted
        return {"admitted": admitted, "decoded": running[:], "preempted": preempted}

    def commit(self, tokens: list[list[int]]) -> list[int]:
        if self._pending is None:
            raise ValueError("nothing to commit")
        got = sorted(request for request, _ in tokens)
        if got != sorted(self._pending):
            raise ValueError("other requests than those of the last step")
        by_age = sorted(tokens, key=lambda pair: self._age[pair[0]])
        self._pending = None
        ended = []
        for request, token in by_age:
            text = self._text[request]
            text.append(token)
            if token == self._eos or len(text) == self._stop[request]:
                del self._held[request]
                ended.append(request)
        return ended

    def tokens(self, request: int) -> list[int]:
        if request in self._text:
            return list(self._text[request])
        raise ValueError("no such request")
