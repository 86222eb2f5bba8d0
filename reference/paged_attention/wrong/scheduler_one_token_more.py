# base = "solution"
# caught_by = "Scheduler.first_come"
# cause = "wrong_value"
# also_fails = [
#   "Scheduler.combinations",
#   "Scheduler.ending",
#   "Scheduler.preemption",
#   "Scheduler.resume",
# ]

"""A request ends one token too late."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def add(self, request, prompt, max_new_tokens):
        super().add(request, prompt, max_new_tokens)
        self._requests[request].last += 1
