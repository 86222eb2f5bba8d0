# base = "solution"
# caught_by = "Scheduler.first_come"
# cause = "wrong_value"
# also_fails = ["Scheduler.combinations", "Scheduler.ending", "Scheduler.preemption"]

"""Puts a new request at the front of the queue."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def add(self, request, prompt, max_new_tokens):
        super().add(request, prompt, max_new_tokens)
        self._waiting.rotate(1)
