# base = "solution"
# caught_by = "Scheduler.refusals"
# cause = "wrong_error"
# also_fails = ["Scheduler.combinations"]

"""Tokens of requests that do not run are ignored."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def commit(self, tokens):
        running = {one.number for one in self._running}
        return super().commit([pair for pair in tokens if pair[0] in running])
