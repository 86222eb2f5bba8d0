# base = "solution"
# caught_by = "fork.blocks"
# cause = "wrong_value"
# also_fails = ["fork.combinations", "fork.exhaustion"]

"""A fork takes blocks of its own for everything at once."""

# ruff: noqa: F821 - appended to solution.py


class ForkingCache(ForkingCache):
    def fork(self, sequence):
        table = self._known(sequence)
        own = self._blocks.allocate(len(table))
        self._kv[:, own] = self._kv[:, table]
        return self._begin(own, self._lengths[sequence])
