# base: lazy
# bug: contiguous k, v are overwritten after append; right: gather gives what was appended; wrong: what was written later (strided ones are copied)
# problem: fork
# says: "Append a copy of T >= 0 tokens to a sequence."


class ForkingCache:
    """Nothing is stored where it is appended: full blocks are frozen tensors, the open one a list.

    Whoever appends to an open block that others hold copies the list first.
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
        if min(n_blocks, block_size, n_kv_heads, head_dim) < 1:
            raise ValueError("sizes must be at least 1")
        self._n_blocks, self._n = n_blocks, block_size
        self._empty = torch.empty(2, 0, n_kv_heads, head_dim, dtype=dtype, device=device)
        self._used = 0
        self._content: list[list[tuple[Tensor, Tensor]]] = []  # pieces of block i
        self._rows: list[int] = []
        self._holders: list[int] = []
        self._spare: list[int] = []
        self._tables: dict[int, list[int]] = {}
        self._next = 0

    @property
    def n_free(self) -> int:
        return self._n_blocks - self._used

    def _get(self, sequence: int) -> list[int]:
        if sequence in self._tables:
            return self._tables[sequence]
        raise ValueError(f"no sequence {sequence}")

    def _block(self, pieces: list[Tensor], rows: int) -> int:
        self._used += 1
        if self._spare:
            block = self._spare.pop()
            self._content[block], self._rows[block], self._holders[block] = pieces, rows, 1
            return block
        self._content.append(pieces)
        self._rows.append(rows)
        self._holders.append(1)
        return len(self._content) - 1

    def _let_go(self, block: int) -> None:
        self._holders[block] -= 1
        if self._holders[block] == 0:
            self._content[block] = []
            self._spare.append(block)
            self._used -= 1

    def create(self) -> int:
        self._tables[self._next] = []
        self._next += 1
        return self._next - 1

    def append(self, sequence: int, k_THD: Tensor, v_THD: Tensor) -> None:
        table, n = self._get(sequence), self._n
        _, _, h, d = self._empty.shape
        if k_THD.dim() != 3 or k_THD.shape != v_THD.shape or k_THD.shape[1:] != (h, d):
            raise ValueError("both must be [T, H, D]")
        if k_THD.dtype != self._empty.dtype or v_THD.dtype != self._empty.dtype:
            raise ValueError("both must have the cache's dtype")
        t = k_THD.shape[0]
        if t == 0:
            return
        row = self._rows[table[-1]] % n if table else 0
        shared = row > 0 and self._holders[table[-1]] > 1
        first = min(t, (n - row) % n)  # tokens that go into the open block
        if shared + -(-(t - first) // n) > self.n_free:
            raise RuntimeError("too few free blocks")
        if shared:
            old = table[-1]
            table[-1] = self._block(list(self._content[old]), row)
            self._let_go(old)
        if first:
            last = table[-1]
            self._content[last].append((k_THD[:first].clone(), v_THD[:first].clone()))
            self._rows[last] += first
            if self._rows[last] == n:
                self._content[last] = list(self._content[last])
        for at in range(first, t, n):
            stop = min(at + n, t)
            piece = (k_THD[at:stop].contiguous(), v_THD[at:stop].contiguous())
            table.append(self._block([piece], stop - at))

    def fork(self, sequence: int) -> int:
        table = self._get(sequence)
        for block in table:
            self._holders[block] += 1
        number = self.create()
        self._tables[number] = [*table]
        return number

    def gather(self, sequence: int) -> tuple[Tensor, Tensor]:
        pieces = [piece for block in self._get(sequence) for piece in self._content[block]]
        k = torch.cat([self._empty[0], *(piece[0] for piece in pieces)])
        v = torch.cat([self._empty[1], *(piece[1] for piece in pieces)])
        return k, v

    def release(self, sequence: int) -> None:
        for block in self._get(sequence):
            self._let_go(block)
        del self._tables[sequence]
