# base = "solution"
# caught_by = "fork.fork_memory"
# cause = "too_much_memory"
# also_fails = []

"""Right, but keeps a copy of all tokens for each fork."""

# ruff: noqa: F821 - appended to solution.py


class ForkingCache(ForkingCache):
    def fork(self, sequence):
        child = super().fork(sequence)
        self.__dict__.setdefault("_copies", {})[child] = [x.clone() for x in self.gather(sequence)]
        return child
