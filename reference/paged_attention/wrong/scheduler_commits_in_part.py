# base = "solution"
# caught_by = "Scheduler.refusals"
# cause = "wrong_error"
# also_fails = ["Scheduler.combinations"]

"""Takes tokens of requests that do not run, or of fewer than do."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def commit(self, tokens):
        new = {number: token for number, token in tokens}
        known = [[one.number, new.get(one.number, 0)] for one in self._running]
        return super().commit(known)
