# base: online
# bug: request 0 ran; commit([]) raises ValueError, then commit([[0, 5]]); right: accepted; wrong: ValueError, as if it had been committed
# problem: Scheduler
# says: "or it has been committed; nothing has changed."


class Scheduler:
    """Requests carry an age; running and waiting ones are two sorted lists of ages."""

    def __init__(self, n_blocks: int, block_size: int, *, max_running: int, eos_id: int) -> None:
        for size in (n_blocks, block_size, max_running):
            _need(size >= 1, "sizes must be at least 1")
        self._total = n_blocks
        self._size = block_size
        self._most = max_running
        self._eos = eos_id
        self._ages: dict[int, int] = {}
        self._names: list[int] = []
        self._texts: list[list[int]] = []
        self._left: list[int] = []
        self._running: list[int] = []
        self._waiting: collections.deque[int] = collections.deque()
        self._holds: dict[int, int] = {}
        self._state = "idle"

    @property
    def n_free(self) -> int:
        return self._total - sum(self._holds.values())

    def _wants(self, age: int) -> int:
        return math.ceil(len(self._texts[age]) / self._size)

    def add(self, request: int, prompt: list[int], max_new_tokens: int) -> None:
        _need(request not in self._ages, "the number was used before")
        _need(len(prompt) >= 1, "the prompt is empty")
        _need(max_new_tokens >= 1, "max_new_tokens must be at least 1")
        longest = len(prompt) + max_new_tokens - 1
        _need(longest <= self._total * self._size, "the request can never run to its end")
        age = len(self._names)
        self._ages[request] = age
        self._names.append(request)
        self._texts.append(list(prompt))
        self._left.append(max_new_tokens)
        self._waiting.append(age)

    def step(self) -> dict[str, list[int]]:
        if self._state == "planned" and self._running:
            raise RuntimeError("the last step has not been committed")
        out: list[int] = []
        for age in sorted(self._running):
            if age not in self._holds or self._wants(age) <= self._holds[age]:
                continue
            while self.n_free == 0 and age in self._holds:
                newest = max(self._holds)
                del self._holds[newest]
                self._running.remove(newest)
                self._waiting.appendleft(newest)
                out.append(newest)
            if age in self._holds:
                self._holds[age] += 1
        old = sorted(self._running)
        new: list[int] = []
        if not out:
            while self._waiting and len(self._running) < self._most:
                wants = self._wants(self._waiting[0])
                if wants > self.n_free:
                    break
                age = self._waiting.popleft()
                self._holds[age] = wants
                self._running.append(age)
                new.append(age)
        self._state = "planned"
        names = self._names
        return {
            "admitted": [names[age] for age in new],
            "decoded": [names[age] for age in old],
            "preempted": [names[age] for age in out],
        }

    def commit(self, tokens: list[list[int]]) -> list[int]:
        _need(self._state == "planned", "nothing to commit")
        _need(all(len(pair) == 2 for pair in tokens), "pairs wanted")
        named = [self._ages.get(request, -1) for request, _ in tokens]
        self._state = "committed"
        _need(sorted(named) == sorted(self._running), "not the requests of the last step")
        ended = []
        for age, (_, token) in sorted(zip(named, tokens), key=lambda item: item[0]):
            self._texts[age].append(token)
            self._left[age] -= 1
            if token == self._eos or self._left[age] == 0:
                self._running.remove(age)
                del self._holds[age]
                ended.append(self._names[age])
        return ended

    def tokens(self, request: int) -> list[int]:
        _need(request in self._ages, f"no request {request}")
        return self._texts[self._ages[request]][:]
