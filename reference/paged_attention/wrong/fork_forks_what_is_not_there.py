# base = "solution"
# caught_by = "fork.bad_input"
# cause = "wrong_error"
# also_fails = ["fork.combinations"]

"""A fork of a sequence that is not there is an empty one."""

# ruff: noqa: F821 - appended to solution.py


class ForkingCache(ForkingCache):
    def fork(self, sequence):
        return super().fork(sequence) if sequence in self._tables else self.create()
