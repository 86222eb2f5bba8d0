# base = "solution"
# caught_by = "Scheduler.first_come"
# cause = "wrong_value"
# also_fails = [
#   "Scheduler.combinations",
#   "Scheduler.ending",
#   "Scheduler.preemption",
#   "Scheduler.resume",
# ]

"""Holds the block of the next token before it is needed."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def _needed(self, one):
        return _blocks_for(len(one.tokens) + 1, self._size) - one.blocks
