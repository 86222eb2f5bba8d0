# base: subclass
# bug: first of the queue needs 2 blocks, one is free, the second needs one; right: none is admitted; wrong: the second
# problem: Scheduler
# says: "The first one that does not fit ends this: nobody overtakes."


class Scheduler(_Counted):
    """Keeps real block numbers for its requests, as a server would."""

    def __init__(self, n_blocks: int, block_size: int, *, max_running: int, eos_id: int) -> None:
        super().__init__(n_blocks)
        if block_size < 1 or max_running < 1:
            raise ValueError("sizes must be at least 1")
        self._size, self._most, self._eos = block_size, max_running, eos_id
        self._known: dict[int, _Request] = {}
        self._waiting: OrderedDict[int, _Request] = OrderedDict()
        self._running: OrderedDict[int, _Request] = OrderedDict()
        self._planned = False

    @property
    def n_free(self) -> int:
        return len(self.queue)

    def add(self, request: int, prompt: list[int], max_new_tokens: int) -> None:
        if request in self._known or not len(prompt) or max_new_tokens < 1:
            raise ValueError("known number, empty prompt or no new tokens")
        if len(prompt) + max_new_tokens - 1 > len(self.holders) * self._size:
            raise ValueError("could not run alone to its end")
        new = _Request(request, prompt, len(prompt) + max_new_tokens)
        self._known[request] = self._waiting[request] = new

    def _missing(self, request: _Request) -> int:
        return -(-len(request) // self._size) - len(request.blocks)

    def _free(self, request: _Request) -> None:
        for block in request.blocks:
            self.drop(block)
        request.blocks = []

    def step(self) -> dict[str, list[int]]:
        if self._planned and self._running:
            raise RuntimeError("the last step has not been committed")
        preempted: list[int] = []
        for number, request in list(self._running.items()):
            while number in self._running and self._missing(request):
                if self.queue:
                    request.blocks.append(self.take())
                    continue
                newest, loser = self._running.popitem()
                self._free(loser)
                self._waiting[newest] = loser
                self._waiting.move_to_end(newest, last=False)
                preempted.append(newest)
        decoded = list(self._running)
        admitted: list[int] = []
        for number, request in [] if preempted else list(self._waiting.items()):
            if len(self._running) == self._most:
                break
            if self._missing(request) > len(self.queue):
                continue
            request.blocks = [self.take() for _ in range(self._missing(request))]
            self._running[number] = self._waiting.pop(number)
            admitted.append(number)
        self._planned = True
        return {"admitted": admitted, "decoded": decoded, "preempted": preempted}

    def commit(self, tokens: list[list[int]]) -> list[int]:
        if not self._planned or Counter(pair[0] for pair in tokens) != Counter(list(self._running)):
            raise ValueError("not the requests of the last step, or committed before")
        self._planned = False
        for number, token in tokens:
            self._running[number].append(token)
        ended = [n for n, r in self._running.items() if r[-1] == self._eos or len(r) == r.end]
        for number in ended:
            self._free(self._running.pop(number))
        return ended

    def tokens(self, request: int) -> list[int]:
        if request not in self._known:
            raise ValueError(f"no request {request}")
        return list(self._known[request])
