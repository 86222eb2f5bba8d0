# base: vectorised
# bug: request 0 ran; commit([[0, 5], [0, 6]]); right: ValueError; wrong: accepted
# problem: Scheduler
# says: "if the requests named are not exactly those of the last step, each once"


class Scheduler:
    def __init__(self, n_blocks: int, block_size: int, *, max_running: int, eos_id: int) -> None:
        if min(n_blocks, block_size, max_running) < 1:
            raise ValueError("sizes must be at least 1")
        self._n_blocks, self._block_size = n_blocks, block_size
        self._max_running, self._eos_id = max_running, eos_id
        self._all: dict[int, list[int]] = {}
        self._limit: dict[int, int] = {}
        self._queue: deque[int] = deque()
        self._blocks: dict[int, int] = {}  # running requests, oldest first, and what they hold
        self._waiting_for: frozenset[int] | None = None

    @property
    def n_free(self) -> int:
        return self._n_blocks - sum(self._blocks.values())

    def _blocks_for(self, n: int) -> int:
        return -(-n // self._block_size)

    def add(self, request: int, prompt: list[int], max_new_tokens: int) -> None:
        if request in self._all or not prompt or max_new_tokens < 1:
            raise ValueError("known request, empty prompt or nothing to generate")
        if self._blocks_for(len(prompt) + max_new_tokens - 1) > self._n_blocks:
            raise ValueError("the request does not fit even alone")
        self._all[request] = [*prompt]
        self._limit[request] = len(prompt) + max_new_tokens
        self._queue.append(request)

    def step(self) -> dict[str, list[int]]:
        if self._waiting_for:
            raise RuntimeError("commit the last step first")
        need = {r: self._blocks_for(len(self._all[r])) for r in self._blocks}
        preempted = []
        for request in list(need):
            while request in self._blocks and self._blocks[request] < need[request]:
                if self.n_free:
                    self._blocks[request] += 1
                else:
                    newest, _ = self._blocks.popitem()
                    self._queue.appendleft(newest)
                    preempted.append(newest)
        decoded = list(self._blocks)
        if not preempted:
            while self._queue and len(self._blocks) < self._max_running:
                wanted = self._blocks_for(len(self._all[self._queue[0]]))
                if wanted > self.n_free:
                    break
                self._blocks[self._queue.popleft()] = wanted
        self._waiting_for = frozenset(self._blocks)
        return {
            "admitted": list(self._blocks)[len(decoded) :],
            "decoded": decoded,
            "preempted": preempted,
        }

    def commit(self, tokens: list[list[int]]) -> list[int]:
        new = {request: token for request, token in tokens}
        if self._waiting_for is None or new.keys() != self._waiting_for:
            raise ValueError("not the requests of the last step, or committed before")
        self._waiting_for = None
        ended = []
        for request in self._blocks:
            self._all[request].append(new[request])
            if new[request] == self._eos_id or len(self._all[request]) >= self._limit[request]:
                ended.append(request)
        for request in ended:
            del self._blocks[request]
        return ended

    def tokens(self, request: int) -> list[int]:
        if request not in self._all:
            raise ValueError(f"no request {request}")
        return self._all[request].copy()
