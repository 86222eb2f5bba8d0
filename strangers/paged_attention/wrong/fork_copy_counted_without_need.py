# base: dataclasses_
# bug: all blocks in use, the open one held by one sequence; append of a token that fits; right: written in place; wrong: RuntimeError
# problem: fork
# says: "its last holder writes in place"


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
        pool = torch.zeros(2, n_blocks, block_size, n_kv_heads, head_dim, dtype=dtype, device=device)
        self._like = pool
        self._free = [_Page(pool[0, i], pool[1, i], 0) for i in range(n_blocks)]
        self._sequences: dict[int, _Sequence] = {}
        self._next = 0

    @property
    def n_free(self) -> int:
        return len(self._free)

    def _get(self, sequence: int) -> _Sequence:
        try:
            return self._sequences[sequence]
        except KeyError:
            raise ValueError(f"no sequence {sequence}") from None

    def _enter(self, sequence: _Sequence) -> int:
        number, self._next = self._next, self._next + 1
        self._sequences[number] = sequence
        return number

    def create(self) -> int:
        return self._enter(_Sequence())

    def append(self, sequence: int, k_THD: Tensor, v_THD: Tensor) -> None:
        this = self._get(sequence)
        n, h, d = self._like.shape[2:]
        for x in (k_THD, v_THD):
            if x.dim() != 3 or x.shape[1:] != (h, d) or x.dtype != self._like.dtype:
                raise ValueError("tokens must be [T, H, D] with the cache's dtype")
        t = k_THD.shape[0]
        if v_THD.shape[0] != t:
            raise ValueError("as many values as keys")
        open_rows = -this.length % n  # rows of the last block that are still empty
        copy = bool(t and open_rows and this.pages[-1].holders > 1)
        fresh = ceil_div(max(t - open_rows, 0), n)
        if fresh + bool(t and open_rows) > len(self._free):
            raise RuntimeError("too few free blocks")
        if copy:
            old, new = this.pages[-1], self._free.pop()
            new.k.copy_(old.k)
            new.v.copy_(old.v)
            new.holders = 1
            old.holders -= 1
            this.pages[-1] = new
        for _ in range(fresh):
            page = self._free.pop()
            page.holders = 1
            this.pages.append(page)
        at = 0
        while at < t:
            page, row = this.pages[this.length // n], this.length % n
            count = min(n - row, t - at)
            page.k[row : row + count] = k_THD[at : at + count]
            page.v[row : row + count] = v_THD[at : at + count]
            at += count
            this.length += count

    def fork(self, sequence: int) -> int:
        this = self._get(sequence)
        for page in this.pages:
            page.holders += 1
        return self._enter(_Sequence(list(this.pages), this.length))

    def gather(self, sequence: int) -> tuple[Tensor, Tensor]:
        this = self._get(sequence)
        if not this.pages:
            return self._like.new_empty(0, *self._like.shape[3:]), self._like.new_empty(
                0, *self._like.shape[3:]
            )
        k = torch.cat([page.k for page in this.pages])[: this.length]
        v = torch.cat([page.v for page in this.pages])[: this.length]
        return k, v

    def release(self, sequence: int) -> None:
        for page in self._get(sequence).pages:
            page.holders -= 1
            if page.holders == 0:
                self._free.append(page)
        del self._sequences[sequence]
