# base = "solution"
# caught_by = "Scheduler.refusals"
# cause = "wrong_error"
# also_fails = ["Scheduler.combinations"]

"""A number that is known is another request."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def add(self, request, prompt, max_new_tokens):
        before = self._requests.pop(request, None)
        super().add(request, prompt, max_new_tokens)
        if before is not None:
            self._waiting.pop()
            self._requests[request] = before
