# base = "solution"
# caught_by = "Scheduler.combinations"
# cause = "crash"
# also_fails = ["Scheduler.first_come"]

"""A step that ran nothing must be committed as well."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def step(self):
        plan = super().step()
        self._uncommitted = True
        return plan
