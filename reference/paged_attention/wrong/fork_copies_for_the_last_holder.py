# base = "solution"
# caught_by = "fork.combinations"
# cause = "crash"
# also_fails = []

"""Wide heads: copies an open block that was shared once, though nobody else holds it now."""

# ruff: noqa: F821 - appended to solution.py


class ForkingCache(ForkingCache):
    def fork(self, sequence):
        number = super().fork(sequence)
        self._shared = getattr(self, "_shared", set()) | set(self._tables[sequence])
        return number

    def append(self, sequence, k_THD, v_THD):
        table = self._known(sequence)
        alone = bool(table) and self._blocks.count(table[-1]) == 1
        ragged = bool(table) and self._lengths[sequence] % self._kv.shape[2] > 0
        if (
            self._kv.shape[-1] == 3
            and alone
            and ragged
            and k_THD.shape[0]
            and table[-1] in getattr(self, "_shared", ())
        ):
            [own] = self._blocks.allocate(1)
            self._kv[:, own] = self._kv[:, table[-1]]
            self._blocks.release([table[-1]])
            self._shared.discard(own)
            table[-1] = own
        super().append(sequence, k_THD, v_THD)
