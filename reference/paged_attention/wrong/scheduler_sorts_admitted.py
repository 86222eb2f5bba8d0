# base = "solution"
# caught_by = "Scheduler.combinations"
# cause = "wrong_value"
# also_fails = []

"""Lists the admitted requests by number."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def step(self):
        plan = super().step()
        return {**plan, "admitted": sorted(plan["admitted"])}
