# base = "solution"
# caught_by = "fork.branches"
# cause = "wrong_value"
# also_fails = ["fork.blocks", "fork.combinations", "fork.exhaustion"]

"""Whoever was forked from writes in place: a fork that is forked again, and its parent, both do."""

# ruff: noqa: F821 - appended to solution.py


class ForkingCache(ForkingCache):
    def fork(self, sequence):
        child = super().fork(sequence)
        self.__dict__.setdefault("_parents", set()).add(sequence)
        return child

    def append(self, sequence, k_THD, v_THD):
        if sequence not in self.__dict__.get("_parents", ()):
            super().append(sequence, k_THD, v_THD)
            return
        count, self._blocks.count = self._blocks.count, lambda block: 1
        try:
            super().append(sequence, k_THD, v_THD)
        finally:
            self._blocks.count = count
