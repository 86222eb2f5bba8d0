# base = "solution"
# caught_by = "Scheduler.step_growth"
# cause = "too_slow"
# also_fails = []

"""Right, but counts the free blocks over all requests whenever it needs their number."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    @property
    def _free(self):
        return self._total - sum(one.blocks for one in self._requests.values())

    @_free.setter
    def _free(self, blocks):
        pass
