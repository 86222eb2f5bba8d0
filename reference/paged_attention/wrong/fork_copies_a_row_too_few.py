# base = "solution"
# caught_by = "fork.branches"
# cause = "wrong_value"
# also_fails = ["fork.combinations"]

"""The copy of the last block lacks its newest token."""

# ruff: noqa: F821 - appended to solution.py


class ForkingCache(ForkingCache):
    def append(self, sequence, k_THD, v_THD):
        table, N = self._known(sequence), self._kv.shape[2]
        start = self._lengths[sequence]
        last = table[-1] if table else -1
        super().append(sequence, k_THD, v_THD)
        if start % N and table[start // N] != last:
            self._kv[:, table[start // N], start % N - 1] = 0.0
