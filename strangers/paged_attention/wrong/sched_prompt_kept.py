# base: loops
# bug: p = [1]; add(0, p, 3), step, commit([[0, 7]]); right: p is [1]; wrong: [1, 7]
# problem: Scheduler
# says: "inputs stay as they are"


class Scheduler:
    def __init__(self, n_blocks: int, block_size: int, *, max_running: int, eos_id: int) -> None:
        if n_blocks < 1 or block_size < 1 or max_running < 1:
            raise ValueError("sizes must be at least 1")
        self._n_blocks = n_blocks
        self._free = n_blocks
        self._size = block_size
        self._max_running = max_running
        self._eos = eos_id
        self._tokens: dict[int, list[int]] = {}
        self._end: dict[int, int] = {}
        self._held: dict[int, int] = {}
        self._queue: deque[int] = deque()
        self._running: list[int] = []
        self._open: list[int] | None = None

    @property
    def n_free(self) -> int:
        return self._free

    def _need(self, n_tokens: int) -> int:
        return (n_tokens + self._size - 1) // self._size

    def add(self, request: int, prompt: list[int], max_new_tokens: int) -> None:
        if request in self._tokens:
            raise ValueError(f"request {request} was there before")
        if len(prompt) == 0 or max_new_tokens < 1:
            raise ValueError("empty prompt or nothing to generate")
        if self._need(len(prompt) + max_new_tokens - 1) > self._n_blocks:
            raise ValueError("the request could never end")
        self._tokens[request] = prompt
        self._end[request] = len(prompt) + max_new_tokens
        self._queue.append(request)

    def step(self) -> dict[str, list[int]]:
        if self._open:
            raise RuntimeError("the last step has not been committed")
        preempted: list[int] = []
        i = 0
        while i < len(self._running):
            request = self._running[i]
            if self._need(len(self._tokens[request])) == self._held[request]:
                i += 1
            elif self._free > 0:
                self._free -= 1
                self._held[request] += 1
                i += 1
            else:
                newest = self._running.pop()
                self._free += self._held.pop(newest)
                self._queue.appendleft(newest)
                preempted.append(newest)
        decoded = list(self._running)
        admitted: list[int] = []
        while not preempted and self._queue and len(self._running) < self._max_running:
            request = self._queue[0]
            need = self._need(len(self._tokens[request]))
            if need > self._free:
                break
            self._queue.popleft()
            self._free -= need
            self._held[request] = need
            self._running.append(request)
            admitted.append(request)
        self._open = list(self._running)
        return {"admitted": admitted, "decoded": decoded, "preempted": preempted}

    def commit(self, tokens: list[list[int]]) -> list[int]:
        if self._open is None:
            raise ValueError("there is no step to commit")
        if sorted(pair[0] for pair in tokens) != sorted(self._open):
            raise ValueError("not the requests of the last step")
        self._open = None
        for request, token in tokens:
            self._tokens[request].append(token)
        ended = []
        for request in list(self._running):
            mine = self._tokens[request]
            if mine[-1] == self._eos or len(mine) == self._end[request]:
                ended.append(request)
                self._running.remove(request)
                self._free += self._held.pop(request)
        return ended

    def tokens(self, request: int) -> list[int]:
        if request not in self._tokens:
            raise ValueError(f"no request {request}")
        return list(self._tokens[request])
