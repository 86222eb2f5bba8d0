# base = "solution"
# caught_by = "Scheduler.refusals"
# cause = "wrong_error"
# also_fails = ["Scheduler.combinations"]

"""A request that was never added has no tokens."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def tokens(self, request):
        return super().tokens(request) if request in self._requests else []
