# base = "solution"
# caught_by = "Scheduler.refusals"
# cause = "wrong_error"
# also_fails = ["Scheduler.combinations"]

"""A request without a prompt, or without new tokens, is accepted and forgotten."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def add(self, request, prompt, max_new_tokens):
        if prompt and max_new_tokens >= 1:
            super().add(request, prompt, max_new_tokens)
