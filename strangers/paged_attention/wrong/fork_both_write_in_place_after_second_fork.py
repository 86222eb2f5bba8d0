# base: online
# bug: a sequence forked twice: three hold the open block, one appends; right: it is copied; wrong: written in place, the others see it
# problem: fork
# says: "copies that block first, whichever of them appends"


class ForkingCache:
    """One tensor per block, made when it is taken and dropped when nobody holds it."""

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
        for size in (n_blocks, block_size, n_kv_heads, head_dim):
            _need(size >= 1, "sizes must be at least 1")
        self._shape = (2, block_size, n_kv_heads, head_dim)
        self._dtype, self._device = dtype, device
        self._n_blocks = n_blocks
        self._content: dict[int, Tensor] = {}
        self._holders: dict[int, int] = {}
        self._next_block = 0
        self._tables: list[list[int] | None] = []
        self._lengths: list[int] = []

    @property
    def n_free(self) -> int:
        return self._n_blocks - len(self._content)

    def _table(self, sequence: int) -> list[int]:
        _need(0 <= sequence < len(self._tables), f"no sequence {sequence}")
        table = self._tables[sequence]
        if table is None:
            raise ValueError(f"sequence {sequence} has ended")
        return table

    def _make(self) -> int:
        block = self._next_block
        self._next_block += 1
        self._content[block] = torch.empty(self._shape, dtype=self._dtype, device=self._device)
        self._holders[block] = 1
        return block

    def _drop(self, block: int) -> None:
        self._holders[block] -= 1
        if self._holders[block] == 0:
            del self._holders[block], self._content[block]

    def create(self) -> int:
        self._tables.append([])
        self._lengths.append(0)
        return len(self._tables) - 1

    def append(self, sequence: int, k_THD: Tensor, v_THD: Tensor) -> None:
        table = self._table(sequence)
        _, size, h, d = self._shape
        for x in (k_THD, v_THD):
            _need(x.dim() == 3 and tuple(x.shape[1:]) == (h, d), "tokens must be [T, H, D]")
            _need(x.dtype == self._dtype, "tokens must have the cache's dtype")
        _need(k_THD.shape == v_THD.shape, "as many keys as values")
        t, length = k_THD.shape[0], self._lengths[sequence]
        if t == 0:
            return
        row = length % size
        copies = 1 if row and self._holders[table[-1]] == 2 else 0
        if (length + t + size - 1) // size - len(table) + copies > self.n_free:
            raise RuntimeError("too few free blocks")
        if copies:
            fresh = self._make()
            self._content[fresh][:, :row] = self._content[table[-1]][:, :row]
            self._drop(table[-1])
            table[-1] = fresh
        done = 0
        while done < t:
            if row == 0:
                table.append(self._make())
            now = min(size - row, t - done)
            block = self._content[table[-1]]
            block[0, row : row + now] = k_THD[done : done + now]
            block[1, row : row + now] = v_THD[done : done + now]
            done += now
            row = (row + now) % size
        self._lengths[sequence] += t

    def fork(self, sequence: int) -> int:
        table = self._table(sequence)
        for block in table:
            self._holders[block] += 1
        self._tables.append(table.copy())
        self._lengths.append(self._lengths[sequence])
        return len(self._tables) - 1

    def gather(self, sequence: int) -> tuple[Tensor, Tensor]:
        table, length = self._table(sequence), self._lengths[sequence]
        if not table:
            empty = torch.empty((0, *self._shape[2:]), dtype=self._dtype, device=self._device)
            return empty, empty.clone()
        k = torch.cat([self._content[block][0] for block in table])[:length]
        v = torch.cat([self._content[block][1] for block in table])[:length]
        return k, v

    def release(self, sequence: int) -> None:
        for block in self._table(sequence):
            self._drop(block)
        self._tables[sequence] = None
