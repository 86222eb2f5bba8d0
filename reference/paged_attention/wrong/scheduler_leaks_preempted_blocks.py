# base = "solution"
# caught_by = "Scheduler.preemption"
# cause = "wrong_value"
# also_fails = ["Scheduler.combinations", "Scheduler.resume"]

"""A preempted request keeps its blocks in the books."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def step(self):
        plan = super().step()
        self._free -= len(plan["preempted"])
        return plan
