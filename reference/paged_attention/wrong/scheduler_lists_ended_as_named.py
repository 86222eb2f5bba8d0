# base = "solution"
# caught_by = "Scheduler.combinations"
# cause = "wrong_value"
# also_fails = []

"""Returns the ended requests in the order in which they were handed in."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def commit(self, tokens):
        ended = super().commit(tokens)
        return [number for number, _ in tokens if number in ended]
