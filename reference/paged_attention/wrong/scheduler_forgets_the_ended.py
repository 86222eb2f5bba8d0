# base = "solution"
# caught_by = "Scheduler.resume"
# cause = "crash"
# also_fails = ["Scheduler.combinations"]

"""The tokens of a request are gone when it has ended."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def tokens(self, request):
        _require(request in self._requests, f"there is no request {request}")
        _require(not self._requests[request].ended, f"request {request} has ended")
        return super().tokens(request)
