# base = "solution"
# caught_by = "Scheduler.refusals"
# cause = "wrong_error"
# also_fails = ["Scheduler.combinations"]

"""Looks at the prompt alone when it asks whether a request fits."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def add(self, request, prompt, max_new_tokens):
        total = self._total
        if _blocks_for(len(prompt), self._size) <= total:
            self._total = 1_000_000
        try:
            super().add(request, prompt, max_new_tokens)
        finally:
            self._total = total
