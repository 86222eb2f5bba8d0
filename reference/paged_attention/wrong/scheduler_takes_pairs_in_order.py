# base = "solution"
# caught_by = "Scheduler.combinations"
# cause = "wrong_value"
# also_fails = ["Scheduler.resume"]

"""Takes the pairs to come oldest first."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def commit(self, tokens):
        numbers = [one.number for one in self._running]
        if sorted(numbers) != sorted(pair[0] for pair in tokens):
            return super().commit(tokens)
        return super().commit([[n, pair[1]] for n, pair in zip(numbers, tokens, strict=True)])
