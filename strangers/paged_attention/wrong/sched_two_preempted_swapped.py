# base: recursive
# bug: 2, then 1 are preempted in one step; right: the queue begins 1, 2; wrong: 2, 1
# problem: Scheduler
# says: "the newest running request is *preempted*: it gives up all of its blocks and goes to the front of the queue"


class Scheduler:
    def __init__(self, n_blocks: int, block_size: int, *, max_running: int, eos_id: int) -> None:
        if n_blocks < 1 or block_size < 1 or max_running < 1:
            raise ValueError("sizes must be at least 1")
        self._n_blocks, self._n = n_blocks, block_size
        self._max_running, self._eos_id = max_running, eos_id
        self._requests: dict[int, tuple[list[int], int]] = {}
        self._waiting: deque[int] = deque()
        self._running: list[tuple[int, int]] = []  # request and its blocks, oldest first
        self._uncommitted: list[int] | None = None

    @property
    def n_free(self) -> int:
        return self._n_blocks - sum(blocks for _, blocks in self._running)

    def _need(self, request: int) -> int:
        return math.ceil(len(self._requests[request][0]) / self._n)

    def add(self, request: int, prompt: list[int], max_new_tokens: int) -> None:
        if request in self._requests:
            raise ValueError("used before")
        if not prompt:
            raise ValueError("empty prompt")
        if max_new_tokens < 1:
            raise ValueError("no new tokens")
        if math.ceil((len(prompt) + max_new_tokens - 1) / self._n) > self._n_blocks:
            raise ValueError("needs more blocks than there are")
        self._requests[request] = (list(prompt), len(prompt) + max_new_tokens)
        self._waiting.append(request)

    def _serve(self, free: int, before: list[tuple[int, int]], after: list[tuple[int, int]]):
        """Give the requests of `after` what they need; return who stays, and who goes."""
        if not after:
            return before, []
        (request, blocks), rest = after[0], after[1:]
        more = self._need(request) - blocks
        if more <= free:
            return self._serve(free - more, [*before, (request, blocks + more)], rest)
        newest, held = after[-1]
        stay, go = self._serve(free + held, before, after[:-1])
        return stay, [newest, *go]

    def step(self) -> dict[str, list[int]]:
        if self._uncommitted:
            raise RuntimeError("not committed")
        self._running, preempted = self._serve(self.n_free, [], self._running)
        self._waiting.extendleft(reversed(preempted))
        decoded = [request for request, _ in self._running]
        if not preempted:
            self._admit()
        self._uncommitted = [request for request, _ in self._running]
        admitted = self._uncommitted[len(decoded) :]
        return {"admitted": admitted, "decoded": decoded, "preempted": preempted}

    def _admit(self) -> None:
        if self._waiting and len(self._running) < self._max_running:
            need = self._need(self._waiting[0])
            if need <= self.n_free:
                self._running.append((self._waiting.popleft(), need))
                self._admit()

    def commit(self, tokens: list[list[int]]) -> list[int]:
        if self._uncommitted is None or sorted(r for r, _ in tokens) != sorted(self._uncommitted):
            raise ValueError("not the requests of the last step")
        self._uncommitted = None
        new = {request: token for request, token in tokens}
        ended, stay = [], []
        for request, blocks in self._running:
            text, most = self._requests[request]
            text.append(new[request])
            if new[request] == self._eos_id or len(text) == most:
                ended.append(request)
            else:
                stay.append((request, blocks))
        self._running = stay
        return ended

    def tokens(self, request: int) -> list[int]:
        if request not in self._requests:
            raise ValueError("no such request")
        return list(self._requests[request][0])
