# base = "solution"
# caught_by = "Scheduler.first_come"
# cause = "wrong_value"
# also_fails = ["Scheduler.combinations"]

"""Admits whatever the blocks allow."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def _admit(self):
        self._most = 1_000_000
        return super()._admit()
