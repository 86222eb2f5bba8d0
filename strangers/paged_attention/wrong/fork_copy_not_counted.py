# base: vectorised
# bug: no block free, a shared open block, append of one token; right: RuntimeError; wrong: IndexError
# problem: fork
# says: "RuntimeError: if there are too few free blocks, the copy included; nothing has changed."


class ForkingCache:
    def __init__(
        self,
        n_blocks: int,
        block_size: int,
        n_kv_heads: int,
        head_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ) -> None:
        if min(n_blocks, block_size, n_kv_heads, head_dim) < 1:
            raise ValueError("sizes must be at least 1")
        # Keys and values side by side: one write, one copy, one gather for both.
        self._kv = torch.empty(
            n_blocks, block_size, 2, n_kv_heads, head_dim, dtype=dtype, device=device
        )
        self._free = deque(range(n_blocks))
        self._held: Counter[int] = Counter()
        self._sequences: dict[int, tuple[list[int], int]] = {}
        self._created = 0

    @property
    def n_free(self) -> int:
        return len(self._free)

    def _get(self, sequence: int) -> tuple[list[int], int]:
        if sequence not in self._sequences:
            raise ValueError(f"no sequence {sequence}")
        return self._sequences[sequence]

    def _new(self, blocks: list[int], length: int) -> int:
        self._held.update(blocks)
        self._sequences[self._created] = (blocks, length)
        self._created += 1
        return self._created - 1

    def create(self) -> int:
        return self._new([], 0)

    def fork(self, sequence: int) -> int:
        blocks, length = self._get(sequence)
        return self._new(blocks[:], length)

    def append(self, sequence: int, k_THD: Tensor, v_THD: Tensor) -> None:
        blocks, length = self._get(sequence)
        size = self._kv.shape[1]
        wanted = (k_THD.shape[0] if k_THD.ndim else 0, *self._kv.shape[3:])
        if k_THD.shape != wanted or v_THD.shape != wanted:
            raise ValueError("tokens must be [T, H, D]")
        if k_THD.dtype != self._kv.dtype or v_THD.dtype != self._kv.dtype:
            raise ValueError("tokens must have the cache's dtype")
        end = length + wanted[0]
        shared = wanted[0] > 0 and length % size > 0 and self._held[blocks[-1]] > 1
        extra = (end + size - 1) // size - len(blocks)
        if extra > len(self._free):
            raise RuntimeError("too few free blocks")
        taken = [self._free.popleft() for _ in range(extra + int(shared))]
        self._held.update(taken)
        if shared:
            self._kv[taken[0]] = self._kv[blocks[-1]]
            self._held[blocks[-1]] -= 1
            blocks = blocks[:-1]
        blocks = blocks + taken
        t = torch.arange(length, end, device=self._kv.device)
        page = torch.tensor(blocks, dtype=torch.int64, device=self._kv.device)[t // size]
        self._kv[page, t % size] = torch.stack((k_THD, v_THD), dim=1)
        self._sequences[sequence] = (blocks, end)

    def gather(self, sequence: int) -> tuple[Tensor, Tensor]:
        blocks, length = self._get(sequence)
        index = torch.tensor(blocks, dtype=torch.int64, device=self._kv.device)
        rows = self._kv[index].flatten(0, 1)[:length]
        return rows[:, 0].clone(), rows[:, 1].clone()

    def release(self, sequence: int) -> None:
        blocks, _ = self._get(sequence)
        del self._sequences[sequence]
        self._held.subtract(blocks)
        self._free.extend(block for block in blocks if self._held[block] == 0)
