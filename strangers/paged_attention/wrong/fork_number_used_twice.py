# base: loops
# bug: create, create, release(0), create; right: 2; wrong: 1, which still lives and is emptied
# problem: fork
# says: "0, 1, 2, …; none is used twice"


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
        if n_blocks < 1 or block_size < 1 or n_kv_heads < 1 or head_dim < 1:
            raise ValueError("sizes must be at least 1")
        self._n = block_size
        self._k = torch.zeros(n_blocks, block_size, n_kv_heads, head_dim, dtype=dtype, device=device)
        self._v = torch.zeros_like(self._k)
        self._free = list(range(n_blocks))
        self._holders = [0] * n_blocks
        self._tables: dict[int, list[int]] = {}
        self._lengths: dict[int, int] = {}
        self._next = 0

    @property
    def n_free(self) -> int:
        return len(self._free)

    def _known(self, sequence: int) -> None:
        if sequence not in self._tables:
            raise ValueError(f"no sequence {sequence}")

    def create(self) -> int:
        number = len(self._tables)
        self._tables[number] = []
        self._lengths[number] = 0
        return number

    def append(self, sequence: int, k_THD: Tensor, v_THD: Tensor) -> None:
        self._known(sequence)
        for x in (k_THD, v_THD):
            if x.dim() != 3 or x.shape[1:] != self._k.shape[2:] or x.dtype != self._k.dtype:
                raise ValueError("tokens must be [T, H, D] with the cache's dtype")
        if k_THD.shape != v_THD.shape:
            raise ValueError("as many keys as values")
        n_new = k_THD.shape[0]
        if n_new == 0:
            return
        table, length = self._tables[sequence], self._lengths[sequence]
        copy = length % self._n != 0 and self._holders[table[-1]] > 1
        blocks = -(-(length + n_new) // self._n) - len(table)
        if blocks + copy > len(self._free):
            raise RuntimeError("too few free blocks")
        if copy:
            old, new = table[-1], self._take()
            self._k[new] = self._k[old]
            self._v[new] = self._v[old]
            self._holders[old] -= 1
            table[-1] = new
        for t in range(n_new):
            page, row = divmod(length + t, self._n)
            if page == len(table):
                table.append(self._take())
            self._k[table[page], row] = k_THD[t]
            self._v[table[page], row] = v_THD[t]
        self._lengths[sequence] = length + n_new

    def _take(self) -> int:
        block = self._free.pop()
        self._holders[block] = 1
        return block

    def fork(self, sequence: int) -> int:
        self._known(sequence)
        number = self.create()
        self._tables[number] = list(self._tables[sequence])
        self._lengths[number] = self._lengths[sequence]
        for block in self._tables[number]:
            self._holders[block] += 1
        return number

    def gather(self, sequence: int) -> tuple[Tensor, Tensor]:
        self._known(sequence)
        length = self._lengths[sequence]
        shape = (length, *self._k.shape[2:])
        k = torch.empty(shape, dtype=self._k.dtype, device=self._k.device)
        v = torch.empty_like(k)
        for i, block in enumerate(self._tables[sequence]):
            first = i * self._n
            last = min(first + self._n, length)
            k[first:last] = self._k[block, : last - first]
            v[first:last] = self._v[block, : last - first]
        return k, v

    def release(self, sequence: int) -> None:
        self._known(sequence)
        for block in self._tables.pop(sequence):
            self._holders[block] -= 1
            if self._holders[block] == 0:
                self._free.append(block)
        del self._lengths[sequence]
