# base = "solution"
# caught_by = "Scheduler.step_growth"
# cause = "too_slow"
# also_fails = []

"""Right, but looks for the request of each token in the list of all that run."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def commit(self, tokens):
        running = [one.number for one in self._running]
        for number, _ in tokens:
            _require(running.count(number) == 1, "not a request of the last step")
        return super().commit(tokens)
