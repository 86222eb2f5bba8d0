# base = "solution"
# caught_by = "Scheduler.ending"
# cause = "wrong_value"
# also_fails = ["Scheduler.combinations"]

"""A request that ends by its end-of-sequence token keeps its blocks."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def commit(self, tokens):
        before = self._free
        ended = super().commit(tokens)
        early = any(len(self._requests[n].tokens) < self._requests[n].last for n in ended)
        if early:
            self._free = before
        return ended
