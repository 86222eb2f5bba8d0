# base = "solution"
# caught_by = "Scheduler.combinations"
# cause = "wrong_value"
# also_fails = []

"""Lists the decoded requests by number."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def step(self):
        plan = super().step()
        return {**plan, "decoded": sorted(plan["decoded"])}
