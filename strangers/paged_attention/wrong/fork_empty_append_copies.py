# base: linked
# bug: fork of a sequence with an open block, then append of 0 tokens; right: n_free as before; wrong: one less
# problem: fork
# says: "An append that would write into a last block which other sequences hold as well copies that block first"


class ForkingCache:
    """Fixed pool; a sequence is a chain of nodes (block, node before), shared by its forks.

    Nodes behind which a fork happened are never changed, only left.
    """

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
        shape = (n_blocks, block_size, n_kv_heads, head_dim)
        self._k = torch.zeros(shape, dtype=dtype, device=device)
        self._v = torch.zeros(shape, dtype=dtype, device=device)
        self._links = _Links(n_blocks)
        self._before = [-1] * n_blocks  # block before this one, which is fixed: chains only part
        self._children = [0] * n_blocks  # blocks and sequences that end or go on behind it
        self._last: dict[int, int] = {}
        self._length: dict[int, int] = {}
        self._next = 0

    @property
    def n_free(self) -> int:
        return self._links.size

    def _known(self, sequence: int) -> None:
        if sequence not in self._last:
            raise ValueError(f"no sequence {sequence}")

    def _begin(self, last: int, length: int) -> int:
        number = self._next
        self._next += 1
        self._last[number], self._length[number] = last, length
        if last >= 0:
            self._children[last] += 1
        return number

    def create(self) -> int:
        return self._begin(-1, 0)

    def fork(self, sequence: int) -> int:
        self._known(sequence)
        return self._begin(self._last[sequence], self._length[sequence])

    def _leave(self, block: int) -> None:
        while block >= 0:
            self._children[block] -= 1
            if self._children[block]:
                return
            self._links.put(block)
            block = self._before[block]

    def _grow(self, sequence: int, before: int) -> int:
        """Put a new block behind `before`; the sequence's holder of `before` becomes the block."""
        block = self._links.first()
        self._links.take(block)
        self._before[block], self._children[block] = before, 1
        self._last[sequence] = block
        return block

    def append(self, sequence: int, k_THD: Tensor, v_THD: Tensor) -> None:
        self._known(sequence)
        for x in (k_THD, v_THD):
            if x.dim() != 3 or x.dtype != self._k.dtype or x.shape[1:] != self._k.shape[2:]:
                raise ValueError("tokens must be [T, H, D] with the dtype of the cache")
        t = k_THD.shape[0]
        if v_THD.shape[0] != t:
            raise ValueError("as many values as keys")
        length, last = self._length[sequence], self._last[sequence]
        row = length % self._n
        copy = row > 0 and self._children[last] > 1
        fresh = (length + t + self._n - 1) // self._n - (length + self._n - 1) // self._n
        if fresh + copy > self._links.size:
            raise RuntimeError("too few free blocks")
        if copy:
            before = self._before[last]
            if before >= 0:
                self._children[before] += 1
            new = self._grow(sequence, before)
            self._k[new, :row] = self._k[last, :row]
            self._v[new, :row] = self._v[last, :row]
            self._leave(last)
        done = 0
        while done < t:
            if row == 0:
                self._grow(sequence, self._last[sequence])
            count = min(self._n - row, t - done)
            block = self._last[sequence]
            self._k[block, row : row + count] = k_THD[done : done + count]
            self._v[block, row : row + count] = v_THD[done : done + count]
            done += count
            row = 0 if row + count == self._n else row + count
        self._length[sequence] += t

    def gather(self, sequence: int) -> tuple[Tensor, Tensor]:
        self._known(sequence)
        length = self._length[sequence]
        k = torch.empty((length, *self._k.shape[2:]), dtype=self._k.dtype, device=self._k.device)
        v = torch.empty_like(k)
        block, last = self._last[sequence], length
        while block >= 0:
            first = (last - 1) // self._n * self._n
            k[first:last] = self._k[block, : last - first]
            v[first:last] = self._v[block, : last - first]
            block, last = self._before[block], first
        return k, v

    def release(self, sequence: int) -> None:
        self._known(sequence)
        self._leave(self._last.pop(sequence))
        del self._length[sequence]
