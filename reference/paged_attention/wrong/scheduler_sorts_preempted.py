# base = "solution"
# caught_by = "Scheduler.preemption"
# cause = "wrong_value"
# also_fails = ["Scheduler.combinations"]

"""Lists the preempted requests by number."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def step(self):
        plan = super().step()
        return {**plan, "preempted": sorted(plan["preempted"])}
