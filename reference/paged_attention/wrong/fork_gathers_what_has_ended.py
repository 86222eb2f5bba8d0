# base = "solution"
# caught_by = "fork.bad_input"
# cause = "wrong_error"
# also_fails = ["fork.combinations"]

"""A sequence that has ended, or never was, has no tokens."""

# ruff: noqa: F821 - appended to solution.py


class ForkingCache(ForkingCache):
    def gather(self, sequence):
        if sequence not in self._tables:
            empty = self._kv[0, 0, :0]
            return empty, empty
        return super().gather(sequence)
