# base = "solution"
# caught_by = "Scheduler.refusals"
# cause = "wrong_error"
# also_fails = ["Scheduler.combinations"]

"""A step before the last one was committed changes nothing."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def step(self):
        if self._uncommitted:
            return {"admitted": [], "decoded": [], "preempted": []}
        return super().step()
