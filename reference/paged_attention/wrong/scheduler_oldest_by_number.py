# base = "solution"
# caught_by = "Scheduler.combinations"
# cause = "wrong_value"
# also_fails = []

"""Returns the ended requests by number, which is not always the order of `add`."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def commit(self, tokens):
        return sorted(super().commit(tokens))
