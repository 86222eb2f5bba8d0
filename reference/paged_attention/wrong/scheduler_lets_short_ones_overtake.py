# base = "solution"
# caught_by = "Scheduler.first_come"
# cause = "wrong_value"
# also_fails = ["Scheduler.combinations", "Scheduler.ending", "Scheduler.preemption"]

"""Admits the shortest request of the queue first."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def _admit(self):
        self._waiting = deque(sorted(self._waiting, key=lambda one: len(one.tokens)))
        return super()._admit()
